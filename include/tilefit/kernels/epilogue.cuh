// L5: from FP32 sums in registers to rows of Y.
// Knows: bias, SwiGLU, gamma, accumulation, scatter; which lane holds what (lanes.hpp, mma_c_place, and the row order
// of weight_layout::mma_m16k64). Must not know: how the sums came about.
//
// The matmul computes W * X^T: a lane's four sums of a block of 16 rows of W x 8 tokens are columns n and n + 1 of Y
// for two tokens. Stores go straight to memory: eight lanes make 32 contiguous bytes of a row of Y.
#pragma once

#include <cstdint>

#include "../detail/config.hpp"
#include "../device/cuda/mma.cuh"
#include "../matmul_args.hpp"
#include "ogs_params.hpp"

namespace tilefit::inline v0::kernels {

/// Where a row of the tile goes.
struct row_target {
  std::int32_t row = -1;  ///< of Y; -1 = nowhere
  float gamma = 1.0f;
};

/// Target of sorted row `row`.
__device__ inline row_target target_of(const matmul_args& args, std::int32_t row) noexcept {
  row_target target{.row = args.scatter_indx == nullptr ? row : args.scatter_indx[row],
                    .gamma = args.gammas == nullptr ? 1.0f : args.gammas[row]};
  if (args.gather_indx != nullptr && args.gather_indx[row] < 0) target.row = -1;
  return target;
}

/// swiglu_params' formula. Comparisons are written so that NaN stays NaN.
__device__ inline float swiglu(const swiglu_params& p, float gate, float up) noexcept {
  gate = gate > p.limit ? p.limit : gate;
  up = up > p.limit ? p.limit : up < -p.limit ? -p.limit : up;
  return (up + p.up_offset) * gate * __fdividef(1.0f, 1.0f + __expf(-p.alpha * gate));
}

/// Elements of Y: how they are read, rounded and written.
template <dtype Y>
struct y_element {
  using pair = std::uint32_t;
  __device__ static float widen(std::uint16_t bits) noexcept { return device::low_of_pair<Y>(bits); }
  __device__ static void store_pair(void* y, std::int64_t at, float a, float b, bool add, bool aligned) noexcept {
    auto* to = static_cast<std::uint16_t*>(y) + at;
    if (add) {
      a += widen(to[0]);
      b += widen(to[1]);
    }
    const std::uint32_t both = device::pack_pair<Y>(a, b);
    if (aligned) {
      *reinterpret_cast<std::uint32_t*>(to) = both;
    } else {
      to[0] = static_cast<std::uint16_t>(both);
      to[1] = static_cast<std::uint16_t>(both >> 16);
    }
  }
};
template <>
struct y_element<dtype::fp32> {
  __device__ static void store_pair(void* y, std::int64_t at, float a, float b, bool add, bool aligned) noexcept {
    auto* to = static_cast<float*>(y) + at;
    if (add) {
      a += to[0];
      b += to[1];
    }
    if (aligned) {
      *reinterpret_cast<float2*>(to) = make_float2(a, b);
    } else {
      to[0] = a;
      to[1] = b;
    }
  }
};

/// Columns of an atom that a lane holds, as far as the epilogue is concerned.
struct lane_columns {
  std::int32_t n = 0;  ///< the even one of the lane's two rows of W
  float bias[2] = {0, 0};
};

__device__ inline lane_columns columns_of(const matmul_args& args, std::int32_t expert, std::int32_t first_n) noexcept {
  lane_columns columns{.n = first_n + 2 * static_cast<std::int32_t>(threadIdx.x % 32 / 4)};
  if (args.bias != nullptr && first_n < args.n) {
    const float* bias = args.bias + expert * args.n + columns.n;
    columns.bias[0] = bias[0];
    columns.bias[1] = bias[1];
  }
  return columns;
}

template <dtype Y, int Blocks>
__device__ inline void store_atom_as(const ogs_params& params, const lane_columns& columns, const row_target* targets,
                                     const float (&sum)[Blocks][4]) noexcept {
  const matmul_args& args = params.args;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const bool odd = (lane & 4) != 0;
#pragma unroll
  for (int j = 0; j < Blocks; ++j) {
    const row_target target[2] = {targets[8 * j + 2 * (lane % 4)], targets[8 * j + 2 * (lane % 4) + 1]};
    if (args.act == activation::swiglu) {
      float out[2];
#pragma unroll
      for (int c = 0; c < 2; ++c)
        out[c] = swiglu(args.swiglu, sum[j][c] + columns.bias[0], sum[j][2 + c] + columns.bias[1]) * target[c].gamma;
      // Neighbouring columns lie in lanes 4 apart: the even one stores both for the first token, the odd one for the
      // second.
      const float other = __shfl_xor_sync(0xFFFFFFFFu, odd ? out[0] : out[1], 4);
      const std::int32_t row = odd ? target[1].row : target[0].row;
      const std::int64_t at = row * args.y.row_stride + (columns.n - (odd ? 2 : 0)) / 2;
      if (row >= 0)
        y_element<Y>::store_pair(args.y.data, at, odd ? other : out[0], odd ? out[1] : other, args.accumulate,
                                 params.pairs_aligned);
    } else {
#pragma unroll
      for (int c = 0; c < 2; ++c)
        if (target[c].row >= 0)
          y_element<Y>::store_pair(args.y.data, target[c].row * args.y.row_stride + columns.n,
                                   (sum[j][c] + columns.bias[0]) * target[c].gamma,
                                   (sum[j][2 + c] + columns.bias[1]) * target[c].gamma, args.accumulate,
                                   params.pairs_aligned);
    }
  }
}

/// Stores the sums of one atom of 16 rows of W x 8 * Blocks tokens. `targets` [8 * Blocks] of the tokens. All lanes of
/// a warp call; the atom must lie inside n.
template <int Blocks>
__device__ inline void store_atom(const ogs_params& params, const lane_columns& columns, const row_target* targets,
                                  const float (&sum)[Blocks][4]) noexcept {
  switch (params.args.y.type) {
    case dtype::bf16: return store_atom_as<dtype::bf16>(params, columns, targets, sum);
    case dtype::fp16: return store_atom_as<dtype::fp16>(params, columns, targets, sum);
    default: return store_atom_as<dtype::fp32>(params, columns, targets, sum);
  }
}

}  // namespace tilefit::inline v0::kernels
