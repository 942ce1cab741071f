// L4: the functions of device/hip/*.cuh for lanes on a CPU. Same names, same meaning.
// Knows: buffers with bounds, LDS-direct loads and the waits for them, transposing reads, v_mfma, v_mfma_scale, scaled
// conversions, as the executor plays them. Must not know: kernels.
// Loads into registers are there at once (the compiler waits for those), and count as loads all the same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "../../arch.hpp"
#include "../../dtype.hpp"
#include "amd_models.hpp"
#include "language.hpp"
#include "machine.hpp"
#include "numbers.hpp"
#include "wave_ops.hpp"

namespace tilefit::inline v0::device {

// --- types.cuh ---

/// Like clang's ext_vector_type, as far as kernels use it: lists of numbers, [i], sums and products by element.
template <class T, int Count>
struct alignas(sizeof(T) * Count) number_vector {
  T values[Count];

  constexpr T& operator[](int i) noexcept { return values[i]; }
  constexpr const T& operator[](int i) const noexcept { return values[i]; }
  constexpr number_vector& operator+=(const number_vector& other) noexcept {
    for (int i = 0; i < Count; ++i) values[i] += other.values[i];
    return *this;
  }
  friend constexpr number_vector operator+(number_vector a, const number_vector& b) noexcept { return a += b; }
  friend constexpr number_vector operator*(number_vector a, T factor) noexcept {
    for (int i = 0; i < Count; ++i) a.values[i] *= factor;
    return a;
  }
  friend constexpr number_vector operator*(number_vector a, const number_vector& b) noexcept {
    for (int i = 0; i < Count; ++i) a.values[i] *= b.values[i];
    return a;
  }
};
using u32x2 = number_vector<std::uint32_t, 2>;
using u32x4 = number_vector<std::uint32_t, 4>;
using u32x8 = number_vector<std::uint32_t, 8>;
using f32x2 = number_vector<float, 2>;
using f32x4 = number_vector<float, 4>;
using f32x16 = number_vector<float, 16>;

/// `low` in the lower half.
constexpr u32x8 joined(const u32x4& low, const u32x4& high) noexcept {
  return {low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]};
}

template <class To, class From>
inline To bits_as(const From& from) noexcept {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, from);
}

// --- target.cuh ---

/// A CPU plays every chip.
constexpr bool compiles_for(arch_id) noexcept { return true; }

// --- sync.cuh ---

inline void keep_order() noexcept {}
template <bool MovesArithmetic = true>
inline void keep_loads_and_products() noexcept {}
template <int Priority>
inline void set_priority() noexcept {}
template <int Mask, int Count>
inline void schedule_group() noexcept {}

template <int Loads>
inline void act_wait_loads(simt::machine& m, void* const*) {
  m.wait_loads(Loads);
}
/// What has landed is there for all lanes of the wave: they share the counter.
template <int Loads>
inline void wait_loads(const simt::site& where = simt::site::current()) {
  int nothing = 0;
  simt::meet_all("s_waitcnt vmcnt", nothing, act_wait_loads<Loads>, where);
  simt::now.running->sync_warp(whole_wave, where);
}
inline void wait_lds() noexcept {}

// --- memory.cuh ---

template <class Parameter>
constexpr const Parameter& parameter_again(const Parameter& parameter) noexcept {
  return parameter;
}

/// What a lane brings to a load into LDS.
struct lds_load_argument {
  std::byte* to = nullptr;
  const void* from = nullptr;
};
template <int Bytes, int FromBytes>
__attribute__((no_sanitize("thread"))) inline void act_load_to_lds(simt::machine& m, void* const* arguments) {
  std::byte* const to = static_cast<const lds_load_argument*>(arguments[0])->to;
  for (int i = 0; i < m.warp_size(); ++i) {
    const auto& mine = *static_cast<const lds_load_argument*>(arguments[i]);
    if (mine.to != to) return m.disagree("where a wave's load into LDS goes");
    m.load_to_shared(i, to + Bytes * i, Bytes, mine.from, FromBytes);
  }
}

class buffer {
 public:
  static constexpr std::uint32_t outside = 0x8000'0000u;
  static constexpr std::int64_t most_bytes = 0x7FFF'FFFF;

  buffer(const void* data, std::int64_t bytes) noexcept : data_(static_cast<const std::byte*>(data)), bytes_(bytes) {}

  std::uint32_t load_byte(std::uint32_t offset, std::uint32_t scalar, std::uint32_t constant = 0) const {
    return load<std::uint8_t>(offset, scalar, constant);
  }
  std::uint32_t load_word(std::uint32_t offset, std::uint32_t scalar, std::uint32_t constant = 0) const {
    return load<std::uint32_t>(offset, scalar, constant);
  }
  u32x4 load_chunk(std::uint32_t offset, std::uint32_t scalar, std::uint32_t constant = 0) const {
    return load<u32x4>(offset, scalar, constant);
  }
  void load_chunk_to_lds(std::byte* to, std::uint32_t offset, std::uint32_t scalar,
                         const simt::site& where = simt::site::current()) const {
    load_to_lds<16, 16>(to, offset, scalar, where);
  }
  void load_word_to_lds(std::byte* to, std::uint32_t offset, std::uint32_t scalar,
                        const simt::site& where = simt::site::current()) const {
    load_to_lds<4, 4>(to, offset, scalar, where);
  }
  /// A byte of each lane, which becomes a word.
  void load_byte_to_lds(std::byte* to, std::uint32_t offset, std::uint32_t scalar,
                        const simt::site& where = simt::site::current()) const {
    load_to_lds<4, 1>(to, offset, scalar, where);
  }

 private:
  /// Where the bytes are; null when the offset alone lies behind the end. What only the scalar brings there is read as
  /// chips do that do not count it: from whatever lies there, which the executor reports.
  const std::byte* place(std::uint32_t offset, std::uint32_t scalar, std::uint32_t constant,
                         std::int64_t size) const noexcept {
    const std::int64_t counted = std::int64_t{offset} + constant;
    return counted + size > bytes_ ? nullptr : data_ + counted + scalar;
  }
  template <class T>
  __attribute__((no_sanitize("thread"))) T load(std::uint32_t offset, std::uint32_t scalar,
                                                std::uint32_t constant) const {
    simt::now.running->count_load();
    T value = {};
    const std::byte* const from = place(offset, scalar, constant, sizeof(T));
    if (from == nullptr) return value;
    simt::now.running->access(from, sizeof(T), false, sizeof(T) < 4 ? sizeof(T) : 4);
    std::memcpy(&value, from, sizeof(T));
    return value;
  }
  template <int Bytes, int FromBytes>
  void load_to_lds(std::byte* to, std::uint32_t offset, std::uint32_t scalar, const simt::site& where) const {
    lds_load_argument mine{.to = to, .from = place(offset, scalar, 0, FromBytes)};
    simt::meet_all("a load into LDS", mine, act_load_to_lds<Bytes, FromBytes>, where);
  }

  const std::byte* data_;
  std::int64_t bytes_;
};

inline void global_chunk_to_lds(std::byte* to, const void* from, const simt::site& where = simt::site::current()) {
  lds_load_argument mine{.to = to, .from = from};
  simt::meet_all("a load into LDS", mine, act_load_to_lds<16, 16>, where);
}

/// What a lane brings to a transposing read, and takes home.
struct transposed_argument {
  const std::byte* from = nullptr;
  std::uint64_t result = 0;
};
template <int Bits>
__attribute__((no_sanitize("thread"))) inline void act_read_transposed(simt::machine& m, void* const* arguments) {
  std::uint64_t from[64], to[64];
  for (int i = 0; i < 64; ++i) {
    const auto& mine = *static_cast<const transposed_argument*>(arguments[i]);
    std::memcpy(&from[i], m.read_shared(i, m.shared_address(mine.from), 8, simt::read_kind::matrix), 8);
  }
  simt::model_read_transposed<Bits>(from, to);
  const int turn = m.sabotaged(simt::sabotage_kind::rotate_lanes) ? 1 : 0;
  for (int i = 0; i < 64; ++i) static_cast<transposed_argument*>(arguments[i])->result = to[(i + turn) % 64];
}
template <int Bits>
inline u32x2 read_transposed(const std::byte* from, const simt::site& where) {
  transposed_argument mine{.from = from, .result = 0};
  simt::meet_all("ds_read_b64_tr", mine, act_read_transposed<Bits>, where);
  return bits_as<u32x2>(mine.result);
}
inline u32x2 read_transposed_16bit(const std::byte* from, const simt::site& where = simt::site::current()) {
  return read_transposed<16>(from, where);
}
inline u32x2 read_transposed_8bit(const std::byte* from, const simt::site& where = simt::site::current()) {
  return read_transposed<8>(from, where);
}
inline u32x2 read_transposed_4bit(const std::byte* from, const simt::site& where = simt::site::current()) {
  return read_transposed<4>(from, where);
}

inline std::uint32_t read_word(const std::byte* from) noexcept { return *reinterpret_cast<const std::uint32_t*>(from); }
inline u32x4 read_chunk(const std::byte* from) noexcept { return *reinterpret_cast<const u32x4*>(from); }
inline void write_chunk(std::byte* to, u32x4 chunk) noexcept { *reinterpret_cast<u32x4*>(to) = chunk; }

// --- mfma.cuh ---

template <int Tile>
using mfma_accumulators = std::conditional_t<Tile == 16, f32x4, f32x16>;

inline void keep_products_before(f32x4&) noexcept {}

using mfma_lanes = const simt::mfma_registers* [64];
__attribute__((no_sanitize("thread"))) inline void take_lanes(simt::machine& m, void* const* arguments,
                                                              mfma_lanes& lanes) {
  // Whoever reads a wrong lane of an operand would get another lane's registers.
  const int turn = m.sabotaged(simt::sabotage_kind::rotate_lanes) ? 1 : 0;
  for (int i = 0; i < 64; ++i) lanes[i] = static_cast<const simt::mfma_registers*>(arguments[(i + turn) % 64]);
}
template <int Tile, dtype X>
inline void act_mfma_16bit(simt::machine& m, void* const* arguments) {
  mfma_lanes lanes;
  take_lanes(m, arguments, lanes);
  simt::model_mfma_16bit<Tile, X, 8>(lanes);
}
template <int Tile, dtype X>
inline void multiply_16bit(mfma_accumulators<Tile>& sum, u32x4 a, u32x4 b,
                           const simt::site& where = simt::site::current()) {
  static_assert((Tile == 16 || Tile == 32) && (X == dtype::bf16 || X == dtype::fp16));
  simt::mfma_registers mine{.sum = sum.values, .a = a.values, .b = b.values};
  simt::meet_all("v_mfma", mine, act_mfma_16bit<Tile, X>, where);
}

template <int Tile, int BitsOfB, int ByteOfA, int ByteOfB>
inline void act_mfma_scaled(simt::machine& m, void* const* arguments) {
  mfma_lanes lanes;
  take_lanes(m, arguments, lanes);
  simt::model_mfma_scaled<Tile, 4, BitsOfB>(lanes, ByteOfA, ByteOfB);
}
template <int Tile, int BitsOfB, int ByteOfA, int ByteOfB>
inline void multiply_scaled(mfma_accumulators<Tile>& sum, u32x4 a, std::uint32_t scale_of_a, const u32x8& b,
                            std::uint32_t scale_of_b, const simt::site& where = simt::site::current()) {
  static_assert((Tile == 16 || Tile == 32) && (BitsOfB == 4 || BitsOfB == 8));
  simt::mfma_registers mine{
      .sum = sum.values, .a = a.values, .b = b.values, .scale_a = scale_of_a, .scale_b = scale_of_b};
  simt::meet_all("v_mfma_scale", mine, act_mfma_scaled<Tile, BitsOfB, ByteOfA, ByteOfB>, where);
}

// --- numbers.cuh ---

/// `count` bits (less than 32) of a word from bit `first` on.
constexpr std::uint32_t bit_field(std::uint32_t word, unsigned first, unsigned count) noexcept {
  return word >> first & ((1u << count) - 1);
}

/// E2M1 codes times 2^(e8m0 - 127), rounded to X: eight of a word at a time.
template <dtype X>
class fp4_widener {
  static_assert(X == dtype::bf16 || X == dtype::fp16);

 public:
  explicit fp4_widener(std::uint32_t e8m0) noexcept : scale_(bits_as<float>(e8m0 << 23)) {}
  u32x4 operator()(std::uint32_t codes) const noexcept {
    return u32x4{simt::model_cvt_pk_fp4<X>(codes, scale_, 0), simt::model_cvt_pk_fp4<X>(codes, scale_, 1),
                 simt::model_cvt_pk_fp4<X>(codes, scale_, 2), simt::model_cvt_pk_fp4<X>(codes, scale_, 3)};
  }

 private:
  float scale_;
};

}  // namespace tilefit::inline v0::device
