// L4: the words of CUDA C++ and HIP that kernels use, for a compiler that does not know them.
// Knows: which of them say something to a CPU (few), and vector types with their alignment.
// Must not know: matrix instructions, copies. Source: CUDA C++ Programming Guide, "C++ Language Extensions".
// The words are macros because the languages' own headers have them as macros, too; nothing else here is one.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "machine.hpp"

// The names are CUDA's. NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming)

#define __global__
#define __device__
#define __host__
#define __grid_constant__
#define __launch_bounds__(...)
// In __attribute__((...)), which may hold nothing.
#define amdgpu_flat_work_group_size(...)
#define amdgpu_waves_per_eu(...)
#define __forceinline__ inline __attribute__((always_inline))

namespace tilefit::inline v0 {

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr explicit dim3(unsigned x_size, unsigned y_size = 1, unsigned z_size = 1) noexcept
      : x(x_size), y(y_size), z(z_size) {}
};
constexpr float2 make_float2(float x, float y) noexcept { return {x, y}; }
constexpr float4 make_float4(float x, float y, float z, float w) noexcept { return {x, y, z, w}; }
constexpr uint2 make_uint2(unsigned x, unsigned y) noexcept { return {x, y}; }
constexpr uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) noexcept { return {x, y, z, w}; }

constexpr float __uint_as_float(unsigned bits) noexcept { return std::bit_cast<float>(bits); }
constexpr unsigned __float_as_uint(float value) noexcept { return std::bit_cast<unsigned>(value); }
constexpr int __ffs(int value) noexcept { return __builtin_ffs(value); }
constexpr int __popc(unsigned value) noexcept { return std::popcount(value); }

/// A load that the compiler announces like any other.
template <class T>
inline T __ldcg(const T* from) noexcept {
  return *from;
}

inline void __syncthreads(const simt::site& where = simt::site::current()) {
  simt::now.running->barrier(0, 0, false, where);
}
inline void __syncwarp(unsigned mask = 0xFFFF'FFFFu, const simt::site& where = simt::site::current()) {
  simt::now.running->sync_warp(mask, where);
}

namespace simt {

/// What a lane brings to a shuffle or a vote, and takes home.
struct exchange {
  std::uint64_t value = 0;
  int from = 0;  ///< lane of the warp
  std::uint64_t result = 0;
};

inline void give_lanes(machine& m, void* const* arguments) {
  for (int i = 0; i < m.warp_size(); ++i) {
    if (arguments[i] == nullptr) continue;
    auto& mine = *static_cast<exchange*>(arguments[i]);
    const void* const other = mine.from >= 0 && mine.from < m.warp_size() ? arguments[mine.from] : nullptr;
    // From a lane that does not take part: undefined, and here never a number.
    mine.result = other != nullptr ? static_cast<const exchange*>(other)->value : ~std::uint64_t{0};
  }
}
inline void vote(machine& m, void* const* arguments) {
  std::uint64_t votes = 0;
  for (int i = 0; i < m.warp_size(); ++i)
    if (arguments[i] != nullptr && static_cast<const exchange*>(arguments[i])->value != 0)
      votes |= std::uint64_t{1} << i;
  for (int i = 0; i < m.warp_size(); ++i)
    if (arguments[i] != nullptr) static_cast<exchange*>(arguments[i])->result = votes;
}
inline void add_lanes(machine& m, void* const* arguments) {
  std::uint64_t sum = 0;
  for (int i = 0; i < m.warp_size(); ++i)
    if (arguments[i] != nullptr) sum += static_cast<const exchange*>(arguments[i])->value;
  for (int i = 0; i < m.warp_size(); ++i)
    if (arguments[i] != nullptr) static_cast<exchange*>(arguments[i])->result = sum;
}

/// Every lane gets combine(... combine(lane 0, lane 1) ..., last lane). Combine has no members.
template <class Combine>
inline void combine_lanes(machine& m, void* const* arguments) {
  std::uint32_t value = 0;
  for (int i = 0; i < m.warp_size(); ++i) {
    const auto mine = static_cast<std::uint32_t>(static_cast<const exchange*>(arguments[i])->value);
    value = i == 0 ? mine : Combine{}(value, mine);
  }
  for (int i = 0; i < m.warp_size(); ++i) static_cast<exchange*>(arguments[i])->result = value;
}
template <class Combine>
inline std::uint32_t combine_all(std::uint32_t value, Combine, const site& where) {
  exchange mine{.value = value, .from = 0, .result = 0};
  meet_all("a combination of all lanes", mine, combine_lanes<Combine>, where);
  return static_cast<std::uint32_t>(mine.result);
}

template <class T>
inline T take_from(const char* what, std::uint64_t mask, const T& value, int from, const site& where) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
  exchange mine{.value = 0, .from = from, .result = 0};
  std::memcpy(&mine.value, &value, sizeof value);
  now.running->meet(what, mask, &mine, give_lanes, where);
  T result;
  std::memcpy(&result, &mine.result, sizeof result);
  return result;
}
inline std::uint64_t ballot(std::uint64_t mask, bool mine, const site& where) {
  exchange argument{.value = mine ? 1u : 0u, .from = 0, .result = 0};
  now.running->meet("a vote", mask, &argument, vote, where);
  return argument.result;
}

}  // namespace simt

template <class T>
inline T __shfl_sync(unsigned mask, T value, int lane, const simt::site& where = simt::site::current()) {
  return simt::take_from("a shuffle", mask, value, lane % 32, where);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int flip, const simt::site& where = simt::site::current()) {
  return simt::take_from("a shuffle", mask, value, simt::now.running->lane_of_warp() ^ flip, where);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned by, const simt::site& where = simt::site::current()) {
  const int lane = simt::now.running->lane_of_warp(), from = lane - static_cast<int>(by);
  return simt::take_from("a shuffle", mask, value, from < 0 ? lane : from, where);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned by, const simt::site& where = simt::site::current()) {
  const int lane = simt::now.running->lane_of_warp(), from = lane + static_cast<int>(by);
  return simt::take_from("a shuffle", mask, value, from > 31 ? lane : from, where);
}
inline unsigned __ballot_sync(unsigned mask, bool mine, const simt::site& where = simt::site::current()) {
  return static_cast<unsigned>(simt::ballot(mask, mine, where));
}
inline int __all_sync(unsigned mask, bool mine, const simt::site& where = simt::site::current()) {
  return simt::ballot(mask, mine, where) == mask ? 1 : 0;
}
inline int __any_sync(unsigned mask, bool mine, const simt::site& where = simt::site::current()) {
  return simt::ballot(mask, mine, where) != 0 ? 1 : 0;
}
inline unsigned __reduce_add_sync(unsigned mask, unsigned value, const simt::site& where = simt::site::current()) {
  simt::exchange argument{.value = value, .from = 0, .result = 0};
  simt::now.running->meet("a sum", mask, &argument, simt::add_lanes, where);
  return static_cast<unsigned>(argument.result);
}

}  // namespace tilefit::inline v0

// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)
