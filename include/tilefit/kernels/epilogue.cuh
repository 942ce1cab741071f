// L5: from FP32 sums in registers to rows of Y.
// Knows: bias, SwiGLU, gamma, accumulation, scatter; which lane holds what (lanes.hpp, mma_c_place, and the row order
// of weight_layout::mma_m16k64). Must not know: how the sums came about, narrow formats (atom_quantise.cuh).
//
// The matmul computes W * X^T: a lane's four sums of a block of 16 rows of W x 8 tokens are columns n and n + 1 of Y
// for two tokens. Stores go straight to memory: eight lanes make 32 contiguous bytes of a row of Y.
#pragma once

#include <cstdint>

#include "../detail/config.hpp"
#include "../device/ops.cuh"
#include "../matmul_args.hpp"
#include "atom_quantise.cuh"
#include "lane_bias.cuh"
#include "ogs_params.hpp"
#include "store_rows.cuh"

namespace tilefit::inline v0::kernels {

template <store_kind Kind, activation Act, int Atoms, int Blocks>
__device__ __forceinline__ void store_atoms_as(const ogs_params& params, std::int32_t first_n,
                                               const lane_bias<Atoms>& bias, const row_target* targets,
                                               const float (&sum)[Atoms][Blocks][4]) noexcept {
  const matmul_args& args = params.args;
  // Hidden, or registers would hold what follows from it all through the multiplication.
  const int lane = device::hidden(static_cast<int>(threadIdx.x % 32));
  const bool odd = (lane & 4) != 0;
  const int element_bytes = args.y.type == dtype::fp32 ? 4 : 2;
  const auto row_bytes = device::hidden(static_cast<std::int32_t>(args.y.row_stride)) * element_bytes;
  const float exponent = -args.swiglu.alpha * 1.4426950408889634f;
  // This lane's two rows of W in each atom are columns n and n + 1 of Y; behind swiglu they are one column, and lanes
  // of an even and the next odd lane / 4 store both their columns for one token each.
  char* column[Atoms];
#pragma unroll
  for (int m = 0; m < Atoms; ++m) {
    const std::int32_t n = first_n + 16 * m + 2 * (lane / 4);
    const std::int32_t at = Act == activation::swiglu ? (n - (odd ? 2 : 0)) / 2 : n;
    column[m] = static_cast<char*>(args.y.data) + at * element_bytes;
  }
#pragma unroll
  for (int j = 0; j < Blocks; ++j) {
    const row_target target[2] = {targets[8 * j + 2 * (lane % 4)], targets[8 * j + 2 * (lane % 4) + 1]};
#pragma unroll
    for (int m = 0; m < Atoms; ++m) {
      if (first_n + 16 * m >= args.n) continue;
      if constexpr (Act == activation::swiglu) {
        float out[2];
#pragma unroll
        for (int c = 0; c < 2; ++c)
          out[c] = swiglu(args.swiglu, exponent, sum[m][j][c] + bias.value[m][0], sum[m][j][2 + c] + bias.value[m][1]) *
                   target[c].gamma;
        const float other = __shfl_xor_sync(0xFFFFFFFFu, odd ? out[0] : out[1], 4);
        const std::int32_t row = odd ? target[1].row : target[0].row;
        if (row >= 0)
          store_pair<Kind>(params, column[m] + std::int64_t{row} * row_bytes, odd ? other : out[0],
                           odd ? out[1] : other);
      } else {
#pragma unroll
        for (int c = 0; c < 2; ++c)
          if (target[c].row >= 0)
            store_pair<Kind>(params, column[m] + std::int64_t{target[c].row} * row_bytes,
                             (sum[m][j][c] + bias.value[m][0]) * target[c].gamma,
                             (sum[m][j][2 + c] + bias.value[m][1]) * target[c].gamma);
      }
    }
  }
}

/// Stores the sums of a warp's atoms, 16 rows of W each from `first_n` on, for 8 * Blocks tokens. `targets`
/// [8 * Blocks] of the tokens. All lanes of a warp call, and all warps of a meeting where Y is quantised; atoms behind
/// n are left out. `Narrow`: the launch may ask for that.
template <bool Narrow, int Atoms, int Blocks>
__device__ __forceinline__ void store_atoms(const ogs_params& params, std::int32_t first_n,
                                            const lane_bias<Atoms>& bias, const row_target* targets,
                                            const float (&sum)[Atoms][Blocks][4],
                                            const atom_meeting& meeting) noexcept {
  const auto with = [&]<activation Act>() __attribute__((always_inline)) {
    switch (params.store) {
      case store_kind::bf16: return store_atoms_as<store_kind::bf16, Act>(params, first_n, bias, targets, sum);
      case store_kind::fp16: return store_atoms_as<store_kind::fp16, Act>(params, first_n, bias, targets, sum);
      case store_kind::fp32: return store_atoms_as<store_kind::fp32, Act>(params, first_n, bias, targets, sum);
      case store_kind::quantised:
        if constexpr (Narrow) store_quantised<Act>(params, first_n, bias, targets, sum, meeting);
        return;
      case store_kind::generally:
        return store_atoms_as<store_kind::generally, Act>(params, first_n, bias, targets, sum);
    }
  };
  if (params.args.act == activation::swiglu)
    with.template operator()<activation::swiglu>();
  else
    with.template operator()<activation::none>();
}

}  // namespace tilefit::inline v0::kernels
