// A random matmul_ogs call with owned, guarded buffers, and the same thing in plain double arithmetic.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "tilefit/float_formats.hpp"
#include "tilefit/host/matmul_ogs.hpp"
#include "tilefit/mxfp4.hpp"
#include "tilefit/routing.hpp"
#include "tilefit/weights.hpp"

namespace tilefit_test {

using namespace tilefit;

struct case_spec {
  std::int64_t tokens = 8;
  int experts = 4;
  int topk = 2;
  std::int64_t n = 96;
  std::int64_t k = 96;
  dtype x = dtype::fp32;
  dtype w = dtype::mxfp4;
  dtype y = dtype::fp32;
  weight_layout layout = weight_layout::row_major;
  activation act = activation::none;
  bool gather = true;
  bool scatter = true;  ///< with gammas and the sum over topk
  bool bias = true;
  bool accumulate = false;
  bool transposed = false;
  bool row_scales = false;  ///< of X in fp8_e4m3
  bool every_row = false;
  bool absent = false;  ///< some indices become -1
  int hot_experts = 0;  ///< > 0: all tokens choose among the first so many
  unsigned seed = 1;
  swiglu_params swiglu = {};
};

inline constexpr unsigned char poison = 0xA5;
inline constexpr std::size_t guard = 256;

/// Bytes between two guard zones, all poisoned.
struct guarded {
  std::vector<unsigned char> bytes;
  explicit guarded(std::size_t size = 0) : bytes(size + 2 * guard, poison) {}
  unsigned char* data() { return bytes.data() + guard; }
  std::size_t size() const { return bytes.size() - 2 * guard; }
  bool guards_hold() const {
    for (std::size_t i = 0; i < guard; ++i)
      if (bytes[i] != poison || bytes[bytes.size() - 1 - i] != poison) return false;
    return true;
  }
};

inline std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

/// Elements of a row-major matrix encoded as `type`; `values` becomes what the codes say.
struct encoded {
  std::vector<std::uint8_t> bytes;
  std::vector<std::uint8_t> scales;
};

/// `row_scales`: of fp8_e4m3, a factor of `scale` for each row; empty = 1.
inline encoded encode(dtype type, std::int64_t rows, std::int64_t columns, float scale, std::vector<float>& values,
                      const std::vector<float>& row_scales = {}) {
  encoded out;
  out.bytes.resize(at(rows * columns * bits_of(type) / 8));
  if (has_block_scales(type)) {
    out.scales.resize(at(rows * columns / 32));
    for (std::size_t b = 0; b < out.scales.size(); ++b) {
      float* block = values.data() + 32 * b;
      if (type == dtype::mxfp4) {
        out.scales[b] = quantize_mxfp4_block(block, out.bytes.data() + 16 * b);
        dequantize_mxfp4_block(out.bytes.data() + 16 * b, out.scales[b], block);
      } else {
        out.scales[b] = quantize_mxfp8_block(block, out.bytes.data() + 32 * b);
        dequantize_mxfp8_block(out.bytes.data() + 32 * b, out.scales[b], block);
      }
    }
    return out;
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (type == dtype::fp32) {
      std::memcpy(out.bytes.data() + 4 * i, &values[i], 4);
    } else if (type == dtype::fp8_e4m3) {
      const float factor = row_scales.empty() ? scale : scale * row_scales[i / at(columns)];
      out.bytes[i] = float_to_e4m3(values[i] / factor);
      values[i] = e4m3_to_float(out.bytes[i]) * factor;
    } else {
      const std::uint16_t code = type == dtype::bf16 ? float_to_bf16(values[i]) : float_to_fp16(values[i]);
      std::memcpy(out.bytes.data() + 2 * i, &code, 2);
      values[i] = type == dtype::bf16 ? bf16_to_float(code) : fp16_to_float(code);
    }
  }
  return out;
}

/// Element i of an array of `type` without block scales.
inline float decode_one(dtype type, const unsigned char* data, std::int64_t i, float scale) {
  if (type == dtype::fp8_e4m3) return e4m3_to_float(data[i]) * scale;
  if (type == dtype::fp32) {
    float value = 0;
    std::memcpy(&value, data + 4 * i, 4);
    return value;
  }
  std::uint16_t code = 0;
  std::memcpy(&code, data + 2 * i, 2);
  return type == dtype::bf16 ? bf16_to_float(code) : fp16_to_float(code);
}

class matmul_case {
 public:
  explicit matmul_case(const case_spec& s) : spec(s), columns(s.act == activation::swiglu ? s.n / 2 : s.n) {
    std::mt19937 random(s.seed);
    std::normal_distribution<float> normal;
    const std::int64_t rows = s.tokens * s.topk;
    const auto fill = [&](std::vector<float>& v, std::int64_t count, float factor) {
      v.resize(at(count));
      for (float& value : v) value = normal(random) * factor;
    };
    const std::int64_t x_rows_count = s.gather ? s.tokens : rows;
    fill(x_values, x_rows_count * s.k, 1.0f);
    fill(w_values, s.experts * s.n * s.k, 1.0f / std::sqrt(static_cast<float>(s.k)));
    fill(bias, s.experts * s.n, 0.5f);
    for (std::int64_t r = 0; s.row_scales && r < x_rows_count; ++r)
      row_scales.push_back(0.05f + std::ldexp(normal(random) * normal(random), -static_cast<int>(r % 3)));
    for (float& scale : row_scales) scale = std::fabs(scale) + 0.01f;
    x_data = encode(s.x, x_rows_count, s.k, x_scale, x_values, row_scales);
    w_data = encode(s.w, s.experts * s.n, s.k, w_scale, w_values);
    if (s.transposed) {
      const std::size_t size = at(bits_of(s.x) / 8);
      std::vector<std::uint8_t> turned(x_data.bytes.size());
      for (std::size_t r = 0; r < at(x_rows_count); ++r)
        for (std::size_t k = 0; k < at(s.k); ++k)
          std::memcpy(&turned[(k * at(x_rows_count) + r) * size], &x_data.bytes[(r * at(s.k) + k) * size], size);
      x_data.bytes = turned;
    }
    if (s.layout != weight_layout::row_major) {
      std::vector<std::uint8_t> packed(at(s.experts * bytes_per_expert(s.layout, s.n, s.k)));
      const weight_shape shape{s.experts, s.n, s.k};
      setup = shuffle_weights(s.layout, shape, {w_data.bytes.data(), w_data.scales.data()}, {packed.data(), nullptr});
      w_data.bytes = packed;
    }

    std::vector<float> logits;
    fill(logits, s.tokens * s.experts, 1.0f);
    for (std::int64_t i = 0; s.hot_experts > 0 && i < s.tokens * s.experts; ++i)
      if (i % s.experts >= s.hot_experts) logits[at(i)] -= 100.0f;
    const routing_shape shape{s.tokens, s.experts, s.topk};
    std::vector<std::int32_t> index(at(rows)), histogram(at(s.experts));
    std::vector<float> weight(at(rows));
    offsets.resize(at(s.experts + 1));
    gather.resize(at(rows));
    scatter.resize(at(rows));
    gammas.resize(at(rows));
    if (succeeded(setup) && s.tokens > 0) setup = choose_experts<float>(shape, logits, index, weight);
    if (succeeded(setup)) setup = sort_rows(shape, index, weight, {}, {histogram, offsets, gather, scatter, gammas});
    for (std::size_t i = 0; s.absent && i < gather.size(); ++i) {
      if (random() % 4 == 0) gather[i] = -1;
      if (random() % 5 == 0) scatter[i] = -1;
    }
    // A token that is routed nowhere at all.
    for (std::size_t i = 0; s.absent && i < gather.size(); ++i)
      if (scatter[i] >= 0 && scatter[i] / s.topk == s.tokens / 2) scatter[i] = -1;

    y_rows = s.scatter ? s.tokens : rows;
    y_stride = columns + 32;
    y = guarded(at(y_rows * y_stride * bits_of(s.y) / 8));
    y_scales = guarded(at(y_rows * (y_stride / 32)));
    args = {.m = rows,
            .n = s.n,
            .k = s.k,
            .experts = s.experts,
            .x = {.data = x_data.bytes.data(),
                  .type = s.x,
                  .rows = x_rows_count,
                  .row_stride = s.transposed ? x_rows_count : s.k,
                  .transposed = s.transposed,
                  .block_scales = x_data.scales.empty() ? nullptr : x_data.scales.data(),
                  .block_scale_stride = s.k / 32,
                  .scale = &x_scale,
                  .row_scales = s.row_scales ? row_scales.data() : nullptr},
            .w = {.data = w_data.bytes.data(),
                  .type = s.w,
                  .layout = s.layout,
                  .block_scales =
                      s.w == dtype::mxfp4 && s.layout == weight_layout::row_major ? w_data.scales.data() : nullptr,
                  .scale = &w_scale},
            .y = {.data = y.data(),
                  .type = s.y,
                  .rows = y_rows,
                  .row_stride = y_stride,
                  .block_scales = y_scales.data(),
                  .block_scale_stride = y_stride / 32,
                  .scale = &y_scale},
            .bias = s.bias ? bias.data() : nullptr,
            .expert_offsets = offsets.data(),
            .gather_indx = s.gather ? gather.data() : nullptr,
            .scatter_indx = s.scatter ? scatter.data() : nullptr,
            .gammas = s.scatter ? gammas.data() : nullptr,
            .topk = s.scatter ? s.topk : 1,
            .write_every_row = s.every_row,
            .act = s.act,
            .swiglu = s.swiglu,
            .accumulate = s.accumulate};
    if (s.accumulate) {
      std::vector<float> old;
      fill(old, y_rows * y_stride, 1.0f);
      const encoded codes = encode(s.y, y_rows, y_stride, y_scale, old);
      std::memcpy(y.data(), codes.bytes.data(), codes.bytes.size());
      if (has_block_scales(s.y)) std::memcpy(y_scales.data(), codes.scales.data(), codes.scales.size());
      y_before = old;
    }
  }
  matmul_case(const matmul_case&) = delete;
  matmul_case& operator=(const matmul_case&) = delete;

  status_code run(const opt_flags& flags, const host::execution& how = {}) {
    workspace = guarded(host::workspace_bytes(args, flags, how));
    args.workspace = workspace.data();
    args.workspace_bytes = workspace.size();
    return host::matmul_ogs(args, flags, how);
  }

  /// The whole contract in double: result [y_rows, columns]; `written[row]` says whether anything goes there.
  std::vector<double> reference(std::vector<bool>& written) const {
    std::vector<double> out(at(y_rows * columns), 0.0);
    written.assign(at(y_rows), args.topk > 1 || spec.every_row);
    std::vector<double> sums(at(spec.n));
    for (std::int64_t e = 0; e < spec.experts; ++e)
      for (std::int64_t i = offsets[at(e)]; i < offsets[at(e + 1)]; ++i) {
        const std::int64_t from = spec.gather ? gather[at(i)] : i;
        const std::int64_t to = spec.scatter ? scatter[at(i)] : i;
        if (from < 0 || to < 0) continue;
        for (std::int64_t c = 0; c < spec.n; ++c) {
          double sum = 0;
          for (std::int64_t k = 0; k < spec.k; ++k)
            sum += double{x_values[at(from * spec.k + k)]} * double{w_values[at((e * spec.n + c) * spec.k + k)]};
          sums[at(c)] = sum + (spec.bias ? double{bias[at(e * spec.n + c)]} : 0.0);
        }
        const double gamma = spec.scatter ? double{gammas[at(i)]} : 1.0;
        const std::int64_t row = to / args.topk;
        written[at(row)] = true;
        for (std::int64_t c = 0; c < columns; ++c) {
          double value = sums[at(c)];
          if (spec.act == activation::swiglu) {
            const double limit = double{spec.swiglu.limit};
            const double gate = std::fmin(sums[at(2 * c)], limit);
            const double up = std::fmax(std::fmin(sums[at(2 * c + 1)], limit), -limit);
            value = (up + double{spec.swiglu.up_offset}) * gate / (1.0 + std::exp(-double{spec.swiglu.alpha} * gate));
          }
          out[at(row * columns + c)] += value * gamma;
        }
      }
    for (std::int64_t r = 0; spec.accumulate && r < y_rows; ++r)
      for (std::int64_t c = 0; c < columns; ++c) out[at(r * columns + c)] += double{y_before[at(r * y_stride + c)]};
    return out;
  }

  /// Row `row` of Y as floats.
  std::vector<float> result(std::int64_t row) {
    std::vector<float> out(at(columns));
    for (std::int64_t c = 0; c < columns; c += 32) {
      if (has_block_scales(spec.y)) {
        detail::decode_block(spec.y, y.data() + (row * y_stride + c) * bits_of(spec.y) / 8,
                             y_scales.data()[row * (y_stride / 32) + c / 32], out.data() + c);
        continue;
      }
      for (std::int64_t i = c; i < c + 32 && i < columns; ++i)
        out[at(i)] = decode_one(spec.y, y.data(), row * y_stride + i, y_scale);
    }
    return out;
  }

  /// Largest ||y - ref|| / ||ref|| of a row; infinity where a byte was written that must not be, or NaN came out.
  double worst_row_error() {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    if (!y.guards_hold() || !y_scales.guards_hold() || !workspace.guards_hold()) return infinity;
    std::vector<bool> written;
    const std::vector<double> expected = reference(written);
    double worst = 0;
    const std::size_t row_bytes = at(y_stride * bits_of(spec.y) / 8);
    const std::size_t used_bytes = at(columns * bits_of(spec.y) / 8);
    for (std::int64_t r = 0; r < y_rows; ++r) {
      const std::size_t first = written[at(r)] ? used_bytes : 0;
      for (std::size_t b = first; !spec.accumulate && b < row_bytes; ++b)
        if (y.data()[at(r) * row_bytes + b] != poison) return infinity;
      if (!written[at(r)] && !spec.accumulate) continue;
      const std::vector<float> got = result(r);
      double wrong = 0, norm = 0;
      for (std::int64_t c = 0; c < columns; ++c) {
        const double ref = expected[at(r * columns + c)];
        wrong += (double{got[at(c)]} - ref) * (double{got[at(c)]} - ref);
        norm += ref * ref;
      }
      const double error = std::sqrt(wrong) / (std::sqrt(norm) + (norm > 0 ? 0.0 : 1.0));
      if (!(error <= worst)) worst = error == error ? error : infinity;
    }
    return worst;
  }

  case_spec spec;
  std::int64_t columns = 0, y_rows = 0, y_stride = 0;
  float x_scale = 0.25f, w_scale = 0.01f, y_scale = 0.03f;
  std::vector<float> x_values, row_scales, w_values, bias, gammas, y_before;
  std::vector<std::int32_t> offsets, gather, scatter;
  encoded x_data, w_data;
  guarded y, y_scales, workspace;
  status_code setup = status_code::ok;
  matmul_args args;
};

}  // namespace tilefit_test
