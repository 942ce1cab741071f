// L6: rows of X, W and Y between their formats and fp32.
// Knows: operands of matmul_args and how their elements lie in memory (any alignment, little-endian).
// Must not know: tiles, experts' row lists, instruction sets.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "../matmul_args.hpp"
#include "../mxfp4.hpp"
#include "../weights.hpp"
#include "kernel_table.hpp"

namespace tilefit::inline v0::detail {

static_assert(std::endian::native == std::endian::little, "operands are little-endian");

inline constexpr std::array<float, 256> e4m3_values = [] {
  std::array<float, 256> values{};
  for (std::size_t code = 0; code < values.size(); ++code)
    values[code] = e4m3_to_float(static_cast<std::uint8_t>(code));
  return values;
}();

inline const std::uint8_t* bytes_at(const void* data, std::int64_t offset) noexcept {
  return static_cast<const std::uint8_t*>(data) + offset;
}

/// Elements without block scales, `stride` elements apart, to floats. Not for mxfp8 and mxfp4.
inline void load_elements(dtype type, const void* data, std::int64_t first, std::int64_t stride, std::int64_t count,
                          float factor, float* out) noexcept {
  const std::int64_t size = bits_of(type) / 8;
  const std::uint8_t* from = bytes_at(data, first * size);
  if (type == dtype::fp32 && stride == 1) {
    std::memcpy(out, from, static_cast<std::size_t>(count) * sizeof(float));
  } else if (type == dtype::bf16 && stride == 1) {
    constexpr std::int64_t run = 32;  // a fixed count, so that compilers vectorise it
    std::uint16_t codes[run];
    std::int64_t i = 0;
    for (; i + run <= count; i += run) {
      std::memcpy(codes, from + 2 * i, sizeof codes);
      for (std::int64_t j = 0; j < run; ++j) out[i + j] = bf16_to_float(codes[j]);
    }
    if (i < count) {
      std::memcpy(codes, from + 2 * i, static_cast<std::size_t>(2 * (count - i)));
      for (std::int64_t j = 0; j < count - i; ++j) out[i + j] = bf16_to_float(codes[j]);
    }
  } else {
    for (std::int64_t i = 0; i < count; ++i, from += stride * size) {
      if (type == dtype::fp32) {
        std::memcpy(out + i, from, sizeof(float));
      } else if (type == dtype::fp8_e4m3) {
        out[i] = e4m3_values[*from] * factor;
      } else {
        std::uint16_t code = 0;
        std::memcpy(&code, from, sizeof code);
        out[i] = type == dtype::bf16 ? bf16_to_float(code) : fp16_to_float(code);
      }
    }
  }
}

/// A block of 32 elements of mxfp8 or mxfp4 and its values; encode_block returns the scale.
constexpr std::int64_t block_bytes(dtype type) noexcept {
  return type == dtype::mxfp4 ? mxfp4_block_bytes : mxfp8_block_bytes;
}
inline void decode_block(dtype type, const std::uint8_t* codes, std::uint8_t scale, float* out) noexcept {
  if (type == dtype::mxfp4)
    dequantize_mxfp4_block(codes, scale, out);
  else
    dequantize_mxfp8_block(codes, scale, out);
}
inline std::uint8_t encode_block(dtype type, const float* values, std::uint8_t* codes) noexcept {
  return type == dtype::mxfp4 ? quantize_mxfp4_block(values, codes) : quantize_mxfp8_block(values, codes);
}

inline float factor_of(dtype type, const float* scale) noexcept {
  return type == dtype::fp8_e4m3 && scale != nullptr ? *scale : 1.0f;
}

/// X[row, k0 ... k0 + count) as floats. With block scales k0 and count are multiples of 32.
inline void load_x(const x_operand& x, std::int64_t row, std::int64_t k0, std::int64_t count, float* out) noexcept {
  if (!has_block_scales(x.type)) {
    const std::int64_t first = x.transposed ? k0 * x.row_stride + row : row * x.row_stride + k0;
    const float row_factor = x.row_scales != nullptr ? x.row_scales[row] : 1.0f;
    load_elements(x.type, x.data, first, x.transposed ? x.row_stride : 1, count,
                  factor_of(x.type, x.scale) * row_factor, out);
    return;
  }
  const std::uint8_t* scales = x.block_scales + row * x.block_scale_stride + k0 / mx_block_size;
  const std::uint8_t* from = bytes_at(x.data, (row * x.row_stride + k0) * bits_of(x.type) / 8);
  for (std::int64_t b = 0; b < count / mx_block_size; ++b)
    decode_block(x.type, from + b * block_bytes(x.type), scales[b], out + b * mx_block_size);
}

/// X[row, k0 ... k0 + count) of a BF16 operand as it is.
inline void load_bf16_codes(const x_operand& x, std::int64_t row, std::int64_t k0, std::int64_t count,
                            std::uint16_t* out) noexcept {
  const std::int64_t stride = x.transposed ? x.row_stride : 1;
  const std::uint8_t* from = bytes_at(x.data, 2 * (x.transposed ? k0 * x.row_stride + row : row * x.row_stride + k0));
  if (stride == 1) {
    std::memcpy(out, from, static_cast<std::size_t>(2 * count));
  } else {
    for (std::int64_t i = 0; i < count; ++i) std::memcpy(out + i, from + 2 * i * stride, 2);
  }
}

/// A run of W[expert, n0 ..., k0 ...) as panel[depth][strip], for every format and layout, without hurry.
inline void widen_any(const matmul_args& args, int expert, std::int64_t n0, int columns, std::int64_t k0,
                      std::int64_t depth, int strip, float* panel) noexcept {
  const w_operand& w = args.w;
  constexpr std::int64_t run = mx_block_size;
  float values[run];
  for (int c = 0; c < strip; ++c) {
    const std::int64_t row = n0 + (c < columns ? c : columns - 1);
    for (std::int64_t k = 0; k < depth; k += run) {
      const std::int64_t count = depth - k < run ? depth - k : run;
      if (w.type == dtype::mxfp4) {
        weight_source source{bytes_at(w.data, expert * bytes_per_expert(w.layout, args.n, args.k)), w.block_scales};
        if (w.block_scales != nullptr) source.scales += expert * scale_bytes_per_expert(w.layout, args.n, args.k);
        const weight_block block = get_block(w.layout, args.n, args.k, row, (k0 + k) / run, source);
        dequantize_mxfp4_block(block.bytes, block.scale, values);
      } else {
        load_elements(w.type, w.data, (expert * args.n + row) * args.k + k0 + k, 1, count, factor_of(w.type, w.scale),
                      values);
      }
      for (std::int64_t i = 0; i < count; ++i) panel[(k + i) * strip + c] = values[i];
    }
  }
}

/// Bias, activation and gamma over `columns` sums; bias points at the first of them or is null. Returns how many
/// results there are.
inline std::int64_t finish_row(const matmul_args& args, const float* sums, std::int64_t columns, const float* bias,
                               float gamma, float* out) noexcept {
  const auto with_bias = [&](std::int64_t i) { return bias != nullptr ? sums[i] + bias[i] : sums[i]; };
  if (args.act == activation::none) {
    for (std::int64_t i = 0; i < columns; ++i) out[i] = with_bias(i) * gamma;
    return columns;
  }
  const swiglu_params& p = args.swiglu;
  for (std::int64_t i = 0; i < columns / 2; ++i) {
    // Comparisons are written so that NaN comes through.
    float gate = with_bias(2 * i);
    float up = with_bias(2 * i + 1);
    if (gate > p.limit) gate = p.limit;
    if (up > p.limit) up = p.limit;
    if (up < -p.limit) up = -p.limit;
    out[i] = (up + p.up_offset) * (gate / (1.0f + std::exp(-p.alpha * gate))) * gamma;
  }
  return columns / 2;
}

/// Y[row, column ... column + count) = or += values, which are overwritten. With block scales column and count are
/// multiples of 32.
inline void store_y(const matmul_args& args, std::int64_t row, std::int64_t column, std::int64_t count,
                    float* values) noexcept {
  const y_operand& y = args.y;
  const std::int64_t first = row * y.row_stride + column;
  const float factor = factor_of(y.type, y.scale);
  std::uint8_t* to = static_cast<std::uint8_t*>(y.data) + first * bits_of(y.type) / 8;
  if (has_block_scales(y.type)) {
    std::uint8_t* scales = y.block_scales + row * y.block_scale_stride + column / mx_block_size;
    for (std::int64_t b = 0; b < count / mx_block_size; ++b) {
      float* block = values + b * mx_block_size;
      std::uint8_t* codes = to + b * block_bytes(y.type);
      if (args.accumulate) {
        float old[mx_block_size];
        decode_block(y.type, codes, scales[b], old);
        for (int i = 0; i < mx_block_size; ++i) block[i] += old[i];
      }
      scales[b] = encode_block(y.type, block, codes);
    }
    return;
  }
  for (std::int64_t i = 0; i < count; ++i) {
    if (args.accumulate) {
      float old = 0.0f;
      load_elements(y.type, y.data, first + i, 1, 1, factor, &old);
      values[i] += old;
    }
    if (y.type == dtype::fp32) {
      std::memcpy(to + 4 * i, values + i, sizeof(float));
    } else if (y.type == dtype::fp8_e4m3) {
      to[i] = float_to_scaled_e4m3(values[i], factor);
    } else {
      const std::uint16_t code = y.type == dtype::bf16 ? float_to_bf16(values[i]) : float_to_fp16(values[i]);
      std::memcpy(to + 2 * i, &code, sizeof code);
    }
  }
}

}  // namespace tilefit::inline v0::detail
