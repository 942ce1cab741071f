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

// Most of the arithmetic is on signed integers: vector units compare them best.
TILEFIT_HD constexpr std::int32_t signed_bits(float value) noexcept { return __builtin_bit_cast(std::int32_t, value); }
TILEFIT_HD constexpr float float_of_signed(std::int32_t bits) noexcept { return __builtin_bit_cast(float, bits); }

inline constexpr std::int32_t float_infinity = 0x7F80'0000;  ///< magnitudes above this one are NaN
inline constexpr std::int32_t float_quiet_nan = 0x7FC0'0000;
inline constexpr int float_mantissa_bits = 23;
inline constexpr int float_bias = 127;

/// Bits without the sign. They sort like the magnitudes, NaN above infinity above the rest.
TILEFIT_HD constexpr std::int32_t magnitude(float value) noexcept { return signed_bits(value) & 0x7FFF'FFFF; }

/// 1 when the sign bit is set.
TILEFIT_HD constexpr std::int32_t sign_of(float value) noexcept { return signed_bits(value) < 0 ? 1 : 0; }

/// The float of a magnitude and a sign of 0 or 1.
TILEFIT_HD constexpr float with_sign(std::int32_t magnitude_bits, int sign) noexcept {
  return float_of_bits(static_cast<std::uint32_t>(magnitude_bits) | static_cast<std::uint32_t>(sign) << 31);
}

/// All bits set when a < b, none otherwise, without a comparison that a compiler could make a branch of.
/// Requires that a - b does not overflow.
TILEFIT_HD constexpr std::int32_t mask_if_less(std::int32_t a, std::int32_t b) noexcept { return (a - b) >> 31; }

/// a where mask is all ones, b where it is zero.
TILEFIT_HD constexpr std::int32_t choose(std::int32_t mask, std::int32_t a, std::int32_t b) noexcept {
  return (a & mask) | (b & ~mask);
}

/// Bits of a where mask has ones, of b where it has zeros. On CUDA one instruction, which the compiler does not find.
TILEFIT_HD constexpr std::uint32_t select_bits(std::uint32_t mask, std::uint32_t a, std::uint32_t b) noexcept {
#if defined(__CUDA_ARCH__)
  if (!__builtin_is_constant_evaluated()) {
    std::uint32_t selected = 0;
    asm("lop3.b32 %0, %1, %2, %3, 0xE4;" : "=r"(selected) : "r"(a), "r"(b), "r"(mask));
    return selected;
  }
#endif
  return (a & mask) | (b & ~mask);
}

TILEFIT_HD constexpr std::int32_t smaller(std::int32_t a, std::int32_t b) noexcept { return a < b ? a : b; }

/// 2^exponent. Requires -126 <= exponent <= 127.
TILEFIT_HD constexpr float pow2(int exponent) noexcept {
  return float_of_bits(static_cast<std::uint32_t>(exponent + float_bias) << float_mantissa_bits);
}

/// value * 2^exponent without floating-point arithmetic: right in every floating-point environment (flush to zero
/// included) and in constant expressions, where an overflowing product is not allowed. Infinity when too large;
/// zeros, infinities and NaN pass through. Bits that fall below 2^-149 are cut off.
TILEFIT_HD constexpr float scale_by_pow2(float value, int exponent) noexcept {
  constexpr std::int32_t implicit_one = 1 << float_mantissa_bits;
  std::int32_t mantissa = magnitude(value);
  if (mantissa == 0 || mantissa >= float_infinity) return value;
  int biased = mantissa >> float_mantissa_bits;
  if (biased == 0) {
    biased = 1;
  } else {
    mantissa = (mantissa & (implicit_one - 1)) | implicit_one;
  }
  for (; mantissa < implicit_one; mantissa <<= 1) --biased;
  biased += exponent;
  std::int32_t scaled = float_infinity;
  if (biased <= 0) {
    scaled = biased > -31 ? mantissa >> (1 - biased) : 0;
  } else if (biased < 255) {
    scaled = biased << float_mantissa_bits | (mantissa & (implicit_one - 1));
  }
  return with_sign(scaled, sign_of(value));
}

}  // namespace tilefit::inline v0::detail
