// L4: what CDNA's matrix instructions, transposing reads and scaled conversions do, in plain C++.
// Knows: v_mfma_f32 with BF16 and FP16, v_mfma_scale_f32 with E4M3 and E2M1, ds_read_b64_tr, v_cvt_scalef32, by the
// layouts of amd_lanes.hpp. Must not know: lanes' code, memory. Source: CDNA4 ISA reference, "VOP3P-MAI", "VOP3".
// Products are exact and sums are rounded once: hardware rounds differently, so results are compared with a tolerance.
#pragma once

#include <cstdint>

#include "../../dtype.hpp"
#include "../../float_formats.hpp"
#include "amd_lanes.hpp"

namespace tilefit::inline v0::simt {

/// Registers of one lane for a v_mfma.
struct mfma_registers {
  float* sum = nullptr;              ///< [tile * tile / 64]
  const std::uint32_t* a = nullptr;  ///< 16-bit: count / 2 words; scaled: 8 (E4M3) or 4 (E2M1)
  const std::uint32_t* b = nullptr;
  std::uint32_t scale_a = 0, scale_b = 0;
};

template <int Tile, int K>
struct mfma_operands {
  double a[Tile][K];
  double b[K][Tile];
};

/// sum[row][column] += a[row][k] * b[k][column] for K from `first` on, `count` of them. Columns innermost: then no sum
/// waits for the one before it.
template <int Tile, int K>
__attribute__((no_sanitize("thread"))) inline void add_products(const mfma_operands<Tile, K>& of, int first, int count,
                                                                double (&sum)[Tile][Tile]) noexcept {
  for (int row = 0; row < Tile; ++row)
    for (int k = first; k < first + count; ++k) {
      const double left = of.a[row][k];
      for (int column = 0; column < Tile; ++column) sum[row][column] += left * of.b[k][column];
    }
}

/// Adds a result to the lanes' accumulators.
template <int Tile>
__attribute__((no_sanitize("thread"))) inline void add_to_lanes(const double (&sum)[Tile][Tile],
                                                                const mfma_registers* const (&lanes)[64]) noexcept {
  for (int lane = 0; lane < 64; ++lane)
    for (int i = 0; i < Tile * Tile / 64; ++i) {
      const matrix_at at = mfma_result_at(Tile, lane, i);
      lanes[lane]->sum[i] = static_cast<float>(double{lanes[lane]->sum[i]} + sum[at.row][at.column]);
    }
}

template <dtype X>
__attribute__((no_sanitize("thread"))) inline float number_of_half(const std::uint32_t* words, int i) noexcept {
  static_assert(X == dtype::bf16 || X == dtype::fp16);
  const auto code = static_cast<std::uint16_t>(words[i / 2] >> (16 * (i % 2)));
  if constexpr (X == dtype::bf16) return bf16_to_float(code);
  return fp16_to_float(code);
}

/// v_mfma_f32_16x16x32 and 32x32x16 (Count 8), 16x16x16 and 32x32x8 (Count 4).
template <int Tile, dtype X, int Count>
__attribute__((no_sanitize("thread"))) inline void model_mfma_16bit(const mfma_registers* const (&lanes)[64]) noexcept {
  mfma_operands<Tile, Count * 64 / Tile> of;
  for (int lane = 0; lane < 64; ++lane)
    for (int i = 0; i < Count; ++i) {
      const int row = mfma_operand_row(Tile, lane), k = mfma_16bit_k_at(Tile, Count, lane, i);
      of.a[row][k] = double{number_of_half<X>(lanes[lane]->a, i)};
      of.b[k][row] = double{number_of_half<X>(lanes[lane]->b, i)};
    }
  double sum[Tile][Tile] = {};
  add_products(of, 0, Count * 64 / Tile, sum);
  add_to_lanes(sum, lanes);
}

template <int Bits>
__attribute__((no_sanitize("thread"))) inline float number_of_small(const std::uint32_t* words, int i) noexcept {
  static_assert(Bits == 4 || Bits == 8);
  if constexpr (Bits == 4) return e2m1_to_float(static_cast<std::uint8_t>(words[i / 8] >> (4 * (i % 8)) & 15));
  return e4m3_to_float(static_cast<std::uint8_t>(words[i / 4] >> (8 * (i % 4))));
}

/// v_mfma_scale_f32_16x16x128_f8f6f4 and 32x32x64: E4M3 (8 bits) or E2M1 (4 bits) on either side; the scale is byte
/// `byte_a`, `byte_b` of a lane's scale word.
template <int Tile, int BitsOfA, int BitsOfB>
__attribute__((no_sanitize("thread"))) inline void model_mfma_scaled(const mfma_registers* const (&lanes)[64],
                                                                     int byte_a, int byte_b) noexcept {
  constexpr int k_size = 2048 / Tile;
  mfma_operands<Tile, k_size> of;
  const auto scale = [](std::uint32_t word, int byte) {
    return e8m0_to_float(static_cast<std::uint8_t>(word >> (8 * byte)));
  };
  for (int lane = 0; lane < 64; ++lane)
    for (int i = 0; i < 32; ++i) {
      const int row = mfma_operand_row(Tile, lane);
      const int k_a = mfma_scaled_k_at(Tile, BitsOfA, lane, i), k_b = mfma_scaled_k_at(Tile, BitsOfB, lane, i);
      of.a[row][k_a] = double{number_of_small<BitsOfA>(lanes[lane]->a, i)};
      of.b[k_b][row] = double{number_of_small<BitsOfB>(lanes[lane]->b, i)};
    }
  double sum[Tile][Tile] = {};
  for (int block = 0; block < k_size / 32; ++block) {
    double part[Tile][Tile] = {};
    add_products(of, 32 * block, 32, part);
    double scale_a[Tile], scale_b[Tile];
    for (int row = 0; row < Tile; ++row) {
      const mfma_registers& lane = *lanes[mfma_scale_lane_at(Tile, row, block)];
      scale_a[row] = double{scale(lane.scale_a, byte_a)};
      scale_b[row] = double{scale(lane.scale_b, byte_b)};
    }
    for (int row = 0; row < Tile; ++row)
      for (int column = 0; column < Tile; ++column)
        sum[row][column] += part[row][column] * scale_a[row] * scale_b[column];
  }
  add_to_lanes(sum, lanes);
}

/// ds_read_b64_tr_b16, _b8, _b4: from[l] are the 8 bytes that lane l named, to[l] what it gets.
template <int Bits>
__attribute__((no_sanitize("thread"))) inline void model_read_transposed(const std::uint64_t (&from)[64],
                                                                         std::uint64_t (&to)[64]) noexcept {
  constexpr std::uint64_t mask = (std::uint64_t{1} << Bits) - 1;
  for (int lane = 0; lane < 64; ++lane) {
    to[lane] = 0;
    for (int j = 0; j < 64 / Bits; ++j) {
      const transposed_source at = transposed_from(Bits, lane, j);
      to[lane] |= (from[at.lane] >> (Bits * at.element) & mask) << (Bits * j);
    }
  }
}

/// 2^(exponent - 127) of a float's exponent bits, which are all that v_cvt_scalef32 looks at: an E8M0 code.
constexpr float scale_of_cvt(float scale) noexcept {
  return e8m0_to_float(static_cast<std::uint8_t>(detail::bits_of_float(scale) >> 23));
}

/// v_cvt_scalef32_pk_bf16_fp4 / _f16_fp4: byte `byte` of `codes`, low nibble first, times the scale.
template <dtype X>
constexpr std::uint32_t model_cvt_pk_fp4(std::uint32_t codes, float scale, int byte) noexcept {
  std::uint32_t pair = 0;
  for (int i = 0; i < 2; ++i) {
    const float value =
        e2m1_to_float(static_cast<std::uint8_t>(codes >> (8 * byte + 4 * i) & 15)) * scale_of_cvt(scale);
    pair |= static_cast<std::uint32_t>(X == dtype::bf16 ? float_to_bf16(value) : float_to_fp16(value)) << (16 * i);
  }
  return pair;
}

/// v_cvt_scalef32_pk_bf16_fp8 / _f16_fp8: half `half` of `codes`, low byte first, times the scale.
template <dtype X>
constexpr std::uint32_t model_cvt_pk_fp8(std::uint32_t codes, float scale, int half) noexcept {
  std::uint32_t pair = 0;
  for (int i = 0; i < 2; ++i) {
    const float value = e4m3_to_float(static_cast<std::uint8_t>(codes >> (16 * half + 8 * i))) * scale_of_cvt(scale);
    pair |= static_cast<std::uint32_t>(X == dtype::bf16 ? float_to_bf16(value) : float_to_fp16(value)) << (16 * i);
  }
  return pair;
}

/// v_cvt_scalef32_pk_fp4_f32: two numbers divided by the scale, into byte `byte` of `old`.
constexpr std::uint32_t model_cvt_pk_fp4_f32(std::uint32_t old, float low, float high, float scale, int byte) noexcept {
  const int exponent = 127 - static_cast<int>(detail::bits_of_float(scale) >> 23 & 255);
  const std::uint32_t codes = static_cast<std::uint32_t>(float_to_e2m1(detail::scale_by_pow2(low, exponent)) |
                                                         float_to_e2m1(detail::scale_by_pow2(high, exponent)) << 4);
  return (old & ~(0xFFu << (8 * byte))) | codes << (8 * byte);
}

/// v_cvt_scalef32_pk_fp8_f32: likewise, into half `half` of `old`. What overflows becomes 448, as kernels see to it
/// that nothing does.
constexpr std::uint32_t model_cvt_pk_fp8_f32(std::uint32_t old, float low, float high, float scale, int half) noexcept {
  const int exponent = 127 - static_cast<int>(detail::bits_of_float(scale) >> 23 & 255);
  const std::uint32_t codes = static_cast<std::uint32_t>(float_to_e4m3(detail::scale_by_pow2(low, exponent)) |
                                                         float_to_e4m3(detail::scale_by_pow2(high, exponent)) << 8);
  return (old & ~(0xFFFFu << (16 * half))) | codes << (16 * half);
}

}  // namespace tilefit::inline v0::simt
