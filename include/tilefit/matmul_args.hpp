// L3: what a launch of matmul_ogs is given, on the CPU and on GPUs alike.
// Knows: pointers, strides, row indices, epilogue numbers and what makes them contradict each other.
// Must not know: tiles, chips, how anything is computed.
// Plain data: copied into a kernel's parameters as it is.
#pragma once

#include <cstddef>
#include <cstdint>

#include "detail/config.hpp"
#include "detail/math.hpp"
#include "dtype.hpp"
#include "matmul_problem.hpp"
#include "status.hpp"
#include "weight_layout.hpp"

namespace tilefit::inline v0 {

// Arrays of float and int32 have the alignment of their type. Data of X, W and Y and all byte arrays may start anywhere
// for the CPU backend.

/// X[rows, k]: every dtype. A value is element * scale (block scale of mxfp8 / mxfp4; `scale` * `row_scales[row]` of
/// fp8_e4m3).
struct x_operand {
  const void* data = nullptr;
  dtype type = dtype::bf16;
  std::int64_t rows = 0;        ///< rows that exist; gather_indx points at these
  std::int64_t row_stride = 0;  ///< elements from one row to the next (transposed: from one k to the next)
  bool transposed = false;      ///< element (row, k) at k * row_stride + row; not for mxfp8 and mxfp4
  const std::uint8_t* block_scales = nullptr;  ///< E8M0 [rows, k / 32] of mxfp8 and mxfp4
  std::int64_t block_scale_stride = 0;         ///< bytes from one row of block_scales to the next
  const float* scale = nullptr;                ///< one number for an fp8_e4m3 operand; null = 1
  const float* row_scales = nullptr;           ///< [rows] of an fp8_e4m3 operand, null for every other; null = 1
};

/// W[experts, n, k]: mxfp4 in any `weight_layout`; fp32, bf16, fp16 or fp8_e4m3 as contiguous rows of k (row_major).
struct w_operand {
  const void* data = nullptr;
  dtype type = dtype::mxfp4;
  weight_layout layout = weight_layout::row_major;
  const std::uint8_t* block_scales = nullptr;  ///< E8M0 [experts, n, k / 32] of row_major mxfp4; other layouts: null
  const float* scale = nullptr;                ///< one number for fp8_e4m3; null = 1
};

/// Y[rows, columns]: every dtype. columns = n, or n / 2 behind swiglu. An element stored is value / scale; mxfp8 and
/// mxfp4 are rounded as mxfp4.hpp says, in blocks of 32 columns.
struct y_operand {
  void* data = nullptr;
  dtype type = dtype::bf16;
  std::int64_t rows = 0;                 ///< rows that exist; with topk > 1: rows after the reduction
  std::int64_t row_stride = 0;           ///< elements from one row to the next
  std::uint8_t* block_scales = nullptr;  ///< E8M0 [rows, columns / 32] of mxfp8 and mxfp4 (written)
  std::int64_t block_scale_stride = 0;   ///< bytes from one row of block_scales to the next
  const float* scale = nullptr;          ///< one number for an fp8_e4m3 result; null = 1
};

/// gate = min(gate, limit); up = clamp(up, -limit, limit); y = (up + up_offset) * gate * sigmoid(alpha * gate).
/// Gate is the even column and up the odd one. The defaults are GPT-OSS's
/// (huggingface/transformers, models/gpt_oss/modeling_gpt_oss.py, GptOssExperts). limit = infinity switches it off.
struct swiglu_params {
  float alpha = 1.702f;
  float limit = 7.0f;
  float up_offset = 1.0f;
};

/// Y[dst(i), :] (+)= act(X[src(i), :] * W[e(i)]^T + bias[e(i)]) * gammas[i] for the m rows i, sorted by expert.
///
/// Absent rows. Row i is absent when gather_indx[i] is -1, or scatter_indx[i] is -1, or i >= expert_offsets[experts].
/// Nothing is computed for it (its bias neither) and nothing is written for it:
///   * topk == 1: a row of Y that no present row goes to keeps its old content, unless `write_every_row`;
///   * topk  > 1 or `write_every_row`: every row of Y is written; the sum runs over the present rows alone, so a token
///     that is routed nowhere gets zeros (with `accumulate`: its old content).
struct matmul_args {
  std::int64_t m = 0;  ///< rows of the matmul (tokens * topk in an MoE layer); 0 = nothing is written
  std::int64_t n = 0;  ///< rows of W, before swiglu halves them
  std::int64_t k = 0;
  int experts = 1;
  x_operand x = {};
  w_operand w = {};
  y_operand y = {};
  const float* bias = nullptr;                   ///< [experts, n]
  const std::int32_t* expert_offsets = nullptr;  ///< [experts + 1], ascending from 0, last <= m; null: experts == 1
  const std::int32_t* gather_indx = nullptr;     ///< [m] row of X, -1 = absent; null: src(i) = i
  const std::int32_t* scatter_indx = nullptr;    ///< [m] see topk, -1 = absent, no value twice; null: i
  const float* gammas = nullptr;                 ///< [m] factor of row i, behind the activation; null: 1
  int topk = 1;  ///< rows summed into one row of Y: value s of scatter_indx is part s % topk of row s / topk
  bool write_every_row = false;  ///< rows of Y that no present row goes to become zeros, with topk == 1 too
  activation act = activation::none;
  swiglu_params swiglu = {};
  bool accumulate = false;  ///< Y is read and added to, in fp32, before it is rounded
  void* workspace = nullptr;
  std::size_t workspace_bytes = 0;
};

/// Columns of Y.
TILEFIT_HD constexpr std::int64_t output_columns(const matmul_args& args) noexcept {
  return args.act == activation::swiglu ? args.n / 2 : args.n;
}

/// True when all rows of Y are written, not only those that a present row goes to.
TILEFIT_HD constexpr bool writes_every_row(const matmul_args& args) noexcept {
  return args.topk > 1 || args.write_every_row;
}

/// Checks everything that can be checked without reading through a pointer: ok, empty (m, n or experts is 0),
/// unsupported_dtype, unsupported_feature or invalid_argument.
TILEFIT_HD constexpr status_code check_args(const matmul_args& args) noexcept {
  constexpr std::int64_t most = INT32_MAX;
  constexpr std::int64_t largest_matrix = std::int64_t{1} << 56;  // elements; keeps every offset below 2^63
  constexpr status_code bad = status_code::invalid_argument;
  const x_operand& x = args.x;
  const w_operand& w = args.w;
  const y_operand& y = args.y;
  if (args.m < 0 || args.n < 0 || args.experts < 0 || args.m > most || args.n > most || args.k > most) return bad;
  if (args.m == 0 || args.n == 0 || args.experts == 0) return status_code::empty;
  if (args.k <= 0 || x.rows < 0 || x.rows > most || y.rows < 0 || y.rows > most || args.topk < 1) return bad;
  if (y.rows * args.topk > most) return bad;
  if (detail::saturating_mul(detail::saturating_mul(args.experts, args.n), args.k) > largest_matrix) return bad;
  if (x.row_stride > largest_matrix / (x.rows + args.k) || y.row_stride > largest_matrix / (y.rows + 1)) return bad;
  if (x.data == nullptr || w.data == nullptr || y.data == nullptr) return bad;
  if (args.expert_offsets == nullptr && args.experts != 1) return bad;
  if (args.gather_indx == nullptr && args.m > x.rows) return bad;
  if (args.scatter_indx == nullptr && args.m > y.rows * args.topk) return bad;

  const std::int64_t x_least = x.transposed ? x.rows : args.k;
  if (x.row_stride < x_least) return bad;
  if (has_block_scales(x.type)) {
    if (x.transposed) return status_code::unsupported_feature;
    if (args.k % 32 != 0 || x.block_scales == nullptr || x.block_scale_stride < args.k / 32) return bad;
    if (x.type == dtype::mxfp4 && x.row_stride % 2 != 0) return bad;
  }
  if (x.row_scales != nullptr && x.type != dtype::fp8_e4m3) return bad;

  if (w.type == dtype::mxfp8) return status_code::unsupported_dtype;
  if (w.type == dtype::mxfp4) {
    if (args.k % 32 != 0 || args.n % 32 != 0) return bad;
    if ((w.layout == weight_layout::row_major) != (w.block_scales != nullptr)) return bad;
  } else if (w.layout != weight_layout::row_major) {
    return bad;
  }

  if (args.act == activation::swiglu) {
    constexpr float infinity = __builtin_huge_valf();
    const swiglu_params& s = args.swiglu;
    if (args.n % 2 != 0 || !(s.limit > 0.0f)) return bad;
    if (!(s.alpha > -infinity && s.alpha < infinity) || !(s.up_offset > -infinity && s.up_offset < infinity))
      return bad;
  }

  const std::int64_t columns = output_columns(args);
  if (y.row_stride < columns) return bad;
  if (has_block_scales(y.type)) {
    if (columns % 32 != 0 || y.block_scales == nullptr || y.block_scale_stride < columns / 32) return bad;
    if (y.type == dtype::mxfp4 && y.row_stride % 2 != 0) return bad;
  }
  return status_code::ok;
}

}  // namespace tilefit::inline v0
