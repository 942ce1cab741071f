// Formats at compile time: compiling is passing. The exhaustive checks are in tests/unit/mxfp4_test.cpp.
#include "tilefit/mxfp4.hpp"

#include <array>
#include <cstdint>

#include "tilefit/float_formats.hpp"
#include "tilefit/fp4_widening.hpp"

namespace {

using namespace tilefit;
using detail::bits_of_float;
using detail::float_of_bits;
using detail::pow2;

// Layouts: all of E2M1, the corners of the others.
constexpr float e2m1_values[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
static_assert([] {
  for (unsigned code = 0; code < 16; ++code) {
    const float magnitude = e2m1_values[code & 7];
    const float value = e2m1_to_float(static_cast<std::uint8_t>(code));
    if (value != (code < 8 ? magnitude : -magnitude)) return false;
    if (float_to_e2m1(value) != code) return false;
  }
  return true;
}());
static_assert(bits_of_float(e2m1_to_float(8)) == 0x8000'0000);
static_assert(e2m1_to_float(0xF2) == 1, "only the low nibble counts");

static_assert(e4m3_to_float(0x7E) == 448 && e4m3_to_float(0x08) == 0x1p-6f && e4m3_to_float(0x01) == 0x1p-9f);
static_assert(bits_of_float(e4m3_to_float(0x7F)) == 0x7FF0'0000 && bits_of_float(e4m3_to_float(0xFF)) == 0xFFF0'0000);
static_assert(bf16_to_float(0x3F80) == 1 && bf16_to_float(0x0001) == 0x1p-133f);
static_assert(fp16_to_float(0x7BFF) == 65504 && fp16_to_float(0x0001) == 0x1p-24f && fp16_to_float(0x0400) == 0x1p-14f);
static_assert(bits_of_float(fp16_to_float(0xFC00)) == 0xFF80'0000);

static_assert(e8m0_to_float(0) == 0x1p-127f && e8m0_to_float(127) == 1 && e8m0_to_float(254) == 0x1p127f);
static_assert(bits_of_float(e8m0_to_float(255)) == 0x7FC0'0000);
static_assert(exponent_to_e8m0(0) == 127 && exponent_to_e8m0(-128) == 0 && exponent_to_e8m0(128) == 254);
static_assert(float_to_e8m0(1.99f) == 127 && float_to_e8m0(-2) == 128 && float_to_e8m0(0) == 0);
static_assert(float_to_e8m0(0x1p-149f) == 0 && float_to_e8m0(0x1p-126f) == 1);

// Ties go to the even code, overflow where the headers say.
static_assert(float_to_e2m1(0.25f) == 0 && float_to_e2m1(0.75f) == 2 && float_to_e2m1(1.25f) == 2);
static_assert(float_to_e2m1(2.5f) == 4 && float_to_e2m1(3.5f) == 6 && float_to_e2m1(5) == 6);
static_assert(float_to_e2m1(5.01f) == 7 && float_to_e2m1(-1e30f) == 15 && float_to_e2m1(-0.0f) == 8);
static_assert(float_to_e2m1(float_of_bits(0x7F80'0000)) == 7 && float_to_e2m1(float_of_bits(0xFFC0'0000)) == 7);
static_assert(float_to_e4m3(464) == 0x7E && float_to_e4m3(-1e9f) == 0xFE);
static_assert(float_to_e4m3(464, e4m3_overflow::to_nan) == 0x7E &&
              float_to_e4m3(464.1f, e4m3_overflow::to_nan) == 0x7F);
static_assert(float_to_e4m3(0x1p-10f) == 0 && float_to_e4m3(0x1.8p-9f) == 2 && float_to_e4m3(-0x1p-149f) == 0x80);
static_assert(float_to_bf16(0x1.FFp0f) == 0x4000 && float_to_bf16(0x1.01p0f) == 0x3F80);
static_assert(float_to_bf16(float_of_bits(0x7F7F'8000)) == 0x7F80 &&
              float_to_bf16(float_of_bits(0x7F7F'7FFF)) == 0x7F7F);
static_assert(float_to_bf16(float_of_bits(0x7F80'0001)) == 0x7FC0, "NaN stays NaN");
static_assert(float_to_fp16(65519.99f) == 0x7BFF && float_to_fp16(-65520) == 0xFC00);
static_assert(float_to_fp16(0x1p-25f) == 0 && float_to_fp16(0x1.8p-24f) == 2);
static_assert(float_to_fp16(float_of_bits(0xFF80'0001)) == 0xFE00, "NaN stays NaN");

static_assert(detail::scale_by_pow2(1.5f, -127) == 0x1.8p-127f && detail::scale_by_pow2(-0x1p-149f, 276) == -0x1p127f);
static_assert(bits_of_float(detail::scale_by_pow2(6, 126)) == 0x7F80'0000);
static_assert(bits_of_float(detail::scale_by_pow2(-1, -1000)) == 0x8000'0000);

// FP4 -> BF16 and FP16 without a table: every code, and every scale that the shift, the full and the folded form
// promise.
static_assert([] {
  for (unsigned code = 0; code < 16; ++code) {
    const auto nibble = static_cast<std::uint8_t>(code);
    const std::uint16_t bf16 = e2m1_to_bf16_unscaled(nibble);
    const std::uint16_t fp16 = e2m1_to_fp16_unscaled(nibble);
    const std::uint32_t want = bits_of_float(e2m1_to_float(nibble));
    if ((bf16 & ~e2m1_bf16_mask) != 0 || (fp16 & ~e2m1_fp16_mask) != 0) return false;
    if (bits_of_float(bf16_to_float(bf16) * bf16_to_float(e2m1_bf16_gain)) != want) return false;
    if (bits_of_float(fp16_to_float(fp16) * fp16_to_float(e2m1_fp16_gain)) != want) return false;
  }
  return true;
}());
static_assert(bf16_to_float(e2m1_bf16_gain) == 0x1p126f && fp16_to_float(e2m1_fp16_gain) == 0x1p14f);
static_assert([] {
  for (unsigned code = 0; code < 256; ++code) {
    const auto scale = static_cast<std::uint8_t>(code);
    const std::uint32_t want = bits_of_float(e8m0_to_float(scale));
    if (bits_of_float(bf16_to_float(e8m0_to_bf16(scale))) != want) return false;
    if ((bits_of_float(bf16_to_float(e8m0_to_bf16_shifted(scale))) == want) != (code != 0 && code != 255)) return false;
    if (code <= e8m0_largest_folded && bf16_to_float(e8m0_to_bf16_folded(scale)) != e8m0_to_float(scale) * 0x1p126f)
      return false;
  }
  return true;
}());
static_assert(e8m0_to_bf16_shifted(0) == 0 && e8m0_to_bf16_shifted(255) == 0x7F80);

// Blocks in constant expressions: plain, subnormal, overflowing, invalid.
struct mxfp4_block {
  std::array<std::uint8_t, mxfp4_block_bytes> packed{};
  std::uint8_t scale = 0;
};

constexpr mxfp4_block quantized(float first, float second) {
  std::array<float, mx_block_size> x{};
  x[0] = first;
  x[1] = second;
  mxfp4_block block;
  block.scale = quantize_mxfp4_block(std::span<const float, mx_block_size>(x), block.packed);
  return block;
}

constexpr float dequantized(const mxfp4_block& block, std::size_t index) {
  std::array<float, mx_block_size> x{};
  dequantize_mxfp4_block(block.packed, block.scale, x);
  return x[index];
}

static_assert(quantized(6, -0.5f).scale == 127 && quantized(6, -0.5f).packed[0] == 0x97,
              "the low nibble is the even k");
static_assert(quantized(7.9f, 1).scale == 127 && dequantized(quantized(7.9f, 1), 0) == 6);
static_assert(quantized(8, 1).scale == 128 && dequantized(quantized(8, 1), 0) == 8);
static_assert(quantized(0, 0).scale == 0 && quantized(0, -0.0f).packed[0] == 0x80);
static_assert(quantized(0x1p-149f, 0).scale == 0 && quantized(0x1p-149f, 0).packed[0] == 0);
static_assert(quantized(0x1.8p-127f, 0).scale == 0 && quantized(0x1.8p-127f, 0).packed[0] == 3);
static_assert(quantized(0x1p-124f, 0).scale == 1 && quantized(0x1p-125f, 0).scale == 0);
static_assert(quantized(0x1.FFFFFEp127f, 0x1p-149f).scale == 252 &&
              quantized(0x1.FFFFFEp127f, 0x1p-149f).packed[0] == 7);
static_assert(quantized(float_of_bits(0x7F80'0000), 1).scale == 255 &&
              quantized(float_of_bits(0xFFC0'0000), 1).scale == 255);
static_assert(quantized(float_of_bits(0x7F80'0000), 1).packed[0] == 0);
static_assert(bits_of_float(dequantized({.packed = {0x12}, .scale = 255}, 5)) == 0x7FC0'0000);
static_assert(dequantized({.packed = {0x12}, .scale = 0}, 1) == 0x1p-128f);
static_assert(dequantized({.packed = {0x93}, .scale = 254}, 1) == -0x1p126f);
static_assert(bits_of_float(dequantized({.packed = {0x97}, .scale = 254}, 0)) == 0x7F80'0000);

constexpr bool mxfp8_case(float value, std::uint8_t scale, std::uint8_t code) {
  std::array<float, mx_block_size> x{};
  std::array<std::uint8_t, mxfp8_block_bytes> codes{};
  x[31] = value;
  return quantize_mxfp8_block(std::span<const float, mx_block_size>(x), codes) == scale && codes[31] == code;
}
static_assert(mxfp8_case(256, 127, 0x78) && mxfp8_case(-448, 127, 0xFE) && mxfp8_case(511, 127, 0x7E));
static_assert(mxfp8_case(1, 119, 0x78) && mxfp8_case(0x1.FFFFFEp127f, 246, 0x7E) && mxfp8_case(0x1p-136f, 0, 0x01));

constexpr std::uint32_t mxfp8_decoded(std::uint8_t code, std::uint8_t scale) {
  std::array<float, mx_block_size> x{};
  std::array<std::uint8_t, mxfp8_block_bytes> codes{};
  codes[7] = code;
  dequantize_mxfp8_block(codes, scale, x);
  return bits_of_float(x[7]);
}
static_assert((mxfp8_decoded(0x7F, 127) & 0x7FC0'0000) == 0x7FC0'0000 &&
              (mxfp8_decoded(0xFF, 250) & 0x7FC0'0000) == 0x7FC0'0000);
static_assert(mxfp8_decoded(0x7E, 127) == bits_of_float(448) && mxfp8_decoded(0x01, 0) == bits_of_float(0x1p-136f));
static_assert(mxfp8_decoded(0x7E, 247) == 0x7F80'0000);
static_assert(mxfp8_decoded(0xFE, 254) == 0xFF80'0000 && mxfp8_decoded(0x7E, 246) == bits_of_float(0x1.Cp127f));

// Matrices.
constexpr status_code rows_status(mx_shape shape, std::size_t values, std::size_t bytes, std::size_t scales) {
  std::array<float, 128> x{};
  std::array<std::uint8_t, 64> packed{};
  std::array<std::uint8_t, 4> scale_bytes{};
  return quantize_mxfp4_rows(shape, std::span(x).first(values), std::span(packed).first(bytes),
                             std::span(scale_bytes).first(scales));
}
static_assert(rows_status({.rows = 2, .k = 64}, 128, 64, 4) == status_code::ok);
static_assert(rows_status({.rows = 0, .k = 64}, 0, 0, 0) == status_code::empty);
static_assert(rows_status({.rows = 2, .k = 48}, 96, 48, 3) == status_code::invalid_argument);
static_assert(rows_status({.rows = 2, .k = 64}, 127, 64, 4) == status_code::invalid_argument);

}  // namespace
