// L3: what a call that quantises rows is given, on the CPU and on GPUs alike.
// Knows: operands, and what makes them contradict each other.
// Must not know: chips, how anything is computed.
// Plain data: copied into a kernel's parameters as it is.
#pragma once

#include <cstdint>

#include "detail/config.hpp"
#include "detail/math.hpp"
#include "dtype.hpp"
#include "launch_status.hpp"
#include "matmul_args.hpp"
#include "mxfp4.hpp"
#include "status.hpp"

namespace tilefit::inline v0 {

/// Y[rows, columns] = X[rows, columns] in a narrower format: what the next matmul reads as its X.
///   * fp8_e4m3: value / scale, saturated to 448 (float_to_scaled_e4m3; NaN stays NaN). The scale is y.scale, one for
///     all (null: 1), or with `row_scales` e4m3_row_scale of each row, which is written there.
///   * mxfp8, mxfp4: blocks of 32 columns as quantize_mxfp8_block and quantize_mxfp4_block have them. What a last block
///     lacks is zeros: Y has align_up(columns, 32) columns.
/// The bytes are the same on every device, where kernels are compiled without the compiler's fast arithmetic (nvcc
/// --use_fast_math, clang -ffast-math).
struct quantise_args {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  x_operand x = {};             ///< fp32, bf16 or fp16, not transposed; x.rows is not looked at
  y_operand y = {};             ///< fp8_e4m3, mxfp8 or mxfp4; y.rows is not looked at
  float* row_scales = nullptr;  ///< [rows], written: x_operand::row_scales of the result; fp8_e4m3 alone
};

/// Columns of Y.
TILEFIT_HD constexpr std::int64_t output_columns(const quantise_args& args) noexcept {
  return has_block_scales(args.y.type) ? detail::align_up(args.columns, mx_block_size) : args.columns;
}

/// What is wrong with arguments, as far as it can be seen without reading through a pointer; nothing when they are
/// right. empty: no rows or no columns, nothing is written.
constexpr refusal refuse_quantise(const quantise_args& args) noexcept {
  using enum status_code;
  constexpr std::int64_t most = INT32_MAX;
  constexpr std::int64_t largest_matrix = std::int64_t{1} << 56;  // as in check_args
  const x_operand& x = args.x;
  const y_operand& y = args.y;
  if (args.rows < 0) return detail::bad_number("rows", args.rows, relation::at_least, 0);
  if (args.rows > most) return detail::bad_number("rows", args.rows, relation::at_most, most);
  if (args.columns < 0) return detail::bad_number("columns", args.columns, relation::at_least, 0);
  if (args.columns > most) return detail::bad_number("columns", args.columns, relation::at_most, most);
  if (args.rows == 0) return detail::nothing_to_do("rows");
  if (args.columns == 0) return detail::nothing_to_do("columns");
  if (bits_of(x.type) < 16)
    return {unsupported_dtype,        "number of bits of X", bits_of(x.type), relation::at_least, 16,
            "X is bf16, fp16 or fp32"};
  if (bits_of(y.type) > 8)
    return {unsupported_dtype,
            "number of bits of Y",
            bits_of(y.type),
            relation::at_most,
            8,
            "Y is fp8_e4m3, mxfp8 or mxfp4"};
  if (x.transposed) return {unsupported_feature, "x.transposed", 1, relation::exactly, 0, "rows are read"};
  if (x.data == nullptr) return detail::missing("X");
  if (y.data == nullptr) return detail::missing("Y");
  const std::int64_t columns = output_columns(args);
  if (x.row_stride < args.columns)
    return detail::bad_number("row stride of X", x.row_stride, relation::at_least, args.columns);
  if (y.row_stride < columns) return detail::bad_number("row stride of Y", y.row_stride, relation::at_least, columns);
  for (const std::int64_t stride : {x.row_stride, y.row_stride})
    if (stride > largest_matrix / args.rows)
      return detail::bad_number("row stride", stride, relation::at_most, largest_matrix / args.rows);
  if (args.row_scales != nullptr && y.scale != nullptr)
    return {invalid_argument, "scale of Y", 1, relation::absent, 0, "every row gets a scale of its own"};
  if (!has_block_scales(y.type)) return {};
  if (y.type == dtype::mxfp4 && y.row_stride % 2 != 0)
    return detail::bad_number("row stride of Y", y.row_stride, relation::multiple_of, 2);
  if (y.block_scales == nullptr) return detail::missing("block scales of Y");
  const std::int64_t blocks = columns / mx_block_size;
  if (y.block_scale_stride < blocks)
    return detail::bad_number("block scale stride of Y", y.block_scale_stride, relation::at_least, blocks);
  if (args.row_scales != nullptr)
    return {invalid_argument, "row_scales", 1, relation::absent, 0, "blocks have scales of their own"};
  return {};
}

}  // namespace tilefit::inline v0
