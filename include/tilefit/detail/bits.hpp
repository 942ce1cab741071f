// Values as bit patterns and back.
// Knows: that a float is IEEE binary32. Must not know: the narrower formats (float_formats.hpp).
// Stands in for <bit>, whose functions device code cannot call without extra compiler options.
#pragma once

#include <cstdint>
#include <limits>

#include "config.hpp"

namespace tilefit::inline v0::detail {

static_assert(std::numeric_limits<float>::is_iec559 && sizeof(float) == 4, "tilefit needs IEEE binary32 floats");

TILEFIT_HD constexpr std::uint32_t bits_of_float(float value) noexcept {
  return __builtin_bit_cast(std::uint32_t, value);
}

TILEFIT_HD constexpr float float_of_bits(std::uint32_t bits) noexcept { return __builtin_bit_cast(float, bits); }

inline constexpr std::uint32_t float_sign = 0x8000'0000;
inline constexpr std::uint32_t float_infinity = 0x7F80'0000;  ///< magnitudes above this one are NaN
inline constexpr std::uint32_t float_quiet_nan = 0x7FC0'0000;
inline constexpr int float_mantissa_bits = 23;
inline constexpr int float_bias = 127;

TILEFIT_HD constexpr std::uint32_t magnitude_bits(float value) noexcept { return bits_of_float(value) & ~float_sign; }

/// 2^exponent. Requires -126 <= exponent <= 127.
TILEFIT_HD constexpr float pow2(int exponent) noexcept {
  return float_of_bits(static_cast<std::uint32_t>(exponent + float_bias) << float_mantissa_bits);
}

/// value * 2^exponent without floating-point arithmetic: right in every floating-point environment (flush to zero
/// included) and in constant expressions, where an overflowing product is not allowed. Infinity when too large;
/// zeros, infinities and NaN pass through. Bits that fall below 2^-149 are cut off.
TILEFIT_HD constexpr float scale_by_pow2(float value, int exponent) noexcept {
  constexpr std::uint32_t implicit_one = 1u << float_mantissa_bits;
  const std::uint32_t sign = bits_of_float(value) & float_sign;
  std::uint32_t mantissa = magnitude_bits(value);
  if (mantissa == 0 || mantissa >= float_infinity) return value;
  int biased = static_cast<int>(mantissa >> float_mantissa_bits);
  if (biased == 0) {
    biased = 1;
  } else {
    mantissa = (mantissa & (implicit_one - 1)) | implicit_one;
  }
  for (; mantissa < implicit_one; mantissa <<= 1) --biased;
  biased += exponent;
  if (biased >= 255) return float_of_bits(sign | float_infinity);
  if (biased > 0)
    return float_of_bits(sign | (static_cast<std::uint32_t>(biased) << float_mantissa_bits) |
                         (mantissa & (implicit_one - 1)));
  return float_of_bits(sign | (biased > -31 ? mantissa >> (1 - biased) : 0));
}

}  // namespace tilefit::inline v0::detail
