// Integer arithmetic that every layer shares.
// Knows: numbers.
// Must not know: what they count.
#pragma once

#include <cstdint>

#include "config.hpp"

namespace tilefit::inline v0::detail {

/// Smallest q with q * divisor >= value. Requires value >= 0 and divisor > 0.
TILEFIT_HD constexpr std::int64_t ceil_div(std::int64_t value, std::int64_t divisor) noexcept {
  return value / divisor + (value % divisor != 0 ? 1 : 0);
}

/// value / divisor for a divisor that is a power of two more often than not: a shift then, a division otherwise.
/// Requires value >= 0 and divisor > 0.
TILEFIT_HD constexpr std::int64_t div_pow2(std::int64_t value, int divisor) noexcept {
  if ((divisor & (divisor - 1)) != 0) return value / divisor;
  std::int64_t quotient = value;
#if (defined(__GNUC__) || defined(__clang__)) && !defined(__CUDACC__)
  quotient >>= __builtin_ctz(static_cast<unsigned>(divisor));
#else
  quotient /= divisor;
#endif
  return quotient;
}
TILEFIT_HD constexpr std::int64_t ceil_div_pow2(std::int64_t value, int divisor) noexcept {
  return div_pow2(value + divisor - 1, divisor);
}

/// Smallest multiple of alignment that is >= value. Requires value >= 0 and alignment > 0.
TILEFIT_HD constexpr std::int64_t align_up(std::int64_t value, std::int64_t alignment) noexcept {
  return ceil_div(value, alignment) * alignment;
}

/// Smallest power of two that is >= value; 1 for value <= 1. Requires value <= 2^62.
TILEFIT_HD constexpr std::int64_t next_pow2(std::int64_t value) noexcept {
  std::int64_t power = 1;
  while (power < value) power *= 2;
  return power;
}

TILEFIT_HD constexpr bool is_pow2(std::int64_t value) noexcept { return value > 0 && (value & (value - 1)) == 0; }

// std::min and std::max cost a header that takes g++ longer than the engine does, and are host functions to nvcc.
template <class Number>
TILEFIT_HD constexpr Number min(Number a, Number b) noexcept {
  return b < a ? b : a;
}
template <class Number>
TILEFIT_HD constexpr Number max(Number a, Number b) noexcept {
  return a < b ? b : a;
}

TILEFIT_HD constexpr std::int64_t clamp(std::int64_t value, std::int64_t low, std::int64_t high) noexcept {
  return value < low ? low : value > high ? high : value;
}

/// a * b, or the largest value when that overflows. Requires a >= 0 and b >= 0.
TILEFIT_HD constexpr std::int64_t saturating_mul(std::int64_t a, std::int64_t b) noexcept {
  constexpr std::int64_t max = INT64_MAX;
  if (((a | b) >> 31) == 0) return a * b;
  return b != 0 && a > max / b ? max : a * b;
}

/// a + b, or the largest value when that overflows. Requires a >= 0 and b >= 0.
TILEFIT_HD constexpr std::int64_t saturating_add(std::int64_t a, std::int64_t b) noexcept {
  constexpr std::int64_t max = INT64_MAX;
  return a > max - b ? max : a + b;
}

}  // namespace tilefit::inline v0::detail
