// The kernels that quantise rows, lane by lane, against the CPU's bytes. The same test for waves of 32 and 64 lanes.
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "../../support/catch.hpp"
#include "quantise_kernels.hpp"
#include "tilefit/device/simt/executor.hpp"
#include "tilefit/host/quantise_rows.hpp"

using namespace tilefit;
using namespace tilefit_simt;

namespace {

struct layout {
  std::int64_t rows, columns, x_stride, y_stride;
  int x_skip = 0, y_skip = 0;  ///< elements and bytes before the first row
};

/// Numbers of all sizes: rows of normal ones, of zeros, of subnormals, with an infinity, with a NaN, of anything.
float number_of(std::mt19937& random, std::int64_t row, std::int64_t column) {
  std::normal_distribution<float> normal;
  switch (row % 7) {
    case 1: return random() % 2 == 0 ? 0.0f : -0.0f;
    case 2: return detail::float_of_bits((random() & 0x807F'FFFFu));
    case 3: return column == 9 ? -std::numeric_limits<float>::infinity() : normal(random);
    case 4: return column == 5 ? -std::numeric_limits<float>::quiet_NaN() : normal(random);
    case 5: return detail::float_of_bits(static_cast<std::uint32_t>(random()));
    case 6: return std::ldexp(normal(random), -118 - static_cast<int>(column / 32) % 10);
    default: return std::ldexp(normal(random), static_cast<int>(column / 32 % 9) - 4);
  }
}

void check(dtype x, dtype y, bool per_row, const layout& l) {
  INFO(name_of(x) << " to " << name_of(y) << (per_row ? ", a scale for each row, " : ", ") << l.rows << " x "
                  << l.columns << ", rows " << l.x_stride << " and " << l.y_stride << " apart");
  simt::memory memory{std::size_t{1} << 24};
  using enum simt::memory_use;
  std::mt19937 random(static_cast<unsigned>(l.columns));
  const std::size_t element = static_cast<std::size_t>(bits_of(x) / 8);
  auto* const data = static_cast<std::byte*>(
      memory.take(static_cast<std::size_t>(l.rows * l.x_stride + l.x_skip) * element, "X", input));
  for (std::int64_t row = 0; row < l.rows; ++row)
    for (std::int64_t column = 0; column < l.columns; ++column) {
      const std::size_t i = static_cast<std::size_t>(l.x_skip + row * l.x_stride + column);
      const float number = number_of(random, row, column);
      const std::uint16_t half = x == dtype::bf16 ? float_to_bf16(number) : float_to_fp16(number);
      if (x == dtype::fp32)
        std::memcpy(data + i * element, &number, 4);
      else
        std::memcpy(data + i * element, &half, 2);
    }
  const std::size_t y_bytes = static_cast<std::size_t>(l.y_skip + l.rows * l.y_stride * bits_of(y) / 8);
  const std::int64_t scale_stride = l.y_stride / 32 + 1, scale_count = l.rows * scale_stride;
  auto* const codes = memory.take<std::uint8_t>(static_cast<std::int64_t>(y_bytes), "Y", output);
  auto* const scales = memory.take<std::uint8_t>(scale_count, "scales of Y", output);
  auto* const row_scales = memory.take<float>(l.rows, "scales of rows", output);
  auto* const scale = memory.take<float>(1, "scale of Y", input);
  *scale = 0.3f;
  quantise_args args{
      .rows = l.rows,
      .columns = l.columns,
      .x = {.data = data + static_cast<std::size_t>(l.x_skip) * element, .type = x, .row_stride = l.x_stride},
      .y = {.data = codes + l.y_skip, .type = y, .row_stride = l.y_stride}};
  if (has_block_scales(y)) {
    args.y.block_scales = scales;
    args.y.block_scale_stride = scale_stride;
  } else if (per_row) {
    args.row_scales = row_scales;
  } else {
    args.y.scale = scale;
  }
  const auto poison = [&] {
    std::fill_n(codes, y_bytes, std::uint8_t{0xA5});
    std::fill_n(scales, scale_count, std::uint8_t{0xA5});
    std::fill_n(row_scales, l.rows, -7.0f);
  };
  poison();
  REQUIRE(host::quantise_rows(args) == status_code::ok);
  const std::vector<std::uint8_t> expected(codes, codes + y_bytes), expected_scales(scales, scales + scale_count);
  std::vector<std::uint32_t> expected_row_scales;
  for (std::int64_t row = 0; row < l.rows; ++row) expected_row_scales.push_back(detail::bits_of_float(row_scales[row]));

  poison();
  const kernels::quantise_params params = kernels::quantise_params_of(args);
  simt::executor executor(memory);
  const simt::grid_result result =
      executor.run({.grid = static_cast<unsigned>(kernels::quantise_blocks(params)),
                    .block = kernels::quantise_threads,
                    .shared_bytes = per_row ? std::size_t{32} : std::size_t{0}},
                   {.warp_size = TILEFIT_SIMT_LANES, .seed = 1}, quantise_kernel_of(args), params);
  CHECK(result.faults.text() == "");
  CHECK(std::vector<std::uint8_t>(codes, codes + y_bytes) == expected);
  CHECK(std::vector<std::uint8_t>(scales, scales + scale_count) == expected_scales);
  for (std::int64_t row = 0; row < l.rows; ++row)
    CHECK(detail::bits_of_float(row_scales[row]) == expected_row_scales[static_cast<std::size_t>(row)]);
}

}  // namespace

TEST_CASE("simt quantise: the CPU's bytes", "[simt]") {
  for (const dtype x : {dtype::bf16, dtype::fp16, dtype::fp32})
    for (const dtype y : {dtype::fp8_e4m3, dtype::mxfp8, dtype::mxfp4})
      for (const bool per_row : {false, true}) {
        if (per_row && has_block_scales(y)) continue;
        check(x, y, per_row, {.rows = 7, .columns = 96, .x_stride = 96, .y_stride = 96});
        check(x, y, per_row, {.rows = 14, .columns = 320, .x_stride = 328, .y_stride = 352});
        check(x, y, per_row, {.rows = 2, .columns = 2880, .x_stride = 2880, .y_stride = 2880});
        for (const std::int64_t columns : {1, 13, 77})  // odd tails, at odd places
          check(x, y, per_row,
                {.rows = 7, .columns = columns, .x_stride = columns + 2, .y_stride = 98, .x_skip = 3, .y_skip = 1});
      }
}
