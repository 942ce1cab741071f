// L5: from logits, or experts chosen elsewhere, to the rows of a grouped matmul: `choose_experts` and `sort_rows`
// (routing.hpp) on a device.
// Knows: warps, blocks, counting sort. Must not know: which kernel is launched when (routing.cuh).
// Rows are placed stably by counting, never by the order in which atomics arrive: the same input gives the same bits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../../detail/math.hpp"
#include "../../device/cuda/launch_control.cuh"
#include "../routing_args.hpp"
#include "choose_by_warp.cuh"

namespace tilefit::inline v0::detail {

inline constexpr int routing_threads = 1024;  ///< the most that a routing kernel is launched with

/// A number of expert_map, -1 in place of those that no local expert has.
__device__ inline int valid_home(int home, int local_experts) noexcept {
  return home >= 0 && home < local_experts ? home : -1;
}

/// Where the rows of `expert` go; -1: nowhere on this device. Numbers that no expert has count as elsewhere too.
__device__ inline int home_of_expert(const cuda::routing_args& args, int local_experts, int expert) noexcept {
  if (expert < 0 || expert >= args.shape.experts) return -1;
  return valid_home(args.expert_map != nullptr ? args.expert_map[expert] : expert, local_experts);
}

/// The lanes of a warp whose rows go to the same expert, seen from one of them.
struct warp_rank {
  int before = 0;  ///< of these lanes, how many are lower than this one
  int rows = 0;    ///< how many they are
};
/// Every lane of the warp takes part.
__device__ inline warp_rank rank_in_warp(int home, int lane) noexcept {
  const unsigned same = __match_any_sync(full_warp, home);
  return {__popc(same & ((1u << lane) - 1u)), __popc(same)};
}

struct block_sum {
  int before = 0;  ///< sum of the values of lower threads
  int total = 0;
};
/// Exclusive sum over the threads of a block of whole warps; warp_sums [32] is scratch. One __syncthreads inside.
__device__ inline block_sum sum_before(int value, int* warp_sums) noexcept {
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32, warp = thread / 32, warps = static_cast<int>(blockDim.x) / 32;
  int inclusive = value;
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const int lower = __shfl_up_sync(full_warp, inclusive, static_cast<unsigned>(distance));
    if (lane >= distance) inclusive += lower;
  }
  if (lane == 31) warp_sums[warp] = inclusive;
  __syncthreads();
  const int of_warp = lane < warps ? warp_sums[lane] : 0;
  return {inclusive - value + __reduce_add_sync(full_warp, lane < warp ? of_warp : 0),
          __reduce_add_sync(full_warp, of_warp)};
}

/// Turns counts[w * stride] of warps w into the sum of those of lower warps; the answer is the sum of all.
__device__ inline int sum_over_warps(std::uint16_t* counts, int stride, int warps) noexcept {
  constexpr int at_once = 8;  // read before one is written: the latencies overlap
  int sum = 0;
  for (int first = 0; first < warps; first += at_once) {
    int more[at_once];
#pragma unroll
    for (int i = 0; i < at_once; ++i) more[i] = first + i < warps ? counts[(first + i) * stride] : 0;
#pragma unroll
    for (int i = 0; i < at_once; ++i) {
      if (first + i < warps) counts[(first + i) * stride] = static_cast<std::uint16_t>(sum);
      sum += more[i];
    }
  }
  return sum;
}

__device__ inline void write_row(const cuda::routing_args& args, std::int64_t row, int slot, float weight) noexcept {
  args.gather_indx[row] = slot / args.shape.topk;
  args.scatter_indx[row] = slot;
  if (args.gammas != nullptr) args.gammas[row] = weight;
}

__device__ inline void write_no_row(const cuda::routing_args& args, std::int64_t row) noexcept {
  args.gather_indx[row] = -1;
  args.scatter_indx[row] = -1;
  if (args.gammas != nullptr) args.gammas[row] = 0.0f;
}

/// First row of every expert, from one thread per expert.
__device__ inline void write_expert(const cuda::routing_args& args, int local_experts, int expert, int rows,
                                    int first_row) noexcept {
  if (expert >= local_experts) return;
  if (args.histogram != nullptr) args.histogram[expert] = rows;
  args.offsets[expert] = first_row;
  if (expert == local_experts - 1) args.offsets[local_experts] = first_row + rows;
}

/// The whole routing of at most few_tokens tokens in one block of whole warps, with at least as many threads as there
/// are rows and as there are experts, local or not. PerLane: logits of a token in each lane.
template <int PerLane>
__global__ void __launch_bounds__(routing_threads, 1)
    route_few_tokens(const cuda::routing_args args, int local_experts) {
  constexpr int row_warps_most = few_rows / 32;
  alignas(4) __shared__ std::uint16_t rows_of_warp[row_warps_most][few_experts];  // of each expert
  __shared__ std::int16_t homes[few_experts];
  __shared__ int first_rows[few_experts];
  __shared__ int chosen[few_rows];
  __shared__ float weights[few_rows];
  __shared__ int warp_sums[32];
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const int lane = thread % 32, warp = thread / 32;
  const int tokens = static_cast<int>(args.shape.tokens), topk = args.shape.topk, experts = args.shape.experts;
  const int rows = tokens * topk;
  const int row_warps = (rows + 31) / 32;

  device::let_next_grid_start();
  for (int i = thread; i < row_warps * (few_experts / 2); i += threads)
    reinterpret_cast<std::uint32_t*>(rows_of_warp)[i] = 0;
  device::wait_for_previous_grid();

  // Used after the logits have been read: the two reads overlap.
  const int mapped = thread < experts && args.expert_map != nullptr ? args.expert_map[thread] : thread;
  if (args.logits.data != nullptr) {
    for (int token = warp; token < tokens; token += threads / 32) {
      std::uint32_t keys[PerLane];
      load_logit_keys(args.logits, token, experts, lane, keys);
      const chosen_expert choice = choose_by_warp(keys, topk, lane);
      if (lane < topk) {
        const int slot = token * topk + lane;
        chosen[slot] = choice.expert;
        weights[slot] = choice.weight;
        args.expert_index[slot] = choice.expert;
        args.expert_weight[slot] = choice.weight;
      }
    }
  } else if (thread < rows) {
    chosen[thread] = args.given.expert_index[thread];
    if (args.gammas != nullptr) weights[thread] = args.given.expert_weight[thread];
  }
  if (thread < experts) homes[thread] = static_cast<std::int16_t>(valid_home(mapped, local_experts));
  __syncthreads();

  // Thread i is row i from here on, in the order of tokens.
  int home = -1;
  if (thread < rows) {
    const int expert = chosen[thread];
    if (expert >= 0 && expert < experts) home = homes[expert];
  }
  int before_in_warp = 0;
  if (warp < row_warps) {
    const warp_rank rank = rank_in_warp(home, lane);
    before_in_warp = rank.before;
    if (home >= 0 && rank.before == 0) rows_of_warp[warp][home] = static_cast<std::uint16_t>(rank.rows);
  }
  __syncthreads();

  int rows_of_expert = 0;
  if (thread < local_experts)  // from here on rows_of_warp has the rows in lower warps
    rows_of_expert = sum_over_warps(&rows_of_warp[0][thread], few_experts, row_warps);
  const block_sum first = sum_before(rows_of_expert, warp_sums);
  if (thread < local_experts) first_rows[thread] = first.before;
  write_expert(args, local_experts, thread, rows_of_expert, first.before);
  __syncthreads();

  if (home >= 0)
    write_row(args, first_rows[home] + rows_of_warp[warp][home] + before_in_warp, thread,
              args.gammas != nullptr ? weights[thread] : 0.0f);
  if (thread >= first.total && thread < rows) write_no_row(args, thread);
}

/// First of two kernels for many tokens. Block b chooses the experts of its tokens (PerLane == 0: they are given) and
/// counts the rows of every local expert: counts[b][expert].
template <int PerLane>
__global__ void __launch_bounds__(routing_threads, 1)
    choose_and_count(const cuda::routing_args args, int local_experts, int tokens_per_block) {
  __shared__ int rows_of_expert[most_routed_experts];
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const std::int64_t first = std::int64_t{blockIdx.x} * tokens_per_block;
  const std::int64_t last = min(args.shape.tokens, first + tokens_per_block);
  const int topk = args.shape.topk;

  device::let_next_grid_start();
  for (int e = thread; e < local_experts; e += threads) rows_of_expert[e] = 0;
  device::wait_for_previous_grid();
  __syncthreads();

  // Integer sums: the order of the atomics does not show.
  if constexpr (PerLane == 0) {
    for (std::int64_t slot = first * topk + thread; slot < last * topk; slot += threads) {
      const int home = home_of_expert(args, local_experts, args.given.expert_index[slot]);
      if (home >= 0) atomicAdd(&rows_of_expert[home], 1);
    }
  } else {
    const int lane = thread % 32;
    for (std::int64_t token = first + thread / 32; token < last; token += threads / 32) {
      std::uint32_t keys[PerLane];
      load_logit_keys(args.logits, token, args.shape.experts, lane, keys);
      const chosen_expert choice = choose_by_warp(keys, topk, lane);
      if (lane < topk) {
        args.expert_index[token * topk + lane] = choice.expert;
        args.expert_weight[token * topk + lane] = choice.weight;
        const int home = home_of_expert(args, local_experts, choice.expert);
        if (home >= 0) atomicAdd(&rows_of_expert[home], 1);
      }
    }
  }
  __syncthreads();
  int* counts = static_cast<int*>(args.scratch) + std::int64_t{blockIdx.x} * local_experts;
  for (int e = thread; e < local_experts; e += threads) counts[e] = rows_of_expert[e];
}

/// Second of two kernels for many tokens: block b places the rows of its tokens, behind those of the blocks before it.
/// Needs routing_threads threads and a grid like that of the first kernel.
template <int Threads>
__global__ void __launch_bounds__(Threads, 1)
    place_rows(const cuda::routing_args args, int local_experts, int tokens_per_block) {
  static_assert(Threads >= most_routed_experts && Threads % 32 == 0);
  constexpr int entries = 16 * most_routed_experts;   // with all experts 16 warps place rows, with few of them all do
  alignas(4) __shared__ std::uint16_t next[entries];  // [warp][expert]: rows of the block that are placed before
  __shared__ std::int16_t homes[most_routed_experts];
  __shared__ int totals[most_routed_experts];      // rows of each expert, of all blocks
  __shared__ int first_rows[most_routed_experts];  // of this block's rows of each expert
  __shared__ int warp_sums[32];
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32, warp = thread / 32;
  const int experts = args.shape.experts;
  const int warps = min(Threads / 32, entries / local_experts);
  const std::int64_t rows = args.shape.tokens * args.shape.topk;
  const int* expert_index = args.logits.data != nullptr ? args.expert_index : args.given.expert_index;
  const float* expert_weight = args.logits.data != nullptr ? args.expert_weight : args.given.expert_weight;

  device::let_next_grid_start();
  for (int i = thread; i < entries / 2; i += Threads) reinterpret_cast<std::uint32_t*>(next)[i] = 0;
  if (thread < local_experts) totals[thread] = first_rows[thread] = 0;
  device::wait_for_previous_grid();
  if (thread < experts) homes[thread] = static_cast<std::int16_t>(home_of_expert(args, local_experts, thread));
  __syncthreads();

  // Sums over the blocks, the block dimension shared among groups of threads.
  const int width = static_cast<int>(align_up(local_experts, 32));
  const int groups = Threads / width, group = thread / width, column = thread % width;
  if (group < groups && column < local_experts) {
    const int* counts = static_cast<const int*>(args.scratch) + column;
    const int blocks = static_cast<int>(gridDim.x), own = static_cast<int>(blockIdx.x);
    int all = 0, before = 0;
#pragma unroll 8
    for (int b = group; b < blocks; b += groups) {
      const int count = counts[std::int64_t{b} * local_experts];
      all += count;
      before += b < own ? count : 0;
    }
    atomicAdd(&totals[column], all);
    atomicAdd(&first_rows[column], before);
  }

  // Each warp goes over a run of its own, 32 rows at a time, twice: to count and to place.
  const std::int64_t first_slot = std::int64_t{blockIdx.x} * tokens_per_block * args.shape.topk;
  const std::int64_t last_slot = min(rows, first_slot + std::int64_t{tokens_per_block} * args.shape.topk);
  const std::int64_t run = align_up(ceil_div(last_slot - first_slot, warps), 32);
  const std::int64_t run_first = first_slot + warp * run;
  const std::int64_t run_last = warp < warps ? min(last_slot, run_first + run) : run_first;
  std::uint16_t* const next_of_warp = next + (warp < warps ? warp : 0) * local_experts;
  const auto home_of_slot = [&](std::int64_t slot) {
    if (slot >= run_last) return -1;
    const int expert = expert_index[slot];
    return expert >= 0 && expert < experts ? int{homes[expert]} : -1;
  };
  for (std::int64_t slot = run_first + lane; slot - lane < run_last; slot += 32) {
    const int home = home_of_slot(slot);
    const warp_rank rank = rank_in_warp(home, lane);
    if (home >= 0 && rank.before == 0) next_of_warp[home] = static_cast<std::uint16_t>(next_of_warp[home] + rank.rows);
    __syncwarp();
  }
  __syncthreads();

  int rows_of_expert = 0;
  if (thread < local_experts) {
    rows_of_expert = totals[thread];
    sum_over_warps(next + thread, local_experts, warps);
  }
  const block_sum first = sum_before(rows_of_expert, warp_sums);
  if (thread < local_experts) first_rows[thread] += first.before;
  if (blockIdx.x == 0) write_expert(args, local_experts, thread, rows_of_expert, first.before);
  __syncthreads();

  for (std::int64_t slot = run_first + lane; slot - lane < run_last; slot += 32) {
    const int home = home_of_slot(slot);
    const warp_rank rank = rank_in_warp(home, lane);
    const int already = home >= 0 ? next_of_warp[home] : 0;
    __syncwarp();
    if (home >= 0) {
      write_row(args, std::int64_t{first_rows[home]} + already + rank.before, static_cast<int>(slot),
                args.gammas != nullptr ? expert_weight[slot] : 0.0f);
      if (rank.before == 0) next_of_warp[home] = static_cast<std::uint16_t>(already + rank.rows);
    }
    __syncwarp();
  }
  for (std::int64_t row = first.total + std::int64_t{blockIdx.x} * Threads + thread; row < rows;
       row += std::int64_t{gridDim.x} * Threads)
    write_no_row(args, row);
}

}  // namespace tilefit::inline v0::detail
