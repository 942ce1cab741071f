// L3: where a weight lies, for every layout that a kernel reads.
// Knows: atoms, their order, byte and bit positions of values and scales.
// Must not know: where weights come from (weights.hpp) or which tile reads them: no layout depends on one.
#pragma once

#include <cstdint>
#include <string_view>

#include "detail/config.hpp"
#include "detail/math.hpp"

namespace tilefit::inline v0 {

/// Storage of MXFP4 weights W[experts, n, k]; n and k are multiples of 32.
///
/// Every layout but row_major stores, for each expert: groups of 64 rows, in a group the atoms along K, at each K the
/// four 16-row atoms of the group. A tile of any 64-row multiple and any K-atom multiple is therefore whole contiguous
/// pieces (16 or 32 rows: pieces at a stride). An atom holds its values, then its scales. Rows and K behind the end
/// of the matrix, inside the last group and the last K atom, hold zeros with the neutral scale 127.
enum class weight_layout : std::uint8_t {
  /// The published GPT-OSS form: values [n, k / 32, 16], low nibble = even k; scales [n, k / 32] in an array of their
  /// own.
  row_major,
  /// NVIDIA. Atom of 16 rows x 64 K = 512 B of values + 32 B of scales. Lane l of a warp owns bytes 16 l ... 16 l + 15:
  /// eight for each 32 of K, its elements a0 ... a7 of two K steps of 16, as the A fragment of mma.sync.m16n8k16 has
  /// them
  /// (PTX ISA, "Matrix fragments for mma.m16n8k16 with floating point type"); wgmma's register A is the same per warp.
  /// Rows 2 i and 2 i + 1 of W are rows i and i + 8 of the fragment: one lane holds both, so gate and up of a SwiGLU
  /// meet in a register, and plain results leave as pairs of columns.
  /// Bits: see `mma_bit`. Scale of row r, 32-block b of the atom: byte 2 r + b, so that one 32-bit load
  /// brings a lane the four scales of its two rows.
  mma_m16k64,
  /// AMD. Atom of 16 rows x 128 K = 1024 B of values + 64 B of scales. Lane l of a wave owns bytes 16 l ... 16 l + 15:
  /// row l % 16, 32 K values from 32 * (l / 16), low nibble = even k. Scale byte l belongs to the same values.
  mfma_m16k128,
};

constexpr std::string_view name_of(weight_layout layout) noexcept {
  switch (layout) {
    case weight_layout::row_major: return "row_major";
    case weight_layout::mma_m16k64: return "mma_m16k64";
    case weight_layout::mfma_m16k128: return "mfma_m16k128";
  }
  return "?";
}

/// Shape of the atom of a layout. row_major has none: atom_k = 0.
struct weight_atom {
  static constexpr int rows = 16;
  static constexpr int group_rows = 64;
  int k = 0;
  int value_bytes = 0;
  int bytes = 0;  ///< values and scales: the stride from one atom to the next
};

TILEFIT_HD constexpr weight_atom atom_of(weight_layout layout) noexcept {
  switch (layout) {
    case weight_layout::row_major: break;
    case weight_layout::mma_m16k64: return {64, 512, 544};
    case weight_layout::mfma_m16k128: return {128, 1024, 1088};
  }
  return {};
}

/// True for the sizes that every layout can hold.
TILEFIT_HD constexpr bool valid_weight_size(std::int64_t n, std::int64_t k) noexcept {
  return n > 0 && k > 0 && n % 32 == 0 && k % 32 == 0 && n < (std::int64_t{1} << 31) && k < (std::int64_t{1} << 31);
}

/// Bytes of one expert in the array of values (all layouts but row_major: scales included).
TILEFIT_HD constexpr std::int64_t bytes_per_expert(weight_layout layout, std::int64_t n, std::int64_t k) noexcept {
  if (layout == weight_layout::row_major) return n * (k / 2);
  const weight_atom atom = atom_of(layout);
  return detail::ceil_div(n, weight_atom::group_rows) * (weight_atom::group_rows / weight_atom::rows) *
         detail::ceil_div(k, atom.k) * atom.bytes;
}

/// Bytes of one expert in an array of scales of their own: row_major only, 0 elsewhere.
TILEFIT_HD constexpr std::int64_t scale_bytes_per_expert(weight_layout layout, std::int64_t n,
                                                         std::int64_t k) noexcept {
  return layout == weight_layout::row_major ? n * (k / 32) : 0;
}

/// Byte where the atom starts that holds (row, col). Not for row_major.
TILEFIT_HD constexpr std::int64_t atom_offset(weight_layout layout, std::int64_t k, std::int64_t row,
                                              std::int64_t col) noexcept {
  const weight_atom atom = atom_of(layout);
  const std::int64_t k_atoms = detail::ceil_div(k, atom.k);
  const std::int64_t group = row / weight_atom::group_rows;
  const std::int64_t row_atom = row % weight_atom::group_rows / weight_atom::rows;
  return ((group * k_atoms + col / atom.k) * (weight_atom::group_rows / weight_atom::rows) + row_atom) * atom.bytes;
}

/// How the 16 codes of a lane for 32 K, two steps of 16, share two 32-bit words of mma_m16k64. The codes of a step form
/// four pairs; a pair is wanted with the even element in the low half of a register, the odd one in the high half, each
/// with its sign at bit 15 and its magnitude at bits 8..6 (`mma_pair_mask`), where it is a BF16 pattern (fp4_widening).
/// Pairs 0, 1, 2 of a step are its own word, rotated left by 0, 4 and 10, under the mask. Three such patterns leave
/// bits 10, 9, 1, 0 of a half free, and no fourth one fits there: the free bits of both words together, of the first
/// where they are and of the second two bits higher, hold the pairs 3, of the first step rotated left by 6, of the
/// second by 12.
inline constexpr std::uint32_t mma_pair_mask = 0x81C081C0u;
inline constexpr std::uint32_t mma_free_mask = 0x06030603u;
TILEFIT_HD constexpr int mma_pair_rotation(int step, int pair) noexcept {
  return pair == 0 ? 0 : pair == 1 ? 4 : pair == 2 ? 10 : step % 2 == 0 ? 6 : 12;
}

/// Bit of the 64-bit number that the two words make (the first one is the low half) where bit `bit` (0..2 magnitude, 3
/// sign) of fragment element a[element] of a step lies.
TILEFIT_HD constexpr int mma_bit(int step, int element, int bit) noexcept {
  const int pair = element / 2;
  const int wanted = 16 * (element % 2) + (bit == 3 ? 15 : 6 + bit);
  const int at = (wanted - mma_pair_rotation(step, pair) + 32) % 32;
  if (pair < 3) return 32 * (step % 2) + at;
  return (mma_free_mask >> at & 1u) != 0 ? at : 32 + at - 2;
}

/// Lane and element of the m16n8k16 A fragment that hold (row, col) of a 16 x 16 step of W.
struct mma_slot {
  int lane = 0;
  int element = 0;
};
TILEFIT_HD constexpr mma_slot mma_slot_of(int row, int col) noexcept {
  return {4 * (row / 2) + col % 8 / 2, col % 2 + 2 * (row % 2) + 4 * (col / 8)};
}

/// Position of one 4-bit weight: bit b (0..2 magnitude, 3 sign) is bit `bit[b]` of the little-endian number that starts
/// at `byte` (row_major and mfma_m16k128: bits < 8; mma_m16k64: bits < 64).
struct weight_position {
  std::int64_t byte = 0;
  int bit[4] = {};
};

/// Where W[row, col] of an expert lies, from the start of that expert's values. Requires 0 <= row < n, 0 <= col < k.
TILEFIT_HD constexpr weight_position value_position(weight_layout layout, std::int64_t, std::int64_t k,
                                                    std::int64_t row, std::int64_t col) noexcept {
  const int low = static_cast<int>(col % 2) * 4;
  const weight_position nibble{0, {low, low + 1, low + 2, low + 3}};
  weight_position at = nibble;
  switch (layout) {
    case weight_layout::row_major: at.byte = row * (k / 2) + col / 2; break;
    case weight_layout::mma_m16k64: {
      const mma_slot slot = mma_slot_of(static_cast<int>(row % 16), static_cast<int>(col % 16));
      at.byte = atom_offset(layout, k, row, col) + 16 * slot.lane + 8 * (col % 64 / 32);
      for (int b = 0; b < 4; ++b) at.bit[b] = mma_bit(static_cast<int>(col % 32 / 16), slot.element, b);
      break;
    }
    case weight_layout::mfma_m16k128:
      at.byte = atom_offset(layout, k, row, col) + 16 * (row % 16 + 16 * (col % 128 / 32)) + col % 32 / 2;
      break;
  }
  return at;
}

/// Where the scale of W[row, col] lies: from the start of the expert's scales (row_major) or values (other layouts).
TILEFIT_HD constexpr std::int64_t scale_offset(weight_layout layout, std::int64_t, std::int64_t k, std::int64_t row,
                                               std::int64_t col) noexcept {
  switch (layout) {
    case weight_layout::row_major: break;
    case weight_layout::mma_m16k64: return atom_offset(layout, k, row, col) + 512 + 2 * (row % 16) + col % 64 / 32;
    case weight_layout::mfma_m16k128: return atom_offset(layout, k, row, col) + 1024 + row % 16 + 16 * (col % 128 / 32);
  }
  return row * (k / 32) + col / 32;
}

}  // namespace tilefit::inline v0
