// L6: arguments of the C door's matmul, layer and weights, read into the library's own.
// Knows: which member is which.
// Must not know: which device they are for, how anything is computed.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../dtype.hpp"
#include "../matmul_args.hpp"
#include "../weight_layout.hpp"
#include "../weights.hpp"
#include "structs.hpp"
#include "types.h"

namespace tilefit::inline v0::detail {

inline c_fault read_args(const tilefit_matmul_args* from, matmul_args& to) {
  tilefit_matmul_args args{};
  args.experts = args.topk = 1;
  args.x_dtype = args.y_dtype = TILEFIT_BF16;
  args.w_dtype = TILEFIT_MXFP4;
  args.swiglu_alpha = swiglu_params{}.alpha;
  args.swiglu_limit = swiglu_params{}.limit;
  args.swiglu_up_offset = swiglu_params{}.up_offset;
  if (c_fault fault = read_struct("tilefit_matmul_args", from, args)) return fault;
  to = {.m = args.m,
        .n = args.n,
        .k = args.k,
        .experts = args.experts,
        .x = {.data = args.x,
              .rows = args.x_rows,
              .row_stride = args.x_row_stride,
              .transposed = args.x_transposed != 0,
              .block_scales = args.x_block_scales,
              .block_scale_stride = args.x_block_scale_stride,
              .scale = args.x_scale},
        .w = {.data = args.w, .block_scales = args.w_block_scales, .scale = args.w_scale},
        .y = {.data = args.y,
              .rows = args.y_rows,
              .row_stride = args.y_row_stride,
              .block_scales = args.y_block_scales,
              .block_scale_stride = args.y_block_scale_stride,
              .scale = args.y_scale},
        .bias = args.bias,
        .expert_offsets = args.expert_offsets,
        .gather_indx = args.gather_indx,
        .scatter_indx = args.scatter_indx,
        .gammas = args.gammas,
        .topk = args.topk,
        .write_every_row = args.write_every_row != 0,
        .swiglu = {.alpha = args.swiglu_alpha, .limit = args.swiglu_limit, .up_offset = args.swiglu_up_offset},
        .accumulate = args.accumulate != 0,
        .workspace = args.workspace,
        .workspace_bytes = args.workspace_bytes};
  return first_of(read_enum("x_dtype", args.x_dtype, dtype::mxfp4, to.x.type),
                  read_enum("w_dtype", args.w_dtype, dtype::mxfp4, to.w.type),
                  read_enum("y_dtype", args.y_dtype, dtype::mxfp4, to.y.type),
                  read_enum("w_layout", args.w_layout, weight_layout::mfma_m16k128, to.w.layout),
                  read_enum("activation", args.activation, activation::swiglu, to.act));
}

/// A layer whose numbers are those of the caller, with its enumerators read.
struct c_layer {
  tilefit_moe_args args{};
  dtype x = dtype::bf16, between = dtype::bf16, y = dtype::bf16;
  weight_layout layout = weight_layout::row_major;

  w_operand gate_up() const noexcept {
    return {.data = args.gate_up, .layout = layout, .block_scales = args.gate_up_scales};
  }
  w_operand down() const noexcept { return {.data = args.down, .layout = layout, .block_scales = args.down_scales}; }
  x_operand x_rows() const noexcept {
    return {.data = args.x, .type = x, .rows = args.tokens, .row_stride = args.hidden};
  }
  y_operand y_rows() const noexcept {
    return {.data = args.y, .type = y, .rows = args.tokens, .row_stride = args.hidden};
  }
  swiglu_params swiglu() const noexcept {
    return {.alpha = args.swiglu_alpha, .limit = args.swiglu_limit, .up_offset = args.swiglu_up_offset};
  }
  /// Experts whose weights are here.
  int local_experts() const noexcept { return args.expert_map == nullptr ? args.experts : args.local_experts; }
};

inline c_fault read_layer(const tilefit_moe_args* from, c_layer& to) {
  tilefit_moe_args& args = to.args;
  args.x_dtype = args.between_dtype = args.y_dtype = TILEFIT_BF16;
  args.swiglu_alpha = swiglu_params{}.alpha;
  args.swiglu_limit = swiglu_params{}.limit;
  args.swiglu_up_offset = swiglu_params{}.up_offset;
  if (c_fault fault = read_struct("tilefit_moe_args", from, args)) return fault;
  return first_of(read_enum("x_dtype", args.x_dtype, dtype::mxfp4, to.x),
                  read_enum("between_dtype", args.between_dtype, dtype::mxfp4, to.between),
                  read_enum("y_dtype", args.y_dtype, dtype::mxfp4, to.y),
                  read_enum("w_layout", args.w_layout, weight_layout::mfma_m16k128, to.layout));
}

/// Weights that are to be packed, and the layout that is wanted.
struct c_packing {
  weight_layout layout = weight_layout::row_major;
  weight_shape shape{};
  weight_source from{};
  weight_storage to{};
  bool transposed = false;
};

inline c_fault read_packing(int layout, const tilefit_weights* from, void* to, c_packing& packing) {
  tilefit_weights weights{};
  if (c_fault fault = read_struct("tilefit_weights", from, weights)) return fault;
  if (c_fault fault = read_enum("layout", layout, weight_layout::mfma_m16k128, packing.layout)) return fault;
  if (packing.layout == weight_layout::row_major)
    return bad_argument("layout is row_major, which weights have already");
  packing.shape = {.experts = weights.experts, .n = weights.n, .k = weights.k};
  packing.from = {.values = weights.values, .scales = weights.scales};
  packing.to = {.values = static_cast<std::uint8_t*>(to)};
  packing.transposed = weights.transposed != 0;
  return {};
}

}  // namespace tilefit::inline v0::detail
