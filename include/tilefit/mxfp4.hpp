// L1: blocks of 32 elements under one E8M0 scale: MXFP4 (E2M1) and MXFP8 (E4M3), to and from float.
// Knows: the OCP Microscaling rules. Must not know: checkpoint or kernel layouts (weights.hpp), tiles, chips.
// Source: "MX" = OCP Microscaling Formats (MX) Specification v1.0, opencompute.org/documents.
// Works in the default rounding mode; flushing subnormals to zero changes no result.
#pragma once

#include <cstdint>
#include <span>

#include "detail/bits.hpp"
#include "detail/config.hpp"
#include "detail/math.hpp"
#include "float_formats.hpp"
#include "status.hpp"

namespace tilefit::inline v0 {

inline constexpr int mx_block_size = 32;      ///< elements along K that share a scale (MX table 1)
inline constexpr int mxfp4_block_bytes = 16;  ///< packed E2M1 elements of a block, without its scale
inline constexpr int mxfp8_block_bytes = 32;  ///< E4M3 elements of a block, without its scale

namespace detail {

struct mxfp4_element {
  static constexpr int emax = e2m1_emax;
  TILEFIT_HD static constexpr std::uint8_t encode(float value) noexcept { return float_to_e2m1(value); }
  TILEFIT_HD static constexpr float decode_finite(std::uint8_t code) noexcept { return e2m1_to_float(code); }
  TILEFIT_HD static constexpr std::uint32_t nan_bits(std::uint8_t) noexcept { return 0; }
};

struct mxfp8_element {
  static constexpr int emax = e4m3_emax;
  TILEFIT_HD static constexpr std::uint8_t encode(float value) noexcept { return float_to_e4m3(value); }
  /// Reads NaN as 480: products of NaN are not allowed in constant expressions.
  TILEFIT_HD static constexpr float decode_finite(std::uint8_t code) noexcept {
    return with_sign(e4m3_format::widen(code & 0x7F), code >> 7);
  }
  /// What turns the product of a NaN element into NaN.
  TILEFIT_HD static constexpr std::uint32_t nan_bits(std::uint8_t code) noexcept {
    return static_cast<std::uint32_t>(mask_if_less(0x7E, code & 0x7F) & float_quiet_nan);
  }
};

/// Scales between these two meet no subnormal float: no product of an element and the scale is one, and a quotient of a
/// subnormal float and the scale rounds to zero (at most 2^-10, half of the smallest E4M3). Nor can a product overflow.
/// Outside, arithmetic on bits keeps the results right.
inline constexpr int mx_first_plain_scale = 11;
inline constexpr int mx_last_plain_scale = 246;

/// Scale of a block whose largest magnitude has the bits `amax`: 2^(floor(log2(amax)) - emax) with E8M0's bias. A
/// subnormal or zero amax ends in the lower clamp and no finite one reaches the upper; infinity and NaN give NaN.
TILEFIT_HD constexpr std::uint8_t mx_scale_of(std::int32_t amax, int emax) noexcept {
  if (amax >= float_infinity) return e8m0_nan;
  const int exponent = (amax >> float_mantissa_bits) - emax;
  return static_cast<std::uint8_t>(exponent > 0 ? exponent : 0);
}

/// 32 floats at `x` -> 32 element codes, one a byte. Returns the scale.
template <class Element>
TILEFIT_HD constexpr std::uint8_t encode_mx_block(const float* x, std::uint8_t* codes) noexcept {
  std::int32_t amax = 0;
  for (int i = 0; i < mx_block_size; ++i) amax = magnitude(x[i]) > amax ? magnitude(x[i]) : amax;
  const int scale = mx_scale_of(amax, Element::emax);
  if (scale == e8m0_nan) {
    for (int i = 0; i < mx_block_size; ++i) codes[i] = 0;
    return e8m0_nan;
  }
  if (scale < mx_first_plain_scale) {
    for (int i = 0; i < mx_block_size; ++i) codes[i] = Element::encode(scale_by_pow2(x[i], float_bias - scale));
  } else {
    const float inverse = pow2(float_bias - scale);
    for (int i = 0; i < mx_block_size; ++i) codes[i] = Element::encode(x[i] * inverse);
  }
  return static_cast<std::uint8_t>(scale);
}

/// The inverse of `encode_mx_block`.
template <class Element>
TILEFIT_HD constexpr void decode_mx_block(const std::uint8_t* codes, std::uint8_t scale, float* x) noexcept {
  if (scale == e8m0_nan) {
    for (int i = 0; i < mx_block_size; ++i) x[i] = float_of_signed(float_quiet_nan);
  } else if (scale < mx_first_plain_scale || scale > mx_last_plain_scale) {
    for (int i = 0; i < mx_block_size; ++i) {
      const float value = scale_by_pow2(Element::decode_finite(codes[i]), scale - float_bias);
      x[i] = float_of_bits(bits_of_float(value) | Element::nan_bits(codes[i]));
    }
  } else {
    const float factor = pow2(scale - float_bias);
    for (int i = 0; i < mx_block_size; ++i) {
      const float value = Element::decode_finite(codes[i]) * factor;
      x[i] = float_of_bits(bits_of_float(value) | Element::nan_bits(codes[i]));
    }
  }
}

}  // namespace detail

// One block. The scale is 2^(floor(log2(largest magnitude)) - emax), emax being the exponent of the element format's
// largest value (MX 6.3), clamped to [2^-127, 2^127]; elements are value / scale, rounded to nearest, ties to even, and
// saturated. So a largest magnitude of 7.9 keeps the scale 1 and becomes 6.
// A block of zeros has scale code 0 and keeps the signs of its zeros. A block with a NaN or an infinity has scale code
// 255, which makes all of it NaN (MX 5.1); its elements are written as zeros. Quantising a dequantised block gives the
// same bytes when its largest element has exponent emax (every block that the quantiser makes) or its scale code is 0,
// unless an element is NaN or overflows float.

/// 32 floats at `x` -> 16 bytes at `packed`, the low nibble holding the even k. Returns the E8M0 scale.
TILEFIT_HD constexpr std::uint8_t quantize_mxfp4_block(const float* x, std::uint8_t* packed) noexcept {
  std::uint8_t codes[mx_block_size] = {};
  const std::uint8_t scale = detail::encode_mx_block<detail::mxfp4_element>(x, codes);
  for (int i = 0; i < mxfp4_block_bytes; ++i)
    packed[i] = static_cast<std::uint8_t>(codes[2 * i] | codes[2 * i + 1] << 4);
  return scale;
}

/// 16 bytes at `packed`, the low nibble holding the even k -> 32 floats at `x`. Exact; a product above the largest
/// float (scale codes 253 and 254 only) becomes infinity, scale code 255 makes every value NaN.
TILEFIT_HD constexpr void dequantize_mxfp4_block(const std::uint8_t* packed, std::uint8_t scale, float* x) noexcept {
  std::uint8_t codes[mx_block_size] = {};
  for (int i = 0; i < mxfp4_block_bytes; ++i) {
    codes[2 * i] = packed[i] & 0xF;
    codes[2 * i + 1] = packed[i] >> 4;
  }
  detail::decode_mx_block<detail::mxfp4_element>(codes, scale, x);
}

/// 32 floats at `x` -> 32 E4M3 codes at `codes`. Returns the E8M0 scale.
TILEFIT_HD constexpr std::uint8_t quantize_mxfp8_block(const float* x, std::uint8_t* codes) noexcept {
  std::uint8_t local[mx_block_size] = {};  // cannot overlap x, so that the loops are vectorised
  const std::uint8_t scale = detail::encode_mx_block<detail::mxfp8_element>(x, local);
  for (int i = 0; i < mxfp8_block_bytes; ++i) codes[i] = local[i];
  return scale;
}

/// 32 E4M3 codes at `codes` -> 32 floats at `x`. Exact; a product above the largest float (scale codes from 247 on)
/// becomes infinity; a NaN element and all elements under scale code 255 become NaN.
TILEFIT_HD constexpr void dequantize_mxfp8_block(const std::uint8_t* codes, std::uint8_t scale, float* x) noexcept {
  std::uint8_t local[mx_block_size] = {};
  for (int i = 0; i < mxfp8_block_bytes; ++i) local[i] = codes[i];
  detail::decode_mx_block<detail::mxfp8_element>(local, scale, x);
}

/// As above, with the sizes in the types.
constexpr std::uint8_t quantize_mxfp4_block(std::span<const float, mx_block_size> x,
                                            std::span<std::uint8_t, mxfp4_block_bytes> packed) noexcept {
  return quantize_mxfp4_block(x.data(), packed.data());
}
constexpr void dequantize_mxfp4_block(std::span<const std::uint8_t, mxfp4_block_bytes> packed, std::uint8_t scale,
                                      std::span<float, mx_block_size> x) noexcept {
  dequantize_mxfp4_block(packed.data(), scale, x.data());
}
constexpr std::uint8_t quantize_mxfp8_block(std::span<const float, mx_block_size> x,
                                            std::span<std::uint8_t, mxfp8_block_bytes> codes) noexcept {
  return quantize_mxfp8_block(x.data(), codes.data());
}
constexpr void dequantize_mxfp8_block(std::span<const std::uint8_t, mxfp8_block_bytes> codes, std::uint8_t scale,
                                      std::span<float, mx_block_size> x) noexcept {
  dequantize_mxfp8_block(codes.data(), scale, x.data());
}

// Matrices.

/// Row-major matrix of `rows` x `k` values, blocks along k.
struct mx_shape {
  std::int64_t rows = 0;
  std::int64_t k = 0;

  /// Blocks, which is also the number of scales; -1 when a member is negative, k is not a multiple of 32 or the number
  /// of values does not fit in 63 bits.
  constexpr std::int64_t blocks() const noexcept {
    if (rows < 0 || k < 0 || k % mx_block_size != 0) return -1;
    const std::int64_t values = detail::saturating_mul(rows, k);
    return values % mx_block_size == 0 ? values / mx_block_size : -1;
  }
};

namespace detail {

constexpr status_code check_mx_sizes(mx_shape shape, int block_bytes, std::size_t values, std::size_t bytes,
                                     std::size_t scales) noexcept {
  const std::int64_t blocks = shape.blocks();
  if (blocks < 0) return status_code::invalid_argument;
  const auto count = static_cast<std::size_t>(blocks);
  if (scales != count || values / mx_block_size != count || values % mx_block_size != 0 ||
      bytes != count * static_cast<std::size_t>(block_bytes))
    return status_code::invalid_argument;
  return blocks == 0 ? status_code::empty : status_code::ok;
}

}  // namespace detail

/// x [rows, k] -> packed [rows, k / 2] (low nibble = even k) and scales [rows, k / 32]. The buffers must not overlap.
/// `invalid_argument` when a size is not exactly that of the shape or k is not a multiple of 32: nothing is written
/// then. `empty` when there are no values.
[[nodiscard]] constexpr status_code quantize_mxfp4_rows(mx_shape shape, std::span<const float> x,
                                                        std::span<std::uint8_t> packed,
                                                        std::span<std::uint8_t> scales) noexcept {
  const status_code code = detail::check_mx_sizes(shape, mxfp4_block_bytes, x.size(), packed.size(), scales.size());
  if (code == status_code::ok)
    for (std::size_t block = 0; block < scales.size(); ++block)
      scales[block] = quantize_mxfp4_block(x.data() + block * mx_block_size, packed.data() + block * mxfp4_block_bytes);
  return code;
}

/// The inverse of `quantize_mxfp4_rows`; the same sizes and answers.
[[nodiscard]] constexpr status_code dequantize_mxfp4_rows(mx_shape shape, std::span<const std::uint8_t> packed,
                                                          std::span<const std::uint8_t> scales,
                                                          std::span<float> x) noexcept {
  const status_code code = detail::check_mx_sizes(shape, mxfp4_block_bytes, x.size(), packed.size(), scales.size());
  if (code == status_code::ok)
    for (std::size_t block = 0; block < scales.size(); ++block)
      dequantize_mxfp4_block(packed.data() + block * mxfp4_block_bytes, scales[block],
                             x.data() + block * mx_block_size);
  return code;
}

/// x [rows, k] -> E4M3 codes [rows, k] and scales [rows, k / 32]; otherwise as `quantize_mxfp4_rows`.
[[nodiscard]] constexpr status_code quantize_mxfp8_rows(mx_shape shape, std::span<const float> x,
                                                        std::span<std::uint8_t> codes,
                                                        std::span<std::uint8_t> scales) noexcept {
  const status_code code = detail::check_mx_sizes(shape, mxfp8_block_bytes, x.size(), codes.size(), scales.size());
  if (code == status_code::ok)
    for (std::size_t block = 0; block < scales.size(); ++block)
      scales[block] = quantize_mxfp8_block(x.data() + block * mx_block_size, codes.data() + block * mxfp8_block_bytes);
  return code;
}

/// The inverse of `quantize_mxfp8_rows`; the same sizes and answers.
[[nodiscard]] constexpr status_code dequantize_mxfp8_rows(mx_shape shape, std::span<const std::uint8_t> codes,
                                                          std::span<const std::uint8_t> scales,
                                                          std::span<float> x) noexcept {
  const status_code code = detail::check_mx_sizes(shape, mxfp8_block_bytes, x.size(), codes.size(), scales.size());
  if (code == status_code::ok)
    for (std::size_t block = 0; block < scales.size(); ++block)
      dequantize_mxfp8_block(codes.data() + block * mxfp8_block_bytes, scales[block], x.data() + block * mx_block_size);
  return code;
}

}  // namespace tilefit::inline v0
