// L5: matmul_ogs for Hopper (sm_90a): copying warps and multiplying warpgroups, a persistent grid.
// Knows: the ring of stages, who fills and who empties it, how sums of a split tile meet.
// Must not know: which tile is good, streams, how arguments are checked.
//
// Y^T = W * X^T: W widened in registers is the left operand, tokens are the columns, as many as the tile really has
// (rounded up to a width that exists). Two warpgroups of consumers take 64 * Groups rows of W each; they multiply with
// mma.sync where tokens are few and with wgmma where they are many. Producers fill the stages: one bulk copy for 64
// rows of W, cp.async for rows of X wherever they lie. The first stage of a piece of work carries its description.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../device/cuda/barrier.cuh"
#include "../device/cuda/copy.cuh"
#include "../device/cuda/launch_control.cuh"
#include "../device/cuda/wgmma.cuh"
#include "hopper_consumer.cuh"
#include "hopper_producer.cuh"
#include "hopper_tile.cuh"
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

/// One block. Dynamic shared memory: Tile::plan.total_bytes(), grid: any number of blocks that run at the same time.
template <class Tile>
__global__ void __launch_bounds__(Tile::threads, Tile::blocks_per_sm)
    matmul_ogs_hopper(const __grid_constant__ ogs_params params) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) std::byte shared[];
  const hopper_storage<Tile> storage{shared};
  const unsigned warp = threadIdx.x / 32;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < Tile::flags.num_stages; ++stage) {
      device::init_barrier(storage.full(stage), 32 * Tile::x_warps + 1);
      device::init_barrier(storage.empty(stage), Tile::consumer_warps);
    }
    device::publish_barriers();
  }
  prefetch_rows(params);
  __syncthreads();
  device::let_next_grid_start();
  device::wait_for_previous_grid();
  if (warp >= Tile::consumer_warps) {
    if constexpr (Tile::uses_wgmma) device::shrink_registers<Tile::registers_of_producers>();
    if (warp == Tile::consumer_warps)
      hopper_producer<Tile>(params, storage).template run<true>();
    else
      hopper_producer<Tile>(params, storage).template run<false>();
  } else {
    if constexpr (Tile::uses_wgmma) device::grow_registers<Tile::registers_of_consumers>();
    hopper_consumer<Tile>(params, storage).run();
  }
#endif
}

}  // namespace tilefit::inline v0::kernels
