// L5: the words of weight_layout::mma_m16k64, sixteen FP4 codes at a time.
// Knows: `mma_bit` and `mma_slot_of` (weight_layout.hpp) as rotations and masks. Must not know: memory, lanes, kernels.
// Two codes at a time, and slower, the same is in weights.hpp; tests hold the two together.
//
// A step is 2 rows x 16 K of an atom: rows 2 i and 2 i + 1 of W. Its columns 0..7 ("low") and 8..15 ("high") are one
// 32-bit word of packed codes per row. The four lanes 4 i + b own eight codes each, those of byte b of all four. Two
// steps side by side share two words of a lane.
#pragma once

#include <cstdint>

#include "../../detail/config.hpp"
#include "../../weight_layout.hpp"
#include "../../weights.hpp"

namespace tilefit::inline v0::detail {

/// Codes of two K steps in plain order, a word each: bits 4 p .. 4 p + 3 are element 2 p, bits 16 + 4 p .. element
/// 2 p + 1.
struct mma_codes {
  std::uint32_t first = 0;
  std::uint32_t second = 0;
};

inline constexpr std::uint32_t signs_of_pair = 0x0008'0008u;  ///< in plain order, of pair 0
inline constexpr std::uint32_t magnitudes_of_pair = 0x0007'0007u;

/// What pair `pair` of a step contributes: `codes` moved to where `mma_pair_rotation` wants it, other bits zero. Signs
/// go to bit 15 of a half, magnitudes to bits 8..6, and then back by the rotation: both are one rotation of the codes.
TILEFIT_HD constexpr std::uint32_t moved_pair(std::uint32_t codes, int step, int pair) noexcept {
  const int place = 4 * pair, back = mma_pair_rotation(step, pair);
  const int sign = (32 + 12 - place - back) % 32, magnitude = (32 + 6 - place - back) % 32;
  return (rotate_left(codes, sign) & rotate_left(signs_of_pair << place, sign)) |
         (rotate_left(codes, magnitude) & rotate_left(magnitudes_of_pair << place, magnitude));
}

/// The inverse of moved_pair, for words that hold other pairs too.
TILEFIT_HD constexpr std::uint32_t codes_of_moved_pair(std::uint32_t word, int step, int pair) noexcept {
  const int place = 4 * pair, back = mma_pair_rotation(step, pair);
  const int sign = (32 - 12 + place + back) % 32, magnitude = (32 - 6 + place + back) % 32;
  return (rotate_left(word, sign) & signs_of_pair << place) |
         (rotate_left(word, magnitude) & magnitudes_of_pair << place);
}

/// The two words of mma_m16k64 for a lane's codes of 32 K: a rotation and a three-input logic operation for the signs
/// and for the magnitudes of each pair.
TILEFIT_HD constexpr mma_words mma_words_of_codes(const mma_codes& codes) noexcept {
  const std::uint32_t free = moved_pair(codes.first, 0, 3) | moved_pair(codes.second, 1, 3);
  mma_words words{free & mma_free_mask, free >> 2 & mma_free_mask};
  for (int pair = 0; pair < 3; ++pair) {
    words.first |= moved_pair(codes.first, 0, pair);
    words.second |= moved_pair(codes.second, 1, pair);
  }
  return words;
}

/// The inverse of mma_words_of_codes.
TILEFIT_HD constexpr mma_codes codes_of_mma_words(const mma_words& words) noexcept {
  const std::uint32_t free = (words.first & mma_free_mask) | (words.second << 2 & mma_free_mask << 2);
  mma_codes codes{codes_of_moved_pair(free, 0, 3), codes_of_moved_pair(free, 1, 3)};
  for (int pair = 0; pair < 3; ++pair) {
    codes.first |= codes_of_moved_pair(words.first, 0, pair);
    codes.second |= codes_of_moved_pair(words.second, 1, pair);
  }
  return codes;
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
