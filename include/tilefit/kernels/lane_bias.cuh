// L5: bias of the columns that a lane has behind mma and wgmma.
// Knows: the row order of weight_layout::mma_m16k64.
// Must not know: what is done with it (epilogue.cuh, atom_quantise.cuh).
#pragma once

#include <cstdint>

#include "../device/ops.cuh"
#include "../matmul_args.hpp"

namespace tilefit::inline v0::kernels {

/// Bias of a lane's two rows of W in each atom of its warp: rows from `first_n`, 16 to an atom.
template <int Atoms>
struct lane_bias {
  float value[Atoms][2];

  __device__ __forceinline__ lane_bias(const matmul_args& args, std::int32_t expert, std::int32_t first_n) noexcept {
#pragma unroll
    for (int m = 0; m < Atoms; ++m) {
      const std::int32_t n = first_n + 16 * m + 2 * (device::hidden(static_cast<int>(threadIdx.x)) % 32 / 4);
      const bool biased = args.bias != nullptr && n < args.n;
      value[m][0] = biased ? args.bias[expert * args.n + n] : 0.0f;
      value[m][1] = biased ? args.bias[expert * args.n + n + 1] : 0.0f;
    }
  }
};

}  // namespace tilefit::inline v0::kernels
