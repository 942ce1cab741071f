// L6: the CPU backend's inner functions in plain C++.
// Knows: arithmetic and the layouts of kernel_table.hpp.
// Must not know: any instruction set.
#pragma once

#include <cstdint>

#include "../mxfp4.hpp"
#include "kernel_table.hpp"

namespace tilefit::inline v0::detail {

struct portable_kernels {
  static constexpr int strip = 16;

  static void widen_mxfp4(const packed_rows& w, int columns, int blocks, float* panel) {
    for (int c = 0; c < strip; ++c) {
      const std::int64_t row = c < columns ? c : columns - 1;
      for (int b = 0; b < blocks; ++b) {
        float values[mx_block_size];
        dequantize_mxfp4_block(w.values + row * w.value_stride + b * mxfp4_block_bytes,
                               w.scales[row * w.scale_stride + b], values);
        for (int i = 0; i < mx_block_size; ++i) panel[(b * mx_block_size + i) * strip + c] = values[i];
      }
    }
  }

  template <int Rows>
  static void multiply_rows(const float* x, std::int64_t x_stride, const float* panel, int depth, float* acc,
                            std::int64_t acc_stride) {
    float sum[Rows][strip];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
      for (int c = 0; c < strip; ++c) sum[r][c] = acc[r * acc_stride + c];
    for (int k = 0; k < depth; ++k)
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        const float value = x[r * x_stride + k];
        for (int c = 0; c < strip; ++c) sum[r][c] += value * panel[k * strip + c];
      }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
      for (int c = 0; c < strip; ++c) acc[r * acc_stride + c] = sum[r][c];
  }

  static void multiply(const x_rows& x, const float* panel, int depth, const accumulators& acc) {
    int r = 0;
    for (; r + 2 <= x.rows; r += 2)
      multiply_rows<2>(x.data + r * x.stride, x.stride, panel, depth, acc.data + r * acc.stride, acc.stride);
    if (r < x.rows)
      multiply_rows<1>(x.data + r * x.stride, x.stride, panel, depth, acc.data + r * acc.stride, acc.stride);
  }

  static constexpr kernel_table table{host::isa::portable, strip, widen_mxfp4, multiply, nullptr, nullptr};
};

}  // namespace tilefit::inline v0::detail
