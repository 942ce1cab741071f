#include <cstdint>
#include <random>

#include "catch.hpp"
#include "tilefit/kernels/detail/mma_words.hpp"
#include "tilefit/weights.hpp"

using namespace tilefit;

namespace {

std::uint32_t byte_of(std::uint32_t word, int b) { return word >> (8 * b) & 0xFFu; }

/// Adds the words of lane b of a step, put together pair by pair as weights.hpp does.
void add_by_pairs(const detail::step_rows& rows, int b, int step, detail::mma_words& words) {
  const std::uint32_t of_pairs[] = {rows.even_low, rows.odd_low, rows.even_high, rows.odd_high};
  for (int pair = 0; pair < 4; ++pair) {
    const detail::mma_words more = detail::spread_pair(byte_of(of_pairs[pair], b), step, pair);
    words.first |= more.first;
    words.second |= more.second;
  }
}

}  // namespace

TEST_CASE("mma words: sixteen codes at a time are the codes two by two", "[weights]") {
  std::mt19937 random(3);
  for (int repeat = 0; repeat < 10'000; ++repeat) {
    const auto next = [&] { return static_cast<std::uint32_t>(random()); };
    const detail::step_rows rows[2] = {{next(), next(), next(), next()}, {next(), next(), next(), next()}};
    const detail::step_codes codes[2] = {detail::codes_of_rows(rows[0]), detail::codes_of_rows(rows[1])};
    for (int b = 0; b < 4; ++b) {
      const detail::mma_words words = detail::mma_words_of_codes({codes[0].lane[b], codes[1].lane[b]});
      detail::mma_words by_pairs;
      for (int step = 0; step < 2; ++step) add_by_pairs(rows[step], b, step, by_pairs);
      REQUIRE(words.first == by_pairs.first);
      REQUIRE(words.second == by_pairs.second);
      const detail::mma_codes back = detail::codes_of_mma_words(words);
      REQUIRE(back.first == codes[0].lane[b]);
      REQUIRE(back.second == codes[1].lane[b]);
      const std::uint32_t pairs = byte_of(rows[0].even_low, b) | byte_of(rows[0].odd_low, b) << 8 |
                                  byte_of(rows[0].even_high, b) << 16 | byte_of(rows[0].odd_high, b) << 24;
      REQUIRE(detail::codes_of_pairs(pairs) == codes[0].lane[b]);
    }
    const detail::step_rows back = detail::rows_of_codes(codes[0]);
    REQUIRE(back.even_low == rows[0].even_low);
    REQUIRE(back.odd_low == rows[0].odd_low);
    REQUIRE(back.even_high == rows[0].even_high);
    REQUIRE(back.odd_high == rows[0].odd_high);
  }
}

TEST_CASE("mma words: every bit is where mma_bit says", "[weights]") {
  for (int step = 0; step < 2; ++step)
    for (int element = 0; element < 8; ++element)
      for (int bit = 0; bit < 4; ++bit) {
        const std::uint32_t code = 1u << (4 * (element / 2) + 16 * (element % 2) + bit);
        const detail::mma_words words = detail::mma_words_of_codes({step == 0 ? code : 0, step == 1 ? code : 0});
        const std::uint64_t both = words.first | std::uint64_t{words.second} << 32;
        CHECK(both == std::uint64_t{1} << mma_bit(step, element, bit));
        const detail::mma_codes back = detail::codes_of_mma_words(words);
        CHECK(back.first == (step == 0 ? code : 0));
        CHECK(back.second == (step == 1 ? code : 0));
      }
}
