// Y in FP8, MXFP8 and MXFP4 from a matmul's kernel, against quantise_rows of the same kernel's Y in FP32.
// Knows: where narrow rows lie, which of them are written. Must not know: tiles, which cases are worth trying.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "matmul_case.hpp"
#include "tilefit/host/quantise_rows.hpp"

namespace tilefit_simt {

/// What differs on a grid of so many blocks, 0 for a block for each tile, or nothing.
inline std::string compare_narrow(case_spec spec, const matmul_kernel& kernel, dtype y, unsigned blocks,
                                  int warp_size) {
  spec.y = dtype::fp32;
  spec.layout = kernel.layout;
  matmul_case matmul(spec);
  simt::memory& memory = matmul.memory;
  const std::int64_t tiles = kernels::most_row_tiles(matmul.args.m, matmul.args.experts, kernel.flags.block_m) *
                             detail::ceil_div(spec.n, kernel.flags.block_n);
  const unsigned grid = blocks != 0 ? blocks : static_cast<unsigned>(tiles);
  const simt::grid_options options{.warp_size = warp_size, .seed = spec.seed};
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
      executor.run({.grid = grid,
                    .block = static_cast<unsigned>(kernel.threads),
                    .shared_bytes = has_block_scales(y) ? kernel.smem_bytes_of_blocks : kernel.smem_bytes},
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

}  // namespace tilefit_simt
