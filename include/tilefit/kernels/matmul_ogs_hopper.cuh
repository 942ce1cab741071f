// L5: matmul_ogs for Hopper (sm_90a): copying warps and multiplying warpgroups, a persistent grid.
// Knows: the ring of stages, who fills and who empties it, how sums of a split tile meet.
// Must not know: which tile is good, streams, how arguments are checked.
//
// Y^T = W * X^T: W widened in registers is the left operand, tokens are the columns, as many as the tile really has
// (rounded up to a width that exists). A consuming warp takes 16 rows of W; where tokens are few they multiply with
// mma.sync, where they are many warpgroups do with wgmma. Producers fill the stages: one bulk copy for 64 rows of W,
// cp.async for rows of X wherever they lie. They also find the work: pieces by ticket, or equal runs of K. The first
// stage of a piece carries its description.
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
#include "prefetch_rows.cuh"

namespace tilefit::inline v0::kernels {

/// Never launched: so much static shared memory tells whoever asks for its attributes that the code was compiled
/// without the instructions of sm_90a, and `matmul_ogs_hopper` is empty.
inline constexpr int without_hopper_bytes = 8192;
template <int Bytes = without_hopper_bytes>
__global__ void tells_hopper_code() {
#if !defined(__CUDA_ARCH_FEAT_SM90_ALL)
  __shared__ volatile std::byte mark[Bytes];
  mark[threadIdx.x] = std::byte{};
#endif
}

/// One block. Dynamic shared memory: Tile::plan.total_bytes(), grid: any number of blocks that run at the same time.
template <class Tile>
__global__ void __launch_bounds__(Tile::threads, Tile::blocks_per_sm)
    matmul_ogs_hopper(const __grid_constant__ ogs_params params) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) std::byte shared[];
  const hopper_storage<Tile> storage{{shared}};
  const unsigned warp = threadIdx.x / 32;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < Tile::flags.num_stages; ++stage) {
      device::init_barrier(storage.full(stage), 32 * Tile::x_warps + 1);
      device::init_barrier(storage.empty(stage), Tile::consumer_warps * Tile::arrivals);
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
