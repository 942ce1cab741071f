// host::quantise_rows: the bytes that float_formats.hpp and mxfp4.hpp make, and nothing beside them.
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "catch.hpp"
#include "host_matmul_fixture.hpp"
#include "tilefit/host/quantise_rows.hpp"

using namespace tilefit_test;

namespace {

constexpr dtype wide_formats[] = {dtype::fp32, dtype::bf16, dtype::fp16};
constexpr dtype narrow_formats[] = {dtype::fp8_e4m3, dtype::mxfp8, dtype::mxfp4};

/// Nearest of all values of a format that has no more than 256 codes, ties to the even code; the largest for all
/// above it.
std::uint8_t nearest(double value, int codes, float (*decode)(std::uint8_t)) {
  int best = 0;
  for (int code = 0; code < codes / 2; ++code) {
    const double candidate = double{decode(static_cast<std::uint8_t>(code))};
    if (!std::isfinite(candidate)) continue;
    const double distance = std::fabs(std::fabs(value) - candidate);
    const double shortest = std::fabs(std::fabs(value) - double{decode(static_cast<std::uint8_t>(best))});
    if (distance < shortest || (distance == shortest && code % 2 == 0)) best = code;
  }
  return static_cast<std::uint8_t>(best | (std::signbit(value) ? codes / 2 : 0));
}

struct rows_case {
  std::int64_t rows, columns;
  dtype x, y;
  bool per_row = false;

  std::vector<float> values{};  ///< as X has them
  encoded data{};
  guarded codes{}, scales{};
  std::vector<float> row_scales{};
  float scale = 0.37f;
  quantise_args args{};

  void fill(unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    values.resize(at(rows * columns));
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = std::ldexp(normal(random), static_cast<int>(i / 32 % 9) - 4 + static_cast<int>(random() % 3));
  }
  status_code run() {
    const std::int64_t wide = detail::align_up(columns, 32), stride = wide + 32;
    data = encode(x, rows, columns, 1.0f, values);
    codes = guarded(at(rows * stride * bits_of(y) / 8));
    scales = guarded(at(rows * (stride / 32)));
    row_scales.assign(at(rows), -1.0f);
    args = {.rows = rows,
            .columns = columns,
            .x = {.data = data.bytes.data(), .type = x, .rows = rows, .row_stride = columns},
            .y = {.data = codes.data(), .type = y, .rows = rows, .row_stride = stride}};
    if (has_block_scales(y)) {
      args.y.block_scales = scales.data();
      args.y.block_scale_stride = stride / 32;
    } else if (per_row) {
      args.row_scales = row_scales.data();
    } else {
      args.y.scale = &scale;
    }
    return host::quantise_rows(args);
  }
  int code(std::int64_t row, std::int64_t column) {
    const std::int64_t i = row * args.y.row_stride + column;
    return y == dtype::mxfp4 ? codes.data()[i / 2] >> (4 * (i % 2)) & 15 : codes.data()[i];
  }
};

}  // namespace

TEST_CASE("host quantise: every element is the nearest one") {
  for (const dtype x : wide_formats)
    for (const dtype y : narrow_formats)
      for (const bool per_row : {false, true})
        for (const std::int64_t columns : {1, 7, 32, 45, 96}) {
          if (per_row && has_block_scales(y)) continue;
          rows_case test{.rows = 5, .columns = columns, .x = x, .y = y, .per_row = per_row};
          test.fill(static_cast<unsigned>(columns));
          INFO(name_of(x) << " to " << name_of(y) << ", " << columns << " columns");
          REQUIRE(test.run() == status_code::ok);
          CHECK((test.codes.guards_hold() && test.scales.guards_hold()));
          const std::int64_t written = has_block_scales(y) ? detail::align_up(columns, 32) : columns;
          std::int64_t wrong = 0;
          for (std::int64_t row = 0; row < 5; ++row) {
            double largest = 0;
            for (std::int64_t c = 0; c < columns; ++c)
              largest = std::fmax(largest, std::fabs(double{test.values[at(row * columns + c)]}));
            if (per_row) CHECK(test.row_scales[at(row)] == static_cast<float>(largest) / 448.0f);
            for (std::int64_t c = 0; c < written; ++c) {
              double scale = per_row ? double{test.row_scales[at(row)]} : double{test.scale};
              if (has_block_scales(y)) {
                const std::uint8_t code = test.scales.data()[row * test.args.y.block_scale_stride + c / 32];
                double block_largest = 0;
                for (std::int64_t i = c / 32 * 32; i < c / 32 * 32 + 32 && i < columns; ++i)
                  block_largest = std::fmax(block_largest, std::fabs(double{test.values[at(row * columns + i)]}));
                wrong += code != std::ilogb(block_largest) - (y == dtype::mxfp4 ? 2 : 8) + 127 ? 1 : 0;
                scale = std::ldexp(1.0, code - 127);
              }
              const float value = c < columns ? test.values[at(row * columns + c)] : 0.0f;
              // FP8 under a scale that is no power of two: of the quotient as a float.
              const double quotient =
                  has_block_scales(y) ? double{value} / scale : double{value / static_cast<float>(scale)};
              const std::uint8_t expected =
                  y == dtype::mxfp4 ? nearest(quotient, 16, e2m1_to_float) : nearest(quotient, 256, e4m3_to_float);
              wrong += test.code(row, c) != expected ? 1 : 0;
            }
            for (std::int64_t b = written * bits_of(y) / 8; b < test.args.y.row_stride * bits_of(y) / 8; ++b)
              wrong += test.codes.data()[row * test.args.y.row_stride * bits_of(y) / 8 + b] != poison ? 1 : 0;
          }
          CHECK(wrong == 0);
        }
}

TEST_CASE("host quantise: zeros, subnormals, infinity and NaN") {
  constexpr float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const float least = std::numeric_limits<float>::denorm_min();
  rows_case test{.rows = 5, .columns = 32, .x = dtype::fp32, .y = dtype::fp8_e4m3, .per_row = true};
  test.values.assign(160, 0.0f);
  test.values[1] = -0.0f;
  test.values[32] = 3 * least;
  test.values[33] = -least;
  test.values[64] = infinity;
  test.values[65] = -1.0f;
  test.values[96] = -nan;
  test.values[97] = 2.0f;
  for (int i = 128; i < 160; ++i) test.values[at(i)] = std::ldexp(static_cast<float>(i - 150), -128);

  REQUIRE(test.run() == status_code::ok);
  CHECK(test.row_scales[0] == std::ldexp(1.0f, -126));
  CHECK(test.code(0, 0) == 0);
  CHECK(test.code(0, 1) == 0x80);
  CHECK(test.row_scales[1] == std::ldexp(1.0f, -126));
  CHECK(test.code(1, 1) == 0x80);
  CHECK(std::isnan(test.row_scales[2]));
  CHECK(std::isnan(test.row_scales[3]));
  for (const int row : {2, 3})
    for (int c = 0; c < 32; ++c) CHECK(test.code(row, c) == 0);
  CHECK(test.row_scales[4] == std::ldexp(1.0f, -126));

  test.per_row = false;
  test.scale = 1.0f;
  REQUIRE(test.run() == status_code::ok);
  CHECK(test.code(2, 0) == 0x7E);
  CHECK(test.code(2, 1) == 0xB8);
  CHECK(test.code(3, 0) == (std::signbit(test.values[96]) ? 0xFF : 0x7F));
  CHECK(test.code(3, 1) == 0x40);

  for (const dtype y : {dtype::mxfp8, dtype::mxfp4}) {
    test.y = y;
    REQUIRE(test.run() == status_code::ok);
    const std::int64_t stride = test.args.y.block_scale_stride;
    for (const int row : {2, 3}) {
      CHECK(test.scales.data()[row * stride] == e8m0_nan);
      for (int c = 0; c < 32; ++c) CHECK(test.code(row, c) == 0);
    }
    for (const int row : {0, 1, 4}) {
      const std::uint8_t scale = test.scales.data()[row * stride];
      CHECK(scale == (row == 4 && y == dtype::mxfp4 ? 1 : 0));
      for (int c = 0; c < 32; ++c) {
        const float quotient = std::ldexp(test.values[at(32 * row + c)], 127 - scale);
        CHECK(test.code(row, c) == (y == dtype::mxfp4 ? float_to_e2m1(quotient) : float_to_e4m3(quotient)));
      }
    }
  }
}

TEST_CASE("host quantise: refused calls write nothing") {
  using change = void (*)(quantise_args&);
  const auto refused = [](change how_to, status_code expected, const char* subject, dtype y = dtype::mxfp4) {
    rows_case test{.rows = 2, .columns = 64, .x = dtype::bf16, .y = y};
    test.fill(1);
    REQUIRE(test.run() == status_code::ok);
    test.codes = guarded(test.codes.size());
    test.args.y.data = test.codes.data();
    how_to(test.args);
    INFO(subject);
    CHECK(host::quantise_rows(test.args) == expected);
    CHECK(refuse_quantise(test.args).subject == subject);
    for (const unsigned char byte : test.codes.bytes)
      if (byte != poison) FAIL_CHECK("a refused call wrote to Y");
  };
  using a = quantise_args;
  const status_code bad = status_code::invalid_argument, format = status_code::unsupported_dtype;
  refused([](a& q) { q.rows = 0; }, status_code::empty, "rows");
  refused([](a& q) { q.columns = 0; }, status_code::empty, "columns");
  refused([](a& q) { q.rows = -1; }, bad, "rows");
  refused([](a& q) { q.columns = std::int64_t{1} << 40; }, bad, "columns");
  refused([](a& q) { q.x.type = dtype::mxfp8; }, format, "number of bits of X");
  refused([](a& q) { q.y.type = dtype::bf16; }, format, "number of bits of Y");
  refused([](a& q) { q.x.transposed = true; }, status_code::unsupported_feature, "x.transposed");
  refused([](a& q) { q.x.data = nullptr; }, bad, "X");
  refused([](a& q) { q.y.data = nullptr; }, bad, "Y");
  refused([](a& q) { q.x.row_stride = 63; }, bad, "row stride of X");
  refused([](a& q) { q.columns = 45, q.x.row_stride = 45, q.y.row_stride = 62; }, bad, "row stride of Y");
  refused([](a& q) { q.y.row_stride = 65; }, bad, "row stride of Y");
  refused([](a& q) { q.x.row_stride = std::int64_t{1} << 60; }, bad, "row stride");
  refused([](a& q) { q.y.block_scales = nullptr; }, bad, "block scales of Y");
  refused([](a& q) { q.y.block_scale_stride = 1; }, bad, "block scale stride of Y");
  static float somewhere[2];
  refused([](a& q) { q.row_scales = somewhere; }, bad, "row_scales");
  refused([](a& q) { q.row_scales = somewhere; }, bad, "scale of Y", dtype::fp8_e4m3);
}
