// Y in FP8, MXFP8 and MXFP4 from the kernels for AMD's matrix cores: the bytes that quantise_rows makes of the same
// kernel's Y in FP32, in the rows that it writes, and nothing beside them.
#include <algorithm>
#include <string>
#include <vector>

#include "../../support/catch.hpp"
#include "../matmul_case.hpp"
#include "tilefit/host/quantise_rows.hpp"

using namespace tilefit_simt;

namespace {

/// What differs, or nothing.
std::string compare(case_spec spec, const matmul_kernel& kernel, dtype y) {
  spec.y = dtype::fp32;
  spec.layout = weight_layout::mfma_m16k128;
  matmul_case matmul(spec);
  simt::memory& memory = matmul.memory;
  const auto grid =
      static_cast<unsigned>(kernels::most_row_tiles(matmul.args.m, matmul.args.experts, kernel.flags.block_m) *
                            detail::ceil_div(spec.n, kernel.flags.block_n));
  const simt::grid_options options{.warp_size = 64, .seed = spec.seed};
  const std::string unfused = matmul.run(kernel, grid, 1, options).grid.faults.text();
  if (!unfused.empty()) return unfused;

  const std::int64_t rows = matmul.args.m, columns = matmul.columns, stride = columns + 32, scale_stride = stride / 32;
  using enum simt::memory_use;
  const std::int64_t bytes = rows * stride * bits_of(y) / 8;
  auto* const codes = memory.take<std::uint8_t>(bytes, "narrow Y", output);
  auto* const scales = memory.take<std::uint8_t>(rows * scale_stride, "scales of Y", output);
  auto* const scale = memory.take<float>(1, "scale of Y", input);
  auto* const present = memory.take<std::uint8_t>(rows, "rows that are there", flags);
  *scale = 0.011f;
  y_operand narrow{.data = codes, .type = y, .rows = rows, .row_stride = stride};
  if (has_block_scales(y)) {
    narrow.block_scales = scales;
    narrow.block_scale_stride = scale_stride;
  } else {
    narrow.scale = scale;
  }
  std::fill_n(codes, bytes, std::uint8_t{0xA5});
  std::fill_n(scales, rows * scale_stride, std::uint8_t{0xA5});
  std::fill_n(present, rows, std::uint8_t{0});
  matmul_args args = matmul.args;
  args.y = narrow;
  const kernels::ogs_params params = params_of(kernel, args, kernels::store_kind::quantised, present);
  simt::executor executor(memory);
  const simt::grid_result result =
      executor.run({.grid = grid, .block = static_cast<unsigned>(kernel.threads), .shared_bytes = kernel.smem_bytes},
                   options, kernel.run, params);
  if (!result.right()) return result.faults.text();

  // The same bytes once more, but for rows that are not written.
  std::vector<std::uint8_t> expected(static_cast<std::size_t>(bytes), 0xA5);
  std::vector<std::uint8_t> expected_scales(static_cast<std::size_t>(rows * scale_stride), 0xA5);
  int written = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    if (present[row] == 0) continue;
    ++written;
    quantise_args one{.rows = 1,
                      .columns = columns,
                      .x = {.data = static_cast<const float*>(matmul.args.y.data) + row * matmul.args.y.row_stride,
                            .type = dtype::fp32,
                            .row_stride = columns},
                      .y = narrow};
    one.y.data = expected.data() + row * stride * bits_of(y) / 8;
    if (has_block_scales(y)) one.y.block_scales = expected_scales.data() + row * scale_stride;
    if (host::quantise_rows(one) != status_code::ok) return "the CPU refuses\n";
  }
  if (written == 0) return "no row is written\n";
  std::int64_t wrong = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) wrong += codes[i] != expected[i] ? 1 : 0;
  for (std::size_t i = 0; i < expected_scales.size(); ++i) wrong += scales[i] != expected_scales[i] ? 1 : 0;
  return wrong == 0 ? "" : std::to_string(wrong) + " bytes differ\n";
}

void check_all(std::span<const matmul_kernel> all, dtype x, const case_spec& wanted) {
  for (const dtype y : {dtype::fp8_e4m3, dtype::mxfp8, dtype::mxfp4})
    for (const activation act : {activation::none, activation::swiglu})
      for (const matmul_kernel& kernel : all) {
        const int least = !has_block_scales(y) ? 1 : act == activation::swiglu ? 64 : 32;
        if (kernel.x != x || kernel.flags.block_n < least || wanted.n % least != 0) continue;
        case_spec spec = wanted;
        spec.x = x;
        spec.act = act;
        INFO(name_of(x) << " to " << name_of(y) << (act == activation::swiglu ? " behind swiglu" : "") << ", n "
                        << spec.n << ", k " << spec.k << ", tile " << kernel.flags.block_m << " x "
                        << kernel.flags.block_n);
        CHECK(compare(spec, kernel, y) == "");
      }
}

}  // namespace

TEST_CASE("simt mfma: narrow Y, the same bytes as from FP32", "[simt]") {
  for (const dtype x : {dtype::bf16, dtype::fp8_e4m3, dtype::mxfp8, dtype::mxfp4})
    for (const std::int64_t n : {96, 320})  // FP8: also half a block of 32 columns
      check_all(gfx950_kernels(), x,
                {.rows = {3, 0, 10}, .n = n, .k = 96, .scatter = n == 320, .gammas = n == 320, .seed = 2});
  check_all(gfx942_kernels(), dtype::bf16, {.rows = {9}, .n = 128, .k = 160, .gammas = true});
}

TEST_CASE("simt mfma: narrow Y, absent rows and more than a tile", "[simt]") {
  check_all(gfx950_kernels(), dtype::mxfp4,
            {.rows = {70, 1, 0, 5},
             .n = 576,
             .k = 64,
             .gather = true,
             .scatter = true,
             .absent = true,
             .bias = true,
             .gammas = true,
             .seed = 3});
  check_all(gfx950_kernels(), dtype::fp8_e4m3,
            {.rows = {33},
             .n = 64,
             .k = 64,
             .x_row_scales = true,
             .gather = true,
             .scatter = true,
             .absent = true,
             .seed = 4});
}

TEST_CASE("simt mfma: narrow Y of zeros, of NaN and of small numbers", "[simt]") {
  for (const int scale : {1, 40, 255})
    check_all(gfx950_kernels(), dtype::bf16,
              {.rows = {6}, .n = 128, .k = 64, .bias = false, .lowest_scale = scale, .highest_scale = scale});
}
