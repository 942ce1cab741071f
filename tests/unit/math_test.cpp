#include <cstdint>
#include <limits>
#include <tilefit/detail/math.hpp>

#include "catch.hpp"

using namespace tilefit::detail;

constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max();

TEST_CASE("division and alignment round up") {
  for (std::int64_t divisor = 1; divisor <= 33; ++divisor)
    for (std::int64_t value = 0; value <= 200; ++value) {
      const std::int64_t quotient = ceil_div(value, divisor);
      CAPTURE(value, divisor, quotient);
      REQUIRE(quotient * divisor >= value);
      REQUIRE((quotient - 1) * divisor < value);
      REQUIRE(align_up(value, divisor) == quotient * divisor);
    }
  CHECK(ceil_div(largest, 2) == largest / 2 + 1);
}

TEST_CASE("next_pow2 is the smallest power of two that is not below") {
  CHECK(next_pow2(-5) == 1);
  CHECK(next_pow2(0) == 1);
  for (std::int64_t value = 1; value <= 5000; ++value) {
    const std::int64_t power = next_pow2(value);
    REQUIRE(is_pow2(power));
    REQUIRE(power >= value);
    REQUIRE(power / 2 < value);
  }
  CHECK(next_pow2(std::int64_t{1} << 62) == std::int64_t{1} << 62);
  CHECK_FALSE(is_pow2(0));
  CHECK_FALSE(is_pow2(std::numeric_limits<std::int64_t>::min()));
}

TEST_CASE("clamp keeps a value between its bounds") {
  CHECK(clamp(-1, 0, 10) == 0);
  CHECK(clamp(5, 0, 10) == 5);
  CHECK(clamp(11, 0, 10) == 10);
}

TEST_CASE("saturating arithmetic stops at the largest value") {
  CHECK(saturating_mul(0, largest) == 0);
  CHECK(saturating_mul(largest, 0) == 0);
  CHECK(saturating_mul(1, largest) == largest);
  CHECK(saturating_mul(2, largest) == largest);
  CHECK(saturating_mul(largest, largest) == largest);
  CHECK(saturating_mul((std::int64_t{1} << 31) - 1, (std::int64_t{1} << 31) - 1) == 4611686014132420609);
  CHECK(saturating_mul(std::int64_t{1} << 31, std::int64_t{1} << 32) == largest);
  CHECK(saturating_mul(3037000499, 3037000499) == 9223372030926249001);
  CHECK(saturating_mul(3037000500, 3037000500) == largest);

  CHECK(saturating_add(0, largest) == largest);
  CHECK(saturating_add(1, largest) == largest);
  CHECK(saturating_add(largest, largest) == largest);
  CHECK(saturating_add(largest - 1, 1) == largest);
  CHECK(saturating_add(20, 22) == 42);
}
