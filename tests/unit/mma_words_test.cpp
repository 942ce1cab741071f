#include <cstdint>
#include <random>

#include "catch.hpp"
#include "tilefit/kernels/detail/mma_words.hpp"
#include "tilefit/weights.hpp"

using namespace tilefit;

namespace {

std::uint32_t byte_of(std::uint32_t word, int b) { return word >> (8 * b) & 0xFFu; }

/// The word of lane b of a step, put together pair by pair as weights.hpp does.
std::uint32_t word_by_pairs(const detail::step_rows& rows, int b) {
  return detail::spread_pair(byte_of(rows.even_low, b), 0) | detail::spread_pair(byte_of(rows.odd_low, b), 1) |
         detail::spread_pair(byte_of(rows.even_high, b), 2) | detail::spread_pair(byte_of(rows.odd_high, b), 3);
}

}  // namespace

TEST_CASE("mma words: eight codes at a time are the codes one by one", "[weights]") {
  std::mt19937 random(3);
  for (int repeat = 0; repeat < 10'000; ++repeat) {
    const auto next = [&] { return static_cast<std::uint32_t>(random()); };
    const detail::step_rows rows{next(), next(), next(), next()};
    const detail::step_codes codes = detail::codes_of_rows(rows);
    for (int b = 0; b < 4; ++b) {
      const std::uint32_t word = detail::mma_word_of_codes(codes.lane[b]);
      REQUIRE(word == word_by_pairs(rows, b));
      REQUIRE(detail::codes_of_mma_word(word) == codes.lane[b]);
      const std::uint32_t pairs = byte_of(rows.even_low, b) | byte_of(rows.odd_low, b) << 8 |
                                  byte_of(rows.even_high, b) << 16 | byte_of(rows.odd_high, b) << 24;
      REQUIRE(detail::codes_of_pairs(pairs) == codes.lane[b]);
    }
    const detail::step_rows back = detail::rows_of_codes(codes);
    REQUIRE(back.even_low == rows.even_low);
    REQUIRE(back.odd_low == rows.odd_low);
    REQUIRE(back.even_high == rows.even_high);
    REQUIRE(back.odd_high == rows.odd_high);
  }
}

TEST_CASE("mma words: every bit is where mma_bit says", "[weights]") {
  for (int element = 0; element < 8; ++element)
    for (int bit = 0; bit < 4; ++bit) {
      const std::uint32_t codes = 1u << (4 * (element / 2) + 16 * (element % 2) + bit);
      CHECK(detail::mma_word_of_codes(codes) == 1u << mma_bit(element, bit));
    }
}
