// L1: one number at a time between float and E2M1, E4M3, E8M0, BF16, FP16. All on raw bits.
// Knows: the formats' bit layouts and rounding. Must not know: blocks and scales (mxfp4.hpp), tiles, chips.
// Every narrowing rounds to nearest, ties to even, and keeps the sign of zero. Subnormals of every format are read and
// written in full, also when the processor is set to flush them. The rounding mode must be the default
// one. Sources: "MX" = OCP Microscaling Formats (MX) Specification v1.0; "OFP8" = OCP 8-bit Floating Point
// Specification, revision 1.0; both at opencompute.org/documents.
#pragma once

#include <cstdint>

#include "detail/bits.hpp"
#include "detail/config.hpp"

namespace tilefit::inline v0 {

namespace detail {

/// Numbers that say how a float magnitude becomes a code of a narrower format.
struct narrowing {
  std::int32_t shift = 0;            ///< mantissa bits that a normal number loses
  std::int32_t rebias = 0;           ///< difference of the exponents, in place
  std::int32_t smallest_normal = 0;  ///< of the format, as a float
  /// The last place of this float is the smallest subnormal, so adding it lets the adder round.
  std::int32_t magic = 0;
};

/// Nearest code of the float magnitude `bits`. The exponent is not bounded above: codes past the largest finite
/// one, infinities and NaN (which come out at least as large) are the caller's.
/// The normal and the subnormal result are both worked out, on operands that are never NaN (constant expressions refuse
/// those), and one is chosen by a mask: GCC turns a conditional into a branch here, which mispredicts and stops loops
/// from being vectorised.
TILEFIT_HD constexpr std::int32_t narrow_magnitude(const narrowing& to, std::int32_t bits) noexcept {
  const std::int32_t is_subnormal = mask_if_less(bits, to.smallest_normal);
  const std::int32_t low = choose(is_subnormal, bits, to.smallest_normal);
  const std::int32_t subnormal = signed_bits(float_of_signed(low) + float_of_signed(to.magic)) - to.magic;
  const std::int32_t normal = (bits - to.rebias + ((1 << (to.shift - 1)) - 1) + (bits >> to.shift & 1)) >> to.shift;
  return choose(is_subnormal, subnormal, normal);
}

/// Magnitudes (codes without their sign) of a format narrower than float: smallest exponent 1 - Bias, subnormals below.
template <int Bias, int MantissaBits>
struct narrow_format {
  static constexpr int shift = float_mantissa_bits - MantissaBits;
  static constexpr std::int32_t rebias = (float_bias - Bias) << float_mantissa_bits;
  static constexpr std::int32_t smallest_normal = rebias + (1 << float_mantissa_bits);

  TILEFIT_HD static constexpr narrowing numbers() noexcept {
    return {.shift = shift,
            .rebias = rebias,
            .smallest_normal = smallest_normal,
            .magic = (1 - Bias - MantissaBits + float_mantissa_bits + float_bias) << float_mantissa_bits};
  }
  TILEFIT_HD static constexpr std::int32_t narrow(std::int32_t bits) noexcept {
    return narrow_magnitude(numbers(), bits);
  }

  /// Bits of the float magnitude of a code, every exponent read as finite.
  TILEFIT_HD static constexpr std::int32_t widen(std::int32_t code) noexcept {
    const std::int32_t is_subnormal = mask_if_less(code, 1 << MantissaBits);
    const std::int32_t normal = (code << shift) + rebias;
    // 2^e * 1.m - 2^e = 2^e * 0.m, exact, and no operand or result is a subnormal float.
    const float subnormal = float_of_signed(normal + (1 << float_mantissa_bits)) - float_of_signed(smallest_normal);
    return choose(is_subnormal, signed_bits(subnormal), normal);
  }
};

using e2m1_format = narrow_format<1, 1>;
using e4m3_format = narrow_format<7, 3>;
using fp16_format = narrow_format<15, 10>;

}  // namespace detail

// E2M1 (FP4): sign, 2 exponent bits with bias 1, 1 mantissa bit. 0, 0.5, 1, 1.5, 2, 3, 4, 6; no infinity, no NaN
// (MX 5.3.3, table 5).

inline constexpr int e2m1_emax = 2;  ///< exponent of the largest value, 6 = 1.5 * 2^2 (MX table 5)

/// Value of the low four bits of `code`; the others are ignored. Exact.
TILEFIT_HD constexpr float e2m1_to_float(std::uint8_t code) noexcept {
  return detail::with_sign(detail::e2m1_format::widen(code & 7), code >> 3 & 1);
}

/// Nearest E2M1 code, in the low four bits. The tie 5 goes to 4 (even); everything above it, infinity included, becomes
/// 6: the saturation that MX 5.3.3 asks for. NaN has no code: it becomes +6, as PTX `cvt.rn.satfinite.e2m1x2.f32` has
/// it; so catch NaN before, as the block quantiser does.
TILEFIT_HD constexpr std::uint8_t float_to_e2m1(float value) noexcept {
  const std::int32_t bits = detail::magnitude(value);
  const std::int32_t rounded = detail::e2m1_format::narrow(bits);
  const std::int32_t sign = detail::sign_of(value) & ~detail::mask_if_less(detail::float_infinity, bits);
  return static_cast<std::uint8_t>(sign << 3 | detail::smaller(rounded, 7));
}

// E4M3 (FP8, "fn"): sign, 4 exponent bits with bias 7, 3 mantissa bits. Largest 448, smallest normal 2^-6, smallest
// subnormal 2^-9; no infinity, NaN is S.1111.111 (OFP8 tables 1 and 2; MX 5.3.1).

inline constexpr int e4m3_emax = 8;  ///< exponent of the largest value, 448 = 1.75 * 2^8

/// What a magnitude that rounds to more than 448 becomes, infinity included (OFP8 5.2.1, table 3).
enum class e4m3_overflow : std::uint8_t { saturate, to_nan };

/// Value of an E4M3 code. Exact; 0x7F and 0xFF give quiet NaN with that sign and the mantissa 111 in front.
TILEFIT_HD constexpr float e4m3_to_float(std::uint8_t code) noexcept {
  const std::int32_t bits = detail::e4m3_format::widen(code & 0x7F);
  const std::int32_t nan = detail::mask_if_less(0x7E, code & 0x7F) & detail::float_quiet_nan;
  return detail::with_sign(bits | nan, code >> 7);
}

/// Nearest E4M3 code. The tie 464 goes to 448 (0x7E, even); above it, infinity included, the result is 448 or NaN, with
/// the sign, as `overflow` says. NaN becomes NaN with its sign; its payload has no room.
TILEFIT_HD constexpr std::uint8_t float_to_e4m3(float value,
                                                e4m3_overflow overflow = e4m3_overflow::saturate) noexcept {
  const std::int32_t bits = detail::magnitude(value);
  const std::int32_t nan = detail::mask_if_less(detail::float_infinity, bits) & 1;
  const std::int32_t limit = overflow == e4m3_overflow::saturate ? 0x7E | nan : 0x7F;
  return static_cast<std::uint8_t>(detail::sign_of(value) << 7 |
                                   detail::smaller(detail::e4m3_format::narrow(bits), limit));
}

/// E4M3 code of value / scale, saturated. NaN becomes NaN with its sign. `scale` is a positive number.
TILEFIT_HD constexpr std::uint8_t float_to_scaled_e4m3(float value, float scale) noexcept {
  return float_to_e4m3(detail::magnitude(value) > detail::float_infinity ? value : value / scale);
}

/// Scale of a row of E4M3 whose largest magnitude has the bits `amax`: amax / 448, at least 2^-126, so that zeros stay
/// zeros and no scale is a subnormal float. NaN for infinity and NaN: the codes of such a row are zeros (as in an MX
/// block, MX 5.1), and all of it is NaN.
TILEFIT_HD constexpr float e4m3_row_scale(std::int32_t amax) noexcept {
  if (amax >= detail::float_infinity) return detail::float_of_signed(detail::float_quiet_nan);
  const float least = detail::pow2(-126);
  return amax < detail::signed_bits(448.0f * least) ? least : detail::float_of_signed(amax) / 448.0f;
}

// BF16: the upper half of a float. FP16: IEEE 754 binary16.

/// Value of a BF16 code. Exact; NaN keeps its bits.
TILEFIT_HD constexpr float bf16_to_float(std::uint16_t code) noexcept {
  return detail::float_of_bits(static_cast<std::uint32_t>(code) << 16);
}

/// Nearest BF16 code. From 2^128 - 2^119 on the result is infinity. NaN keeps its sign and upper payload and is made
/// quiet, so that a payload in the lower half does not turn into infinity.
TILEFIT_HD constexpr std::uint16_t float_to_bf16(float value) noexcept {
  const std::uint32_t bits = detail::bits_of_float(value);
  const std::uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  const std::uint32_t quiet = bits >> 16 | 0x40;
  return static_cast<std::uint16_t>(detail::magnitude(value) > detail::float_infinity ? quiet : rounded);
}

/// Value of an FP16 code. Exact; infinity stays infinity and NaN keeps its sign and payload.
TILEFIT_HD constexpr float fp16_to_float(std::uint16_t code) noexcept {
  const std::int32_t bits = detail::fp16_format::widen(code & 0x7FFF);
  const std::int32_t special = detail::mask_if_less(0x7BFF, code & 0x7FFF) & detail::float_infinity;
  return detail::with_sign(bits | special, code >> 15);
}

/// Nearest FP16 code. From 65520 on the result is infinity. NaN keeps its sign and upper payload and is made quiet.
TILEFIT_HD constexpr std::uint16_t float_to_fp16(float value) noexcept {
  const std::int32_t bits = detail::magnitude(value);
  const std::int32_t rounded = detail::smaller(detail::fp16_format::narrow(bits), 0x7C00);
  const std::int32_t quiet = 0x200 | (bits >> detail::fp16_format::shift & 0x3FF);
  const std::int32_t payload = quiet & detail::mask_if_less(detail::float_infinity, bits);
  return static_cast<std::uint16_t>(detail::sign_of(value) << 15 | rounded | payload);
}

// E8M0: the exponent of a power of two with bias 127. No sign, zero or infinity; 255 is NaN (MX 5.4.1).

inline constexpr std::uint8_t e8m0_nan = 255;

/// Value of an E8M0 code, 2^(code - 127). Exact; code 0 is 2^-127, a subnormal float; 255 is quiet NaN.
TILEFIT_HD constexpr float e8m0_to_float(std::uint8_t code) noexcept {
  const std::int32_t power = code << detail::float_mantissa_bits;
  const std::int32_t top_fraction_bit = 0x0040'0000;
  return detail::float_of_signed(code == 0 || code == e8m0_nan ? power | top_fraction_bit : power);
}

/// E8M0 code of 2^exponent, the exponent clamped to [-127, 127].
TILEFIT_HD constexpr std::uint8_t exponent_to_e8m0(int exponent) noexcept {
  return static_cast<std::uint8_t>((exponent < -127 ? -127 : exponent > 127 ? 127 : exponent) + 127);
}

/// E8M0 code of the largest power of two that is not above |value|. Zero and magnitudes below 2^-127 give 0; infinity
/// and NaN give 255.
TILEFIT_HD constexpr std::uint8_t float_to_e8m0(float value) noexcept {
  return static_cast<std::uint8_t>(detail::magnitude(value) >> detail::float_mantissa_bits);
}

}  // namespace tilefit::inline v0
