// L5: what a matmul_ogs kernel reads first, brought close before it is known who needs it.
// Knows: the arrays of rows and their indices.
// Must not know: tiles.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../device/ops.cuh"
#include "ogs_params.hpp"

namespace tilefit::inline v0::kernels {

/// Brings indices and rows of X into L2 before it is known who needs them, when they are few: a line to a thread. They
/// would otherwise be waited for one after the other.
__device__ inline void prefetch_rows(const ogs_params& params) noexcept {
  const matmul_args& args = params.args;
  const std::int64_t line = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const auto touch = [line](const void* array, std::int64_t bytes) {
    if (array != nullptr && 128 * line < bytes) device::prefetch(static_cast<const std::byte*>(array) + 128 * line);
  };
  touch(args.gather_indx, 4 * args.m);
  touch(args.scatter_indx, 4 * args.m);
  touch(args.gammas, 4 * args.m);
  touch(args.x.data, 2 * args.x.rows * args.x.row_stride);
}

}  // namespace tilefit::inline v0::kernels
