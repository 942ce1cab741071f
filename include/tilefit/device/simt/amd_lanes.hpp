// L4: which lane of a wave of 64 holds which element of CDNA's matrix instructions, as the executor's models have it.
// Knows: fragments of v_mfma and v_mfma_scale, places of their results, transposing reads of LDS.
// Must not know: instructions' arithmetic, kernels. Written down apart from device/hip, so that each checks the other.
// Sources: AMD Instinct MI300 and CDNA4 ISA references, "VOP3P-MAI" and "DS_READ_B64_TR"; for 8-bit operands of
// v_mfma_scale AMD's "Introduction to Matrix Core Programming on CDNA3 and CDNA4", section 5.4.
#pragma once

namespace tilefit::inline v0::simt {

struct matrix_at {
  int row = 0;
  int column = 0;
  friend constexpr bool operator==(const matrix_at&, const matrix_at&) = default;
};

/// Result i of a lane. 16 x 16: four rows to a lane. 32 x 32: four times four, 8 rows apart.
constexpr matrix_at mfma_result_at(int tile, int lane, int i) noexcept {
  if (tile == 16) return {.row = 4 * (lane / 16) + i, .column = lane % 16};
  return {.row = 8 * (i / 4) + 4 * (lane / 32) + i % 4, .column = lane % 32};
}

/// Row of A, and column of B, that a lane holds.
constexpr int mfma_operand_row(int tile, int lane) noexcept { return lane % tile; }

/// K of element i of a lane's 16-bit operand, `count` (8 on gfx950, 4 before) to a lane.
constexpr int mfma_16bit_k_at(int tile, int count, int lane, int i) noexcept { return count * (lane / tile) + i; }

/// K of element i (of 32) of a lane's operand of v_mfma_scale. 4-bit: the 32 of its scale, in a row. 8-bit: the first
/// half of the registers has 16 in a row from the lower half of K, the second from the upper one.
constexpr int mfma_scaled_k_at(int tile, int bits, int lane, int i) noexcept {
  const int group = lane / tile, groups = 64 / tile;
  if (bits == 4) return 32 * group + i;
  return 16 * group + 16 * groups * (i / 16) + i % 16;
}

/// Lane that has the scale of row (of A; column of B) `row` for the 32 of K number `block`.
constexpr int mfma_scale_lane_at(int tile, int row, int block) noexcept { return row + tile * block; }

/// ds_read_b64_tr_b16 / _b8 / _b4: the 64 bits of 16 lanes, one behind the other, are a matrix of 16 columns; lane i of
/// the 16 gets column i. Where element j of lane `lane` is read: by which lane, and as which of its elements.
struct transposed_source {
  int lane = 0;
  int element = 0;
};
constexpr transposed_source transposed_from(int bits, int lane, int j) noexcept {
  const int each = 64 / bits;
  const int at = 16 * j + lane % 16;
  return {.lane = lane / 16 * 16 + at / each, .element = at % each};
}

}  // namespace tilefit::inline v0::simt
