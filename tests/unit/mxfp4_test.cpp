// Scalar formats against a slow reference in double, all codes and all rounding boundaries; MX blocks and rows.
#include "tilefit/mxfp4.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <random>
#include <vector>

#include "catch.hpp"
#include "tilefit/float_formats.hpp"
#include "tilefit/fp4_widening.hpp"

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace {

using namespace tilefit;
using detail::bits_of_float;
using detail::float_of_bits;

constexpr float infinity = std::numeric_limits<float>::infinity();

/// A format by its numbers. The value of a magnitude code is worked out in double with ldexp, where all of them, their
/// midpoints and their distances to floats are exact.
struct reference_format {
  int mantissa_bits;
  int bias;
  std::uint32_t largest;   // magnitude code of the largest finite value
  std::uint32_t overflow;  // magnitude code that a rounded value above it becomes
  std::vector<double> values;

  reference_format(int mantissa, int exponent_bias, std::uint32_t largest_code, std::uint32_t overflow_code)
      : mantissa_bits(mantissa), bias(exponent_bias), largest(largest_code), overflow(overflow_code) {
    // One past the largest: where the next value would be decides what rounds to overflow.
    for (std::uint32_t code = 0; code <= largest + 1; ++code) values.push_back(value(code));
  }

  double value(std::uint32_t code) const {
    const int exponent = static_cast<int>(code >> mantissa_bits);
    const auto fraction = static_cast<double>(code & ((1u << mantissa_bits) - 1));
    const double one = std::ldexp(1.0, mantissa_bits);
    return exponent == 0 ? std::ldexp(fraction, 1 - bias - mantissa_bits)
                         : std::ldexp(one + fraction, exponent - bias - mantissa_bits);
  }

  /// Nearest code of a finite or infinite magnitude, ties to the even code.
  std::uint32_t nearest(double magnitude) const {
    if (magnitude >= values.back()) return overflow;
    const auto above = std::upper_bound(values.begin(), values.end(), magnitude);
    const auto low = static_cast<std::uint32_t>(above - values.begin() - 1);
    const double down = magnitude - values[low];
    const double up = *above - magnitude;
    const std::uint32_t code = down < up ? low : up < down ? low + 1 : low + (low & 1);
    return code > largest ? overflow : code;
  }
};

const reference_format e2m1_reference(1, 1, 7, 7);
const reference_format e4m3_reference(3, 7, 0x7E, 0x7E);
const reference_format e4m3_nan_reference(3, 7, 0x7E, 0x7F);
const reference_format bf16_reference(7, 127, 0x7F7F, 0x7F80);
const reference_format fp16_reference(10, 15, 0x7BFF, 0x7C00);

/// First float (as bits) that `convert` does not send where `reference` does, sign included.
template <class Convert>
std::optional<std::uint32_t> mismatch(const reference_format& reference, int sign_shift, Convert convert, float value) {
  const std::uint32_t magnitude = reference.nearest(std::abs(static_cast<double>(value)));
  for (const std::uint32_t negative : {0u, 1u}) {
    const std::uint32_t bits = (bits_of_float(value) & 0x7FFF'FFFF) | negative << 31;
    if (convert(float_of_bits(bits)) != (magnitude | negative << sign_shift)) return bits;
  }
  return std::nullopt;
}

/// All codes, all midpoints, both float neighbours of each; then every float that a long odd stride meets.
template <class Convert>
std::optional<std::uint32_t> first_mismatch(const reference_format& reference, int sign_shift, Convert convert) {
  for (std::size_t code = 0; code + 1 < reference.values.size(); ++code) {
    const double middle = (reference.values[code] + reference.values[code + 1]) / 2;
    for (const double point : {reference.values[code], middle}) {
      const auto value = static_cast<float>(point);
      if (static_cast<double>(value) != point) return bits_of_float(value);  // the reference itself would be wrong
      for (const float x : {std::nextafter(value, 0.0f), value, std::nextafter(value, infinity)})
        if (const auto bad = mismatch(reference, sign_shift, convert, x)) return bad;
    }
  }
  for (std::uint64_t bits = 0; bits <= 0x7F80'0000; bits += 2'011)
    if (const auto bad = mismatch(reference, sign_shift, convert, float_of_bits(static_cast<std::uint32_t>(bits))))
      return bad;
  for (const std::uint32_t bits : {1u, 0x007F'FFFFu, 0x0080'0000u, 0x7F7F'FFFFu, 0x7F80'0000u})
    if (const auto bad = mismatch(reference, sign_shift, convert, float_of_bits(bits))) return bad;
  return std::nullopt;
}

const auto to_nan = [](float value) { return float_to_e4m3(value, e4m3_overflow::to_nan); };

constexpr std::uint32_t nans[] = {0x7F80'0001, 0x7FC0'0000, 0x7FFF'FFFF, 0x7FA0'1234,
                                  0xFF80'0001, 0xFFC0'0000, 0xFFFF'FFFF, 0xFF80'2000};

}  // namespace

TEST_CASE("every code has its value", "[formats]") {
  int wrong = 0;
  const auto check = [&](double want, float got, bool negative) {
    wrong += bits_of_float(static_cast<float>(negative ? -want : want)) != bits_of_float(got);
  };
  for (unsigned code = 0; code < 16; ++code)
    check(e2m1_reference.value(code & 7), e2m1_to_float(static_cast<std::uint8_t>(code)), code > 7);
  for (unsigned code = 0; code < 256; ++code) {
    if ((code & 0x7F) != 0x7F)
      check(e4m3_reference.value(code & 0x7F), e4m3_to_float(static_cast<std::uint8_t>(code)), code > 0x7F);
    if (code != 255)
      check(std::ldexp(1.0, static_cast<int>(code) - 127), e8m0_to_float(static_cast<std::uint8_t>(code)), false);
  }
  for (unsigned code = 0; code < 65536; ++code) {
    const unsigned magnitude = code & 0x7FFF;
    const bool negative = code > 0x7FFF;
    if (magnitude < 0x7F80)
      check(bf16_reference.value(magnitude), bf16_to_float(static_cast<std::uint16_t>(code)), negative);
    if (magnitude < 0x7C00)
      check(fp16_reference.value(magnitude), fp16_to_float(static_cast<std::uint16_t>(code)), negative);
  }
  CHECK(wrong == 0);
  CHECK(bits_of_float(e4m3_to_float(0x7F)) == 0x7FF0'0000);
  CHECK(bits_of_float(e4m3_to_float(0xFF)) == 0xFFF0'0000);
  CHECK(std::isnan(e8m0_to_float(255)));
}

TEST_CASE("every code survives a round trip", "[formats]") {
  int wrong = 0;
  for (unsigned code = 0; code < 16; ++code)
    wrong += float_to_e2m1(e2m1_to_float(static_cast<std::uint8_t>(code))) != code;
  for (unsigned code = 0; code < 256; ++code) {
    wrong += float_to_e4m3(e4m3_to_float(static_cast<std::uint8_t>(code))) != code;
    wrong += to_nan(e4m3_to_float(static_cast<std::uint8_t>(code))) != code;
    wrong += float_to_e8m0(e8m0_to_float(static_cast<std::uint8_t>(code))) != code;
    if (code != 255) wrong += exponent_to_e8m0(static_cast<int>(code) - 127) != code;
  }
  for (unsigned code = 0; code < 65536; ++code) {
    // A signalling NaN comes back quiet; everything else bit for bit.
    const bool bf16_nan = (code & 0x7FFF) > 0x7F80;
    const bool fp16_nan = (code & 0x7FFF) > 0x7C00;
    wrong += float_to_bf16(bf16_to_float(static_cast<std::uint16_t>(code))) != (bf16_nan ? code | 0x40 : code);
    wrong += float_to_fp16(fp16_to_float(static_cast<std::uint16_t>(code))) != (fp16_nan ? code | 0x200 : code);
  }
  CHECK(wrong == 0);
}

TEST_CASE("narrowing rounds to nearest even", "[formats]") {
  CHECK(first_mismatch(e2m1_reference, 3, float_to_e2m1) == std::nullopt);
  CHECK(first_mismatch(e4m3_reference, 7, [](float value) { return float_to_e4m3(value); }) == std::nullopt);
  CHECK(first_mismatch(e4m3_nan_reference, 7, to_nan) == std::nullopt);
  CHECK(first_mismatch(bf16_reference, 15, float_to_bf16) == std::nullopt);
  CHECK(first_mismatch(fp16_reference, 15, float_to_fp16) == std::nullopt);
}

TEST_CASE("NaN stays NaN, or becomes what the format's comment says", "[formats]") {
  for (const std::uint32_t bits : nans) {
    const float nan = float_of_bits(bits);
    const std::uint32_t sign = bits >> 31;
    CAPTURE(bits);
    CHECK(float_to_e2m1(nan) == 7);
    CHECK(float_to_e4m3(nan) == (0x7F | sign << 7));
    CHECK(to_nan(nan) == (0x7F | sign << 7));
    CHECK(float_to_bf16(nan) == (bits >> 16 | 0x40));
    CHECK(float_to_fp16(nan) == (sign << 15 | 0x7E00 | (bits >> 13 & 0x3FF)));
    CHECK(float_to_e8m0(nan) == 255);
  }
}

TEST_CASE("E8M0 of a float is its exponent", "[formats]") {
  int wrong = 0;
  for (std::uint64_t bits = 1; bits < 0x7F80'0000; bits += 20'011) {
    const float value = float_of_bits(static_cast<std::uint32_t>(bits));
    wrong += float_to_e8m0(value) != std::max(std::ilogb(value), -127) + 127;
    wrong += float_to_e8m0(-value) != float_to_e8m0(value);
  }
  CHECK(wrong == 0);
  CHECK(float_to_e8m0(infinity) == 255);
  CHECK(float_to_e8m0(-0.0f) == 0);
  CHECK(exponent_to_e8m0(std::numeric_limits<int>::min()) == 0);
  CHECK(exponent_to_e8m0(std::numeric_limits<int>::max()) == 254);
}

TEST_CASE("scaling by a power of two on bits equals ldexp", "[formats]") {
  std::mt19937 random(7);
  int wrong = 0;
  for (int i = 0; i < 200'000; ++i) {
    // At most four significant bits, as the elements of a block: exact above 2^-146, cut off below.
    const float value = float_of_bits(static_cast<std::uint32_t>(random()) & 0xFFF0'0000);
    const int exponent = static_cast<int>(random() % 601) - 300;
    if (!std::isfinite(value)) continue;
    const float want = std::ldexp(value, exponent);
    const float got = detail::scale_by_pow2(value, exponent);
    if (std::abs(want) > 0x1p-146f) wrong += bits_of_float(got) != bits_of_float(want);
    wrong += std::signbit(got) != std::signbit(value) || std::abs(got - want) > 0x1p-149f;
  }
  CHECK(wrong == 0);
}

TEST_CASE("widening by bit moves is exact for every code and scale", "[formats]") {
  int wrong = 0;
  for (unsigned code = 0; code < 16; ++code) {
    const auto nibble = static_cast<std::uint8_t>(code);
    const double value = static_cast<double>(e2m1_to_float(nibble));
    const float bf16 = bf16_to_float(e2m1_to_bf16_unscaled(nibble));
    wrong += bits_of_float(bf16 * bf16_to_float(e2m1_bf16_gain)) != bits_of_float(e2m1_to_float(nibble));
    wrong += bits_of_float(fp16_to_float(e2m1_to_fp16_unscaled(nibble)) * fp16_to_float(e2m1_fp16_gain)) !=
             bits_of_float(e2m1_to_float(nibble));
    for (unsigned scale = 0; scale <= e8m0_largest_folded; ++scale) {
      const float product = bf16 * bf16_to_float(e8m0_to_bf16_folded(static_cast<std::uint8_t>(scale)));
      wrong += static_cast<double>(product) != std::ldexp(value, static_cast<int>(scale) - 127);
      wrong += bf16_to_float(float_to_bf16(product)) != product;  // the product is a BF16 number
    }
  }
  CHECK(wrong == 0);
}

namespace {

using floats = std::array<float, mx_block_size>;
using bytes = std::array<std::uint8_t, mx_block_size>;

/// Both MX formats behind one face, elements one a byte.
struct mxfp4_block_format {
  static constexpr int emax = 2;
  static constexpr unsigned code_mask = 0xF;
  static constexpr double saturation = 6;
  static const reference_format& reference() { return e2m1_reference; }
  static constexpr int sign_shift = 3;
  static std::uint8_t quantize(const floats& x, bytes& codes) {
    std::array<std::uint8_t, mxfp4_block_bytes> packed{};
    packed.fill(0xCC);
    const std::uint8_t scale = quantize_mxfp4_block(x, packed);
    for (std::size_t i = 0; i < 32; ++i) codes[i] = (packed[i / 2] >> (i % 2 * 4)) & 0xF;
    return scale;
  }
  static void dequantize(const bytes& codes, std::uint8_t scale, floats& x) {
    std::array<std::uint8_t, mxfp4_block_bytes> packed{};
    for (std::size_t i = 0; i < 32; ++i) packed[i / 2] |= static_cast<std::uint8_t>(codes[i] << (i % 2 * 4));
    dequantize_mxfp4_block(packed, scale, x);
  }
};

struct mxfp8_block_format {
  static constexpr int emax = 8;
  static constexpr unsigned code_mask = 0xFF;
  static constexpr double saturation = 448;
  static const reference_format& reference() { return e4m3_reference; }
  static constexpr int sign_shift = 7;
  static std::uint8_t quantize(const floats& x, bytes& codes) {
    codes.fill(0xCC);
    return quantize_mxfp8_block(x, codes);
  }
  static void dequantize(const bytes& codes, std::uint8_t scale, floats& x) { dequantize_mxfp8_block(codes, scale, x); }
};

/// Random block around 2^exponent, with zeros, saturating, tiny and negative elements in it.
floats random_block(std::mt19937& random, int exponent) {
  std::normal_distribution<double> normal;
  floats x{};
  for (float& value : x) {
    const int spread = static_cast<int>(random() % 16) == 0 ? -static_cast<int>(random() % 40) : 0;
    value = static_cast<float>(std::ldexp(normal(random), exponent + spread));
    if (random() % 32 == 0) value = random() % 2 == 0 ? 0.0f : -0.0f;
    if (!std::isfinite(value)) value = std::numeric_limits<float>::max();
  }
  return x;
}

}  // namespace

TEMPLATE_TEST_CASE("a quantised block is the nearest one for its scale", "[mx]", mxfp4_block_format,
                   mxfp8_block_format) {
  std::mt19937 random(1);
  int wrong_scale = 0;
  int wrong_code = 0;
  int wrong_value = 0;
  int out_of_bound = 0;
  int not_idempotent = 0;
  for (int exponent = -150; exponent <= 127; ++exponent)
    for (int round = 0; round < 40; ++round) {
      const floats x = random_block(random, exponent);
      bytes codes{};
      const std::uint8_t scale = TestType::quantize(x, codes);

      double amax = 0;
      for (const float value : x) amax = std::max(amax, std::abs(static_cast<double>(value)));
      const int shared = amax == 0 ? -127 : std::clamp(std::ilogb(amax) - TestType::emax, -127, 127);
      wrong_scale += scale != shared + 127;

      floats y{};
      TestType::dequantize(codes, scale, y);
      for (std::size_t i = 0; i < 32; ++i) {
        // In double the quotient is exact, so this is one rounding of the true value.
        const double magnitude = std::abs(std::ldexp(static_cast<double>(x[i]), -shared));
        const std::uint32_t negative = std::signbit(x[i]) ? 1u : 0u;
        const std::uint32_t want = TestType::reference().nearest(magnitude) | negative << TestType::sign_shift;
        wrong_code += codes[i] != want;
        const double value = std::ldexp(TestType::reference().value(want & ((1u << TestType::sign_shift) - 1)), shared);
        wrong_value += bits_of_float(y[i]) != bits_of_float(static_cast<float>(negative ? -value : value));

        // Half a step of the element's binade, or what saturation takes off.
        const int m = TestType::reference().mantissa_bits;
        const int binade = magnitude == 0 ? 0 : std::max(std::ilogb(magnitude), 1 - TestType::reference().bias);
        const double bound = std::max(std::ldexp(0.5, binade - m), magnitude - TestType::saturation);
        out_of_bound += std::abs(magnitude - std::abs(std::ldexp(static_cast<double>(y[i]), -shared))) > bound;
      }

      bytes again{};
      not_idempotent += TestType::quantize(y, again) != scale || again != codes;
    }
  CHECK(wrong_scale == 0);
  CHECK(wrong_code == 0);
  CHECK(wrong_value == 0);
  CHECK(out_of_bound == 0);
  CHECK(not_idempotent == 0);
}

TEMPLATE_TEST_CASE("every scale and code dequantises exactly", "[mx]", mxfp4_block_format, mxfp8_block_format) {
  const reference_format& reference = TestType::reference();
  const unsigned codes_count = 1u << (TestType::sign_shift + 1);
  int wrong = 0;
  for (unsigned scale = 0; scale < 256; ++scale)
    for (unsigned first = 0; first < codes_count; first += 16) {
      bytes codes{};
      for (std::size_t i = 0; i < 32; ++i) codes[i] = static_cast<std::uint8_t>(first + i % 16);
      floats x{};
      TestType::dequantize(codes, static_cast<std::uint8_t>(scale), x);
      for (std::size_t i = 0; i < 32; ++i) {
        const unsigned magnitude = codes[i] & (codes_count / 2 - 1);
        if (scale == 255 || magnitude > reference.largest) {
          wrong += !std::isnan(x[i]);
          continue;
        }
        const double exact = std::ldexp(reference.value(magnitude), static_cast<int>(scale) - 127);
        const double signed_value = codes[i] >= codes_count / 2 ? -exact : exact;
        const float want = exact >= 0x1p128 ? std::copysign(infinity, static_cast<float>(signed_value > 0 ? 1 : -1))
                                            : static_cast<float>(signed_value);
        wrong += bits_of_float(x[i]) != bits_of_float(want);
      }
    }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("canonical blocks survive dequantising and quantising", "[mx]", mxfp4_block_format,
                   mxfp8_block_format) {
  std::mt19937 random(3);
  const auto largest = TestType::reference().largest;
  int changed = 0;
  for (unsigned scale = 0; scale < 255; ++scale)
    for (int round = 0; round < 20; ++round) {
      bytes codes{};
      for (std::uint8_t& code : codes) {
        const auto magnitude = static_cast<std::uint32_t>(random()) % (largest + 1);
        code = static_cast<std::uint8_t>(magnitude | static_cast<std::uint32_t>(random() % 2) << TestType::sign_shift);
      }
      codes[random() % 32] = static_cast<std::uint8_t>(largest);  // an element with exponent emax makes it canonical
      floats x{};
      TestType::dequantize(codes, static_cast<std::uint8_t>(scale), x);
      bytes again{};
      if (std::any_of(x.begin(), x.end(), [](float value) { return std::isinf(value); }))
        changed += TestType::quantize(x, again) != 255;
      else
        changed += TestType::quantize(x, again) != scale || again != codes;
    }
  CHECK(changed == 0);
}

TEMPLATE_TEST_CASE("a block with one NaN or infinity is a NaN block", "[mx]", mxfp4_block_format, mxfp8_block_format) {
  for (const std::uint32_t bits : {0x7F80'0000u, 0xFF80'0000u, 0x7FC0'0000u, 0x7F80'0001u, 0xFFFF'FFFFu})
    for (const std::size_t place : {0u, 13u, 31u}) {
      CAPTURE(bits, place);
      floats x{};
      x.fill(-3e38f);
      x[place] = float_of_bits(bits);
      bytes codes{};
      CHECK(TestType::quantize(x, codes) == 255);
      CHECK(codes == bytes{});
      TestType::dequantize(codes, 255, x);
      CHECK(std::all_of(x.begin(), x.end(), [](float value) { return std::isnan(value); }));
    }
}

TEST_CASE("the scale follows the largest magnitude", "[mx]") {
  struct row {
    float amax;
    int mxfp4_scale;
    double mxfp4_value;
    int mxfp8_scale;
    double mxfp8_value;
  };
  // 7.9: just under the next power of two, so the scale stays 1 and 6 is the best there is. 5 and 464/64 are ties.
  const row rows[] = {
      {7.9f, 127, 6, 121, 7},
      {8, 128, 8, 122, 8},
      {5, 127, 4, 121, 5},
      {7.25f, 127, 6, 121, 7},
      {std::nextafter(8.0f, 0.0f), 127, 6, 121, 7},
      {3.5f, 126, 3, 120, 3.5},
      {0x1p-125f, 0, 0x1p-125, 0, 0x1p-125},
      {0x1p-119f, 6, 0x1p-119, 0, 0x1p-119},
      {0x1p-118f, 7, 0x1p-118, 1, 0x1p-118},
      {0x1p-149f, 0, 0, 0, 0},
      {0x1p-136f, 0, 0, 0, 0x1p-136},
      {0x1p-137f, 0, 0, 0, 0},
      {std::numeric_limits<float>::max(), 252, 0x1.8p127, 246, 0x1.Cp127},
  };
  for (const row& expected : rows)
    for (const float sign : {1.0f, -1.0f}) {
      CAPTURE(expected.amax, sign);
      floats x{};
      x[17] = sign * expected.amax;
      bytes codes{};
      floats y{};
      CHECK(mxfp4_block_format::quantize(x, codes) == expected.mxfp4_scale);
      mxfp4_block_format::dequantize(codes, static_cast<std::uint8_t>(expected.mxfp4_scale), y);
      CHECK(static_cast<double>(sign * y[17]) == expected.mxfp4_value);
      CHECK(mxfp8_block_format::quantize(x, codes) == expected.mxfp8_scale);
      mxfp8_block_format::dequantize(codes, static_cast<std::uint8_t>(expected.mxfp8_scale), y);
      CHECK(static_cast<double>(sign * y[17]) == expected.mxfp8_value);
    }
}

TEST_CASE("ties inside a block go to the even code", "[mx]") {
  floats x{};
  x[0] = 4;  // scale 1
  const float ties[] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5};
  const std::uint8_t even[] = {0, 2, 2, 4, 4, 6, 6};
  for (std::size_t i = 0; i < std::size(ties); ++i) {
    x[i + 1] = ties[i];
    x[i + 16] = -ties[i];
  }
  bytes codes{};
  REQUIRE(mxfp4_block_format::quantize(x, codes) == 127);
  for (std::size_t i = 0; i < std::size(ties); ++i) {
    CAPTURE(ties[i]);
    CHECK(codes[i + 1] == even[i]);
    CHECK(codes[i + 16] == (even[i] | 8));
  }
}

#if defined(__SSE2__)
namespace {

std::uint32_t hash(std::uint32_t seed, std::uint32_t value) { return (seed ^ value) * 0x0100'0193u; }

/// Everything that meets subnormal numbers, folded into one number.
template <class Format>
std::uint32_t subnormal_work() {
  std::mt19937 random(11);
  std::uint32_t result = 0x811C'9DC5;
  for (int round = 0; round < 2'000; ++round) {
    floats x{};
    // Subnormal numbers beside one of 2^-126 to 2^-96: the scales at which the others matter.
    for (float& value : x) value = float_of_bits(static_cast<std::uint32_t>(random()) & 0x807F'FFFF);
    x[31] = float_of_bits((static_cast<std::uint32_t>(random()) & 0x807F'FFFF) | static_cast<std::uint32_t>(round % 32)
                                                                                     << 23);
    bytes codes{};
    std::uint8_t scale = Format::quantize(x, codes);
    for (const std::uint8_t code : codes) result = hash(result, code);
    Format::dequantize(codes, scale, x);
    for (const float value : x) result = hash(result, bits_of_float(value));
  }
  for (unsigned scale = 0; scale < 32; ++scale)
    for (unsigned first = 0; first < 256; first += 32) {
      bytes codes{};
      for (std::size_t i = 0; i < 32; ++i) codes[i] = static_cast<std::uint8_t>((first + i) & Format::code_mask);
      floats x{};
      Format::dequantize(codes, static_cast<std::uint8_t>(scale), x);
      for (const float value : x) result = hash(result, bits_of_float(value));
    }
  for (std::uint32_t bits = 0; bits < 0x0100'0000; bits += 997) {
    const float value = float_of_bits(bits);
    result = hash(result, static_cast<std::uint32_t>(float_to_bf16(value) ^ float_to_fp16(value) << 16));
    result = hash(result, static_cast<std::uint32_t>(float_to_e2m1(value) ^ float_to_e4m3(value)));
  }
  for (unsigned code = 0; code < 1024; ++code)
    result = hash(result, bits_of_float(fp16_to_float(static_cast<std::uint16_t>(code))));
  return result;
}

}  // namespace

TEMPLATE_TEST_CASE("flushing subnormals to zero changes nothing", "[mx]", mxfp4_block_format, mxfp8_block_format) {
  const std::uint32_t want = subnormal_work<TestType>();
  const unsigned saved = _mm_getcsr();
  _mm_setcsr(saved | 0x8040);  // flush to zero, denormals are zero
  const std::uint32_t got = subnormal_work<TestType>();
  _mm_setcsr(saved);
  CHECK(got == want);
}
#endif

TEST_CASE("rows are blocks one after the other", "[mx]") {
  std::mt19937 random(5);
  const mx_shape shape{.rows = 3, .k = 96};
  std::vector<float> x;
  for (int block = 0; block < 9; ++block)
    for (const float value : random_block(random, block - 4)) x.push_back(value);
  std::vector<std::uint8_t> packed(144), codes(288), scales4(9), scales8(9);
  REQUIRE(quantize_mxfp4_rows(shape, x, packed, scales4) == status_code::ok);
  REQUIRE(quantize_mxfp8_rows(shape, x, codes, scales8) == status_code::ok);
  std::vector<float> y4(288), y8(288);
  REQUIRE(dequantize_mxfp4_rows(shape, packed, scales4, y4) == status_code::ok);
  REQUIRE(dequantize_mxfp8_rows(shape, codes, scales8, y8) == status_code::ok);
  for (std::size_t block = 0; block < 9; ++block) {
    floats one{};
    std::copy_n(x.begin() + static_cast<std::ptrdiff_t>(32 * block), 32, one.begin());
    bytes want{};
    floats value{};
    CHECK(mxfp4_block_format::quantize(one, want) == scales4[block]);
    mxfp4_block_format::dequantize(want, scales4[block], value);
    CHECK(std::equal(value.begin(), value.end(), y4.begin() + static_cast<std::ptrdiff_t>(32 * block)));
    for (std::size_t i = 0; i < 32; ++i) CHECK((packed[block * 16 + i / 2] >> (i % 2 * 4) & 0xF) == want[i]);
    CHECK(mxfp8_block_format::quantize(one, want) == scales8[block]);
    mxfp8_block_format::dequantize(want, scales8[block], value);
    CHECK(std::equal(value.begin(), value.end(), y8.begin() + static_cast<std::ptrdiff_t>(32 * block)));
    CHECK(std::equal(want.begin(), want.end(), codes.begin() + static_cast<std::ptrdiff_t>(32 * block)));
  }
}

TEST_CASE("rows with wrong sizes are refused and nothing is written", "[mx]") {
  constexpr std::int64_t huge = std::numeric_limits<std::int64_t>::max();
  struct call {
    mx_shape shape;
    std::size_t values, packed, codes, scales;
    status_code want;
  };
  const status_code bad = status_code::invalid_argument;
  const call calls[] = {
      {{2, 64}, 128, 64, 128, 4, status_code::ok},
      {{0, 64}, 0, 0, 0, 0, status_code::empty},
      {{2, 0}, 0, 0, 0, 0, status_code::empty},
      {{0, 64}, 128, 64, 128, 4, bad},
      {{2, 63}, 128, 64, 128, 4, bad},
      {{4, 16}, 64, 32, 64, 2, bad},
      {{0, 33}, 0, 0, 0, 0, bad},
      {{-2, 64}, 128, 64, 128, 4, bad},
      {{-2, -64}, 128, 64, 128, 4, bad},
      {{2, 64}, 127, 64, 128, 4, bad},
      {{2, 64}, 129, 64, 128, 4, bad},
      {{2, 64}, 160, 64, 128, 4, bad},
      {{2, 64}, 128, 63, 127, 4, bad},
      {{2, 64}, 128, 65, 129, 4, bad},
      {{2, 64}, 128, 64, 128, 3, bad},
      {{2, 64}, 128, 64, 128, 5, bad},
      {{2, 64}, 0, 0, 0, 0, bad},
      {{huge, 64}, 128, 64, 128, 4, bad},
      {{huge / 32, 32}, 128, 64, 128, 4, bad},
      {{huge, 0}, 0, 0, 0, 0, status_code::empty},
  };
  for (const call& c : calls) {
    CAPTURE(c.shape.rows, c.shape.k, c.values, c.packed, c.scales);
    const std::vector<float> x(c.values, 1.0f);
    std::vector<float> y(c.values, -7.0f);
    std::vector<std::uint8_t> packed(c.packed, 0xA5), codes(c.codes, 0xA5), scales(c.scales, 0xA5);
    const auto untouched = [](const std::vector<std::uint8_t>& v) {
      return std::all_of(v.begin(), v.end(), [](std::uint8_t byte) { return byte == 0xA5; });
    };
    CHECK(dequantize_mxfp4_rows(c.shape, packed, scales, y) == c.want);
    CHECK(dequantize_mxfp8_rows(c.shape, codes, scales, y) == c.want);
    if (c.want != status_code::ok) CHECK(std::all_of(y.begin(), y.end(), [](float value) { return value == -7; }));
    CHECK(quantize_mxfp4_rows(c.shape, x, packed, scales) == c.want);
    if (c.want != status_code::ok) CHECK((untouched(packed) && untouched(scales)));
    CHECK(quantize_mxfp8_rows(c.shape, x, codes, scales) == c.want);
    if (c.want != status_code::ok) CHECK((untouched(codes) && untouched(scales)));
  }
}
