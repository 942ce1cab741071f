// Rows of X in watched memory, in every format that kernels take.
// Knows: formats, scales.
// Must not know: matmuls.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "tilefit/device/simt/memory.hpp"
#include "tilefit/dtype.hpp"
#include "tilefit/float_formats.hpp"
#include "tilefit/matmul_args.hpp"
#include "tilefit/mxfp4.hpp"

namespace tilefit_simt {

using namespace tilefit;

inline double load_number(dtype type, const void* data, std::int64_t i) {
  const auto* const halves = static_cast<const std::uint16_t*>(data);
  if (type == dtype::fp32) return static_cast<double>(static_cast<const float*>(data)[i]);
  return static_cast<double>(type == dtype::bf16 ? bf16_to_float(halves[i]) : fp16_to_float(halves[i]));
}
inline void store_number(dtype type, void* data, std::int64_t i, float value) {
  if (type == dtype::fp32)
    static_cast<float*>(data)[i] = value;
  else
    static_cast<std::uint16_t*>(data)[i] = type == dtype::bf16 ? float_to_bf16(value) : float_to_fp16(value);
}

/// An operand and the numbers that it stands for.
struct x_rows {
  x_operand operand;
  std::vector<float> numbers;  ///< [rows, k]
};

/// Stores `numbers` [rows, k], rounded to the format. `padded`: bytes of 0xFF (NaN where the format has one) behind
/// each row and its scales. `per_row`: FP8 with a scale for each row beside the one for all.
inline x_rows store_x(simt::memory& memory, dtype type, std::vector<float> numbers, std::int64_t rows, std::int64_t k,
                      bool padded, bool per_row = false) {
  using enum simt::memory_use;
  const std::int64_t padding = !padded ? 0 : has_block_scales(type) ? 32 : 16;
  const std::int64_t stride = k + padding, blocks = k / 32;
  const auto bytes = static_cast<std::size_t>(rows * stride * bits_of(type) / 8);
  auto* const data = static_cast<std::uint8_t*>(memory.take(bytes, "X", input));
  std::memset(data, 0xFF, bytes);
  x_rows x{.operand = {.data = data, .type = type, .rows = rows, .row_stride = stride}, .numbers = std::move(numbers)};
  if (has_block_scales(type)) {
    const std::int64_t scale_stride = blocks + (padded ? 3 : 0);
    auto* const scales = memory.take<std::uint8_t>(rows * scale_stride, "scales of X", input);
    std::memset(scales, 0xFF, static_cast<std::size_t>(rows * scale_stride));
    x.operand.block_scales = scales;
    x.operand.block_scale_stride = scale_stride;
    for (std::int64_t row = 0; row < rows; ++row)
      for (std::int64_t block = 0; block < blocks; ++block) {
        float* const of = x.numbers.data() + row * k + 32 * block;
        std::uint8_t& scale = scales[row * scale_stride + block];
        std::uint8_t* const codes = data + (row * stride + 32 * block) * bits_of(type) / 8;
        if (type == dtype::mxfp8) {
          scale = quantize_mxfp8_block(of, codes);
          dequantize_mxfp8_block(codes, scale, of);
        } else {
          scale = quantize_mxfp4_block(of, codes);
          dequantize_mxfp4_block(codes, scale, of);
        }
      }
    return x;
  }
  float scale = 1.0f;
  if (type == dtype::fp8_e4m3) {
    float largest = 0;
    for (const float number : x.numbers) largest = number > largest ? number : -number > largest ? -number : largest;
    scale = largest / 400.0f;
    float* const to = memory.take<float>(1, "scale of X", input);
    *to = scale;
    x.operand.scale = to;
  }
  std::vector<float> factors(static_cast<std::size_t>(rows), scale);
  if (type == dtype::fp8_e4m3 && per_row) {
    float* const to = memory.take<float>(rows, "scales of rows of X", input);
    for (std::int64_t row = 0; row < rows; ++row) {
      to[row] = 0.3f + 0.01f * static_cast<float>(row % 89);
      factors[static_cast<std::size_t>(row)] = scale * to[row];
    }
    x.operand.row_scales = to;
  }
  for (std::int64_t i = 0; i < rows * k; ++i) {
    const std::int64_t at = i / k * stride + i % k;
    float& number = x.numbers[static_cast<std::size_t>(i)];
    if (type == dtype::fp8_e4m3) {
      const float factor = factors[static_cast<std::size_t>(i / k)];
      data[at] = float_to_e4m3(number / factor);
      number = factor * e4m3_to_float(data[at]);
    } else {
      store_number(type, data, at, number);
      number = static_cast<float>(load_number(type, data, at));
    }
  }
  return x;
}

}  // namespace tilefit_simt
