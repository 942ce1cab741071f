// L1: the bit moves by which kernels turn FP4 codes and E8M0 scales into 16-bit floats, without a table or a branch.
// Knows: which patterns come out right after which multiplication. Must not know: how nibbles lie in memory
// (weights.hpp).
//
// An E2M1 code put at the same place as the sign, the exponent's low end and the mantissa's top of a wider float is
// that number with another bias: too small by 2^(wide bias - 1). One multiplication puts it right, 0.5 included, which
// is subnormal on both sides: the multiplier must not flush subnormal operands.
#pragma once

#include <cstdint>

#include "detail/config.hpp"
#include "float_formats.hpp"

namespace tilefit::inline v0 {

inline constexpr std::uint16_t e2m1_bf16_mask = 0x81C0;  ///< bits that an E2M1 code takes in a BF16 pattern
inline constexpr std::uint16_t e2m1_bf16_gain = 0x7E80;  ///< BF16 pattern of 2^126
inline constexpr std::uint16_t e2m1_fp16_mask = 0x8E00;  ///< bits that an E2M1 code takes in an FP16 pattern
inline constexpr std::uint16_t e2m1_fp16_gain = 0x7400;  ///< FP16 pattern of 2^14

/// BF16 pattern of value * 2^-126 for the E2M1 code in the low four bits: times `e2m1_bf16_gain` it is the value.
TILEFIT_HD constexpr std::uint16_t e2m1_to_bf16_unscaled(std::uint8_t code) noexcept {
  return static_cast<std::uint16_t>((code & 8u) << 12 | (code & 7u) << 6);
}

/// FP16 pattern of value * 2^-14 for the E2M1 code in the low four bits: times `e2m1_fp16_gain` it is the value.
TILEFIT_HD constexpr std::uint16_t e2m1_to_fp16_unscaled(std::uint8_t code) noexcept {
  return static_cast<std::uint16_t>((code & 8u) << 12 | (code & 7u) << 9);
}

/// BF16 pattern of an E8M0 scale by a shift alone. Exact for 1..254. Code 0 gives 0 in place of 2^-127, and 255 gives
/// infinity in place of NaN (infinity times the zeros that the quantiser writes into such a block is NaN again).
TILEFIT_HD constexpr std::uint16_t e8m0_to_bf16_shifted(std::uint8_t code) noexcept {
  return static_cast<std::uint16_t>(code << 7);
}

/// BF16 pattern of an E8M0 scale. Exact for every code: 0 gives the subnormal 2^-127, 255 quiet NaN.
TILEFIT_HD constexpr std::uint16_t e8m0_to_bf16(std::uint8_t code) noexcept {
  return static_cast<std::uint16_t>(code == 0 ? 0x0040 : code == e8m0_nan ? 0x7FC0 : code << 7);
}

/// Largest E8M0 scale that `e8m0_to_bf16_folded` can hold: 2, as 2 * 2^126 is the largest power of two of a BF16.
inline constexpr std::uint8_t e8m0_largest_folded = 128;

/// BF16 pattern of scale * 2^126, by which an unscaled E2M1 pattern becomes the dequantised value in one
/// multiplication. Exact for 0..128 (0 included: 2^-1). Requires code <= `e8m0_largest_folded`.
TILEFIT_HD constexpr std::uint16_t e8m0_to_bf16_folded(std::uint8_t code) noexcept {
  return static_cast<std::uint16_t>((code + 126) << 7);
}

}  // namespace tilefit::inline v0
