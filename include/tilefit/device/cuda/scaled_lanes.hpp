// L4: which lane of a warp holds which element of block-scaled mma.sync (sm_120a), as data.
// Knows: the fragments of m16n8k64 with FP4 and of m16n8k32 with 8-bit containers, and where scales come from.
// Must not know: instructions. Plain C++. C and D: lanes.hpp, mma_c_place.
// Sources: PTX ISA, "Matrix Fragments for mma.m16n8k64", "... m16n8k32", "Block Scaling for mma.sync"; the lanes of
// scales also in CuTe's MMA traits of SM120 (SFALayout, SFBLayout).
#pragma once

#include "../../detail/config.hpp"
#include "lanes.hpp"

namespace tilefit::inline v0::device {

/// A[16 rows, K]: element of a lane, `run` (8: FP4, K = 64; 4: 8-bit, K = 32) of them to a register, 4 registers.
TILEFIT_HD constexpr element_place scaled_a_place(int run, int lane, int element) noexcept {
  const int reg = element / run;
  return {.row = lane / 4 + 8 * (reg % 2), .column = run * (lane % 4) + element % run + 4 * run * (reg / 2)};
}
/// B[K, 8 columns]: likewise, 2 registers.
TILEFIT_HD constexpr element_place scaled_b_place(int run, int lane, int element) noexcept {
  return {.row = run * (lane % 4) + element % run + 4 * run * (element / run), .column = lane / 4};
}

/// Lane whose scale word is row `row` of A's, with thread-id-a 0 or 1. Byte byte-id-a + b of it: 32-block b of K.
TILEFIT_HD constexpr int scaled_a_scale_lane(int row, int thread_id) noexcept {
  return 4 * (row % 8) + row / 8 + 2 * thread_id;
}
/// Lane whose scale word is column `column` of B's, with thread-id-b 0 .. 3.
TILEFIT_HD constexpr int scaled_b_scale_lane(int column, int thread_id) noexcept { return 4 * column + thread_id; }

/// Bits of an FP4 code in an 8-bit container of kind::mxf8f6f4: 2 to 5.
inline constexpr int fp4_container_shift = 2;

}  // namespace tilefit::inline v0::device
