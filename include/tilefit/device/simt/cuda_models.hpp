// L4: what NVIDIA's matrix instructions do to the registers of a warp's 32 lanes, in plain C++.
// Knows: ldmatrix, mma.sync m16n8k16, by the lane layouts of cuda/lanes.hpp.
// Must not know: lanes' code, memory. Source: PTX ISA, "Warp Level Matrix Multiply-Accumulate Instructions".
// Products are exact and sums are rounded once: hardware rounds differently, so results are compared with a tolerance.
#pragma once

#include <cstdint>

#include "../../dtype.hpp"
#include "../../float_formats.hpp"
#include "../cuda/lanes.hpp"

namespace tilefit::inline v0::simt {

/// Models are not kernel code: nobody watches their accesses.
template <dtype X>
__attribute__((no_sanitize("thread"))) inline float half_of(std::uint32_t pair, int half) noexcept {
  static_assert(X == dtype::bf16 || X == dtype::fp16);
  const auto code = static_cast<std::uint16_t>(pair >> (16 * half));
  if constexpr (X == dtype::bf16) return bf16_to_float(code);
  return fp16_to_float(code);
}

/// Registers of one lane for an mma.sync: `a` and `b` as they lie in memory of the lane.
struct mma_registers {
  float* sum = nullptr;              ///< [4]
  const std::uint32_t* a = nullptr;  ///< [4]
  std::uint32_t b[2] = {};
};

/// sum[16, 8] += a[16, 16] * b[16, 8] of a warp.
template <dtype X>
__attribute__((no_sanitize("thread"))) inline void model_mma_m16n8k16(
    const mma_registers* const (&lanes)[32]) noexcept {
  double a[16][16], b[16][8], sum[16][8] = {};
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 8; ++i) {
      const device::element_place at = device::mma_a_place(lane, i);
      a[at.row][at.column] = double{half_of<X>(lanes[lane]->a[i / 2], i % 2)};
    }
    for (int i = 0; i < 4; ++i) {
      const device::element_place at = device::mma_b_place(lane, i);
      b[at.row][at.column] = double{half_of<X>(lanes[lane]->b[i / 2], i % 2)};
    }
  }
  // Columns innermost: then no sum waits for the one before it.
  for (int row = 0; row < 16; ++row)
    for (int k = 0; k < 16; ++k)
      for (int column = 0; column < 8; ++column) sum[row][column] += a[row][k] * b[k][column];
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) {
      const device::element_place at = device::mma_c_place(lane, i);
      lanes[lane]->sum[i] = static_cast<float>(double{lanes[lane]->sum[i]} + sum[at.row][at.column]);
    }
}

/// Registers of ldmatrix .x4: row r of matrix m is what lane 8 m + r named, rows[8 m + r].
__attribute__((no_sanitize("thread"))) inline void model_ldmatrix_x4(const std::byte* const (&rows)[32],
                                                                     std::uint32_t (*const (&to)[32])[4]) noexcept {
  for (int lane = 0; lane < 32; ++lane)
    for (int m = 0; m < 4; ++m) {
      std::uint32_t pair = 0;
      for (int i = 0; i < 2; ++i) {
        const device::element_place at = device::ldmatrix_place(lane, i);
        const std::byte* const from = rows[8 * m + at.row] + 2 * at.column;
        pair |= (static_cast<std::uint32_t>(from[0]) | static_cast<std::uint32_t>(from[1]) << 8) << (16 * i);
      }
      (*to[lane])[m] = pair;
    }
}

}  // namespace tilefit::inline v0::simt
