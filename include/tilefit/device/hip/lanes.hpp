// L4: which element of a matrix lies in which lane, for the matrix instructions of CDNA.
// Knows: lane layouts, as data that a host compiler can check. Must not know: instructions (mfma.cuh), memory.
// Sources: AMD Instinct MI300 and CDNA4 Instruction Set Architecture references, "Matrix Arithmetic Instructions"
// (dense layouts); Composable Kernel's mappings of scaled operands (ROCm/composable_kernel, wmma and xdlops gemm).
//
// D = A * B. A has `tile` rows, B has `tile` columns, tile is 16 or 32; both are held alike: a lane has one row of A
// (column of B) and some of K. Lane group g = lane / tile, of 64 / tile groups.
#pragma once

#include <cstdint>

#include "../../detail/config.hpp"

namespace tilefit::inline v0::device {

inline constexpr int mfma_wave_lanes = 64;

/// Place in a matrix.
struct matrix_place {
  int row = 0;
  int column = 0;

  friend constexpr bool operator==(const matrix_place&, const matrix_place&) = default;
};

/// Accumulators of a lane: tile * tile / 64.
TILEFIT_HD constexpr int mfma_sums(int tile) noexcept { return tile * tile / mfma_wave_lanes; }

/// Row (of A) and column (of B) of accumulator `element` of a lane: four neighbouring rows at a time.
TILEFIT_HD constexpr matrix_place mfma_c_place(int tile, int lane, int element) noexcept {
  const int groups = mfma_wave_lanes / tile;
  return {.row = 4 * (lane / tile) + 4 * groups * (element / 4) + element % 4, .column = lane % tile};
}

/// K of element `element` (0..7) of a 16-bit operand: v_mfma_f32_16x16x32 and v_mfma_f32_32x32x16.
TILEFIT_HD constexpr int mfma_16bit_k(int tile, int lane, int element) noexcept { return 8 * (lane / tile) + element; }

/// K of element `element` (0..31) of an operand of v_mfma_scale_f32_16x16x128_f8f6f4 and 32x32x64. FP4: 32 in a row;
/// FP8: twice 16, half of the instruction's K apart.
TILEFIT_HD constexpr int mfma_scaled_k(int bits, int tile, int lane, int element) noexcept {
  const int group = lane / tile, half = 1024 / tile;
  return bits == 4 ? 32 * group + element : 16 * group + half * (element / 16) + element % 16;
}

/// Lane that holds the scale of row (or column) `row` for the instruction's 32 values of K number `block`.
TILEFIT_HD constexpr int mfma_scale_lane(int tile, int row, int block) noexcept { return tile * block + row; }

/// Neutral scale byte: 2^0.
inline constexpr std::uint32_t neutral_scales = 0x7F7F7F7Fu;

/// Physical place of 16-byte chunk `chunk` (0..15) of row `row` of a matrix of 256-byte rows in LDS. ds_read_b128
/// serves 16 lanes at a time from 64 banks: rows that differ modulo 16 and read the same chunk meet in no bank.
TILEFIT_HD constexpr unsigned swizzled_place(unsigned row, unsigned chunk) noexcept { return chunk ^ (row & 15u); }

}  // namespace tilefit::inline v0::device
