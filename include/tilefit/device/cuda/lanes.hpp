// L4: which lane of a warp holds which element, as data.
// Knows: the fragment layouts of mma.sync m16n8k16, wgmma with A in registers, ldmatrix, and the 128-byte swizzle.
// Must not know: instructions. Plain C++, so that a CPU can check and emulate them.
// Source: PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type", "Register Fragments for
// wgmma.mma_async.m64nNk16", "ldmatrix", "Shared Memory Matrix Layout".
#pragma once

#include <cstdint>

#include "../../detail/config.hpp"

namespace tilefit::inline v0::device {

/// A place in a matrix.
struct element_place {
  int row = 0;
  int column = 0;

  friend constexpr bool operator==(const element_place&, const element_place&) = default;
};

/// A[16 rows, 16 k]: element 0..7 of a lane (two to a register). wgmma: of warp w of the group, rows from 16 w.
TILEFIT_HD constexpr element_place mma_a_place(int lane, int element) noexcept {
  return {.row = lane / 4 + 8 * (element / 2 % 2), .column = 2 * (lane % 4) + element % 2 + 8 * (element / 4)};
}

/// B[16 k, 8 columns]: element 0..3 of a lane (two to a register).
TILEFIT_HD constexpr element_place mma_b_place(int lane, int element) noexcept {
  return {.row = 2 * (lane % 4) + element % 2 + 8 * (element / 2), .column = lane / 4};
}

/// C and D[16 rows, 8 columns]: element 0..3 of a lane. wgmma: element 4 j + i is element i of columns from 8 j, of
/// warp w the rows from 16 w.
TILEFIT_HD constexpr element_place mma_c_place(int lane, int element) noexcept {
  return {.row = lane / 4 + 8 * (element / 2), .column = 2 * (lane % 4) + element % 2};
}

/// Element 0 or 1 of the register that ldmatrix brings a lane of one 8 x 8 matrix.
TILEFIT_HD constexpr element_place ldmatrix_place(int lane, int element) noexcept {
  return {.row = lane / 4, .column = 2 * (lane % 4) + element};
}

/// Byte of 16-byte chunk `chunk` (0..7) of row `row` in a matrix of 128-byte rows with the 128-byte swizzle: the chunk
/// number is flipped by the row's place in its eight. The matrix starts at a multiple of 1,024 B.
TILEFIT_HD constexpr std::uint32_t swizzled_chunk(std::uint32_t row, std::uint32_t chunk) noexcept {
  return row * 128 + ((chunk ^ (row & 7u)) << 4);
}

/// wgmma's descriptor of such a matrix, rows along N or M and 64 16-bit elements of K to a row: start address / 16 in
/// bits 0..13, 1,024 B between groups of eight rows / 16 in bits 32..45, 128-byte swizzle = 1 in bits 62..63. (The
/// leading offset, bits 16..29, is not used for swizzled K-major operands.) A K step of 16 is 32 B further on.
TILEFIT_HD constexpr std::uint64_t swizzled_descriptor(std::uint32_t address) noexcept {
  return (std::uint64_t{address} >> 4 & 0x3FFF) | std::uint64_t{1} << 16 | std::uint64_t{1024 / 16} << 32 |
         std::uint64_t{1} << 62;
}

}  // namespace tilefit::inline v0::device
