// L5: the words of weight_layout::mma_m16k64, eight FP4 codes at a time.
// Knows: `mma_bit` and `mma_slot_of` (weight_layout.hpp) as shifts and masks. Must not know: memory, lanes, kernels.
// One code at a time, and slower, the same is in weights.hpp; tests hold the two together.
//
// A step is 2 rows x 16 K of an atom: rows 2 i and 2 i + 1 of W. Its columns 0..7 ("low") and 8..15 ("high") are one
// 32-bit word of packed codes per row. The four lanes 4 i + b own one word each, of byte b of all four.
#pragma once

#include <cstdint>

#include "../../detail/config.hpp"

namespace tilefit::inline v0::detail {

/// The word of mma_m16k64 for codes in plain order: bits 4 p .. 4 p + 3 are element 2 p, bits 16 + 4 p .. element
/// 2 p + 1.
TILEFIT_HD constexpr std::uint32_t mma_word_of_codes(std::uint32_t codes) noexcept {
  return (codes << 12 & 0x8000'8000u) | (codes << 6 & 0x01C0'01C0u)  // pair 0
         | (codes << 5 & 0x1000'1000u)                               // pair 1, sign
         | (codes >> 1 & 0x6038'6038u)                               // pair 1, magnitude; pair 3, upper bits
         | (codes >> 2 & 0x0E00'0E00u)                               // pair 2, sign; pair 3, lower bits
         | (codes >> 8 & 0x0007'0007u);                              // pair 2, magnitude
}

/// The inverse of mma_word_of_codes.
TILEFIT_HD constexpr std::uint32_t codes_of_mma_word(std::uint32_t word) noexcept {
  return (word >> 12 & 0x0008'0008u) | (word >> 6 & 0x0007'0007u) | (word >> 5 & 0x0080'0080u) |
         (word << 1 & 0xC070'C070u) | (word << 2 & 0x3800'3800u) | (word << 8 & 0x0700'0700u);
}

/// A step as it lies in rows: columns 0..7 and 8..15 of the even and of the odd row, low nibble first.
struct step_rows {
  std::uint32_t even_low = 0, odd_low = 0, even_high = 0, odd_high = 0;
};

/// A step as lanes own it: lane[b] are the codes of lane 4 i + b in plain order.
struct step_codes {
  std::uint32_t lane[4] = {};
};

TILEFIT_HD constexpr step_codes codes_of_rows(const step_rows& rows) noexcept {
  constexpr std::uint32_t nibbles = 0x0F0F'0F0Fu, bytes = 0x00FF'00FFu, half = 0xFFFFu;
  // Even columns of pairs 0 and 1, of pairs 2 and 3; odd columns likewise: byte b belongs to lane b.
  const std::uint32_t even01 = (rows.even_low & nibbles) | (rows.odd_low << 4 & ~nibbles);
  const std::uint32_t even23 = (rows.even_high & nibbles) | (rows.odd_high << 4 & ~nibbles);
  const std::uint32_t odd01 = (rows.even_low >> 4 & nibbles) | (rows.odd_low & ~nibbles);
  const std::uint32_t odd23 = (rows.even_high >> 4 & nibbles) | (rows.odd_high & ~nibbles);
  // A 4 x 4 transpose of bytes.
  const std::uint32_t even02 = (even01 & bytes) | (even23 << 8 & ~bytes);  // lanes 0 and 2
  const std::uint32_t even13 = (even01 >> 8 & bytes) | (even23 & ~bytes);
  const std::uint32_t odd02 = (odd01 & bytes) | (odd23 << 8 & ~bytes);
  const std::uint32_t odd13 = (odd01 >> 8 & bytes) | (odd23 & ~bytes);
  return {{(even02 & half) | odd02 << 16, (even13 & half) | odd13 << 16, even02 >> 16 | (odd02 & ~half),
           even13 >> 16 | (odd13 & ~half)}};
}

/// The inverse of codes_of_rows.
TILEFIT_HD constexpr step_rows rows_of_codes(const step_codes& codes) noexcept {
  constexpr std::uint32_t nibbles = 0x0F0F'0F0Fu, bytes = 0x00FF'00FFu, half = 0xFFFFu;
  const std::uint32_t even02 = (codes.lane[0] & half) | codes.lane[2] << 16;
  const std::uint32_t even13 = (codes.lane[1] & half) | codes.lane[3] << 16;
  const std::uint32_t odd02 = codes.lane[0] >> 16 | (codes.lane[2] & ~half);
  const std::uint32_t odd13 = codes.lane[1] >> 16 | (codes.lane[3] & ~half);
  const std::uint32_t even01 = (even02 & bytes) | (even13 << 8 & ~bytes);
  const std::uint32_t even23 = (even02 >> 8 & bytes) | (even13 & ~bytes);
  const std::uint32_t odd01 = (odd02 & bytes) | (odd13 << 8 & ~bytes);
  const std::uint32_t odd23 = (odd02 >> 8 & bytes) | (odd13 & ~bytes);
  return {.even_low = (even01 & nibbles) | (odd01 << 4 & ~nibbles),
          .odd_low = (even01 >> 4 & nibbles) | (odd01 & ~nibbles),
          .even_high = (even23 & nibbles) | (odd23 << 4 & ~nibbles),
          .odd_high = (even23 >> 4 & nibbles) | (odd23 & ~nibbles)};
}

/// Codes in plain order from the four bytes of one lane: byte p holds pair p, even element in the low nibble.
TILEFIT_HD constexpr std::uint32_t codes_of_pairs(std::uint32_t pairs) noexcept {
  const std::uint32_t even = (pairs & 0x000F'000Fu) | (pairs >> 4 & 0x00F0'00F0u);
  const std::uint32_t odd = (pairs >> 4 & 0x000F'000Fu) | (pairs >> 8 & 0x00F0'00F0u);
  return (even & 0xFFu) | (even >> 8 & 0xFF00u) | (odd & 0xFFu) << 16 | (odd << 8 & 0xFF00'0000u);
}

}  // namespace tilefit::inline v0::detail
