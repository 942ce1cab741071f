// L5: from logits, or experts chosen elsewhere, to the rows of a grouped matmul: `choose_experts` and `sort_rows`
// (routing.hpp) on a device.
// Knows: waves, blocks, counting sort. Must not know: which kernel is launched when (routing.cuh).
// Rows are placed stably by counting, never by the order in which atomics arrive: the same input gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../../detail/math.hpp"
#include "../../device/ops.cuh"
#include "../routing_args.hpp"
#include "choose_by_wave.cuh"

namespace tilefit::inline v0::detail {

inline constexpr int routing_threads = 1024;  ///< the most that a routing kernel is launched with

/// A number of expert_map, -1 in place of those that no local expert has.
__device__ inline int valid_home(int home, int local_experts) noexcept {
  return home >= 0 && home < local_experts ? home : -1;
}

/// Where the rows of `expert` go; -1: nowhere on this device. Numbers that no expert has count as elsewhere too.
__device__ inline int home_of_expert(const gpu::routing_args& args, int local_experts, int expert) noexcept {
  if (expert < 0 || expert >= args.shape.experts) return -1;
  return valid_home(args.expert_map != nullptr ? args.expert_map[expert] : expert, local_experts);
}

/// Who a thread is.
struct thread_place {
  int thread = 0;   ///< of the block
  int threads = 0;  ///< of the block
  int lane = 0;
  int wave = 0;
  int waves = 0;
};
__device__ inline thread_place place_of_thread() noexcept {
  const int thread = static_cast<int>(device::thread_of_block()),
            threads = static_cast<int>(device::threads_of_block());
  return {thread, threads, thread % device::wave_lanes, thread / device::wave_lanes, threads / device::wave_lanes};
}

/// An array of shared memory, one for each number in a kernel.
template <class T, int Count, int Number>
__device__ inline T* shared_values() noexcept {
  return reinterpret_cast<T*>(device::shared_array<sizeof(T) * Count, Number, (alignof(T) < 4 ? 4 : alignof(T))>());
}

/// The lanes of a wave whose rows go to the same expert, seen from one of them.
struct wave_rank {
  int before = 0;  ///< of these lanes, how many are lower than this one
  int rows = 0;    ///< how many they are
};
/// Every lane of the wave takes part.
__device__ inline wave_rank rank_in_wave(int home) noexcept {
  static_assert(most_routed_experts < 2047);  // -1 ends in eleven ones
  const device::lane_mask same = device::lanes_alike<11>(home);
  return {device::count_lanes_below(same), device::count_lanes(same)};
}

struct block_sum {
  int before = 0;  ///< sum of the values of lower threads
  int total = 0;
};
inline constexpr int most_waves = routing_threads / device::wave_lanes;
static_assert(most_waves <= device::wave_lanes);
/// Exclusive sum over the threads of a block of whole waves; wave_sums [most_waves] is scratch. One meeting inside.
__device__ inline block_sum sum_before(int value, const thread_place& me, int* wave_sums) noexcept {
  int inclusive = value;
#pragma unroll
  for (int distance = 1; distance < device::wave_lanes; distance *= 2) {
    const int lower = device::value_from_below(inclusive, distance);
    if (me.lane >= distance) inclusive += lower;
  }
  if (me.lane == device::wave_lanes - 1) wave_sums[me.wave] = inclusive;
  device::meet_block();
  const auto of_wave = static_cast<unsigned>(me.lane < me.waves ? wave_sums[me.lane] : 0);
  return {inclusive - value + static_cast<int>(device::sum_of_lanes(me.lane < me.wave ? of_wave : 0)),
          static_cast<int>(device::sum_of_lanes(of_wave))};
}

/// Turns counts[w * stride] of waves w into the sum of those of lower waves; the answer is the sum of all.
__device__ inline int sum_over_waves(std::uint16_t* counts, int stride, int waves) noexcept {
  constexpr int at_once = 8;  // read before one is written: the latencies overlap
  int sum = 0;
  for (int first = 0; first < waves; first += at_once) {
    int more[at_once];
#pragma unroll
    for (int i = 0; i < at_once; ++i) more[i] = first + i < waves ? counts[(first + i) * stride] : 0;
#pragma unroll
    for (int i = 0; i < at_once; ++i) {
      if (first + i < waves) counts[(first + i) * stride] = static_cast<std::uint16_t>(sum);
      sum += more[i];
    }
  }
  return sum;
}

__device__ inline void write_row(const gpu::routing_args& args, std::int64_t row, int slot, float weight) noexcept {
  args.gather_indx[row] = slot / args.shape.topk;
  args.scatter_indx[row] = slot;
  if (args.gammas != nullptr) args.gammas[row] = weight;
}

__device__ inline void write_no_row(const gpu::routing_args& args, std::int64_t row) noexcept {
  args.gather_indx[row] = -1;
  args.scatter_indx[row] = -1;
  if (args.gammas != nullptr) args.gammas[row] = 0.0f;
}

/// First row of every expert, from one thread per expert.
__device__ inline void write_expert(const gpu::routing_args& args, int local_experts, int expert, int rows,
                                    int first_row) noexcept {
  if (expert >= local_experts) return;
  if (args.histogram != nullptr) args.histogram[expert] = rows;
  args.offsets[expert] = first_row;
  if (expert == local_experts - 1) args.offsets[local_experts] = first_row + rows;
}

/// The whole routing of at most few_tokens tokens in one block of whole waves, with at least as many threads as there
/// are rows and as there are experts, local or not. PerLane: logits of a token in each lane.
template <int PerLane>
__global__ void __launch_bounds__(routing_threads, 1)
    route_few_tokens(const gpu::routing_args args, int local_experts) {
  constexpr int lanes = device::wave_lanes;
  auto* const rows_of_wave = shared_values<std::uint16_t, few_rows / lanes * few_experts, 0>();  // [wave][expert]
  auto* const homes = shared_values<std::int16_t, few_experts, 1>();
  auto* const first_rows = shared_values<int, few_experts, 2>();
  auto* const chosen = shared_values<int, few_rows, 3>();
  auto* const weights = shared_values<float, few_rows, 4>();
  auto* const wave_sums = shared_values<int, most_waves, 5>();
  const thread_place me = place_of_thread();
  const int thread = me.thread, threads = me.threads, lane = me.lane, wave = me.wave;
  const int tokens = static_cast<int>(args.shape.tokens), topk = args.shape.topk, experts = args.shape.experts;
  const int rows = tokens * topk;
  const int row_waves = (rows + lanes - 1) / lanes;

  device::let_next_grid_start();
  for (int i = thread; i < row_waves * (few_experts / 2); i += threads)
    reinterpret_cast<std::uint32_t*>(rows_of_wave)[i] = 0;
  device::wait_for_previous_grid();

  // Used after the logits have been read: the two reads overlap.
  const int mapped = thread < experts && args.expert_map != nullptr ? args.expert_map[thread] : thread;
  if (args.logits.data != nullptr) {
    for (int token = wave; token < tokens; token += me.waves) {
      std::uint32_t keys[PerLane];
      load_logit_keys(args.logits, token, experts, lane, keys);
      const chosen_expert choice = choose_by_wave(keys, topk, lane);
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
  device::meet_block();

  // Thread i is row i from here on, in the order of tokens.
  int home = -1;
  if (thread < rows) {
    const int expert = chosen[thread];
    if (expert >= 0 && expert < experts) home = homes[expert];
  }
  int before_in_wave = 0;
  if (wave < row_waves) {
    const wave_rank rank = rank_in_wave(home);
    before_in_wave = rank.before;
    if (home >= 0 && rank.before == 0) rows_of_wave[wave * few_experts + home] = static_cast<std::uint16_t>(rank.rows);
  }
  device::meet_block();

  int rows_of_expert = 0;
  if (thread < local_experts)  // from here on rows_of_wave has the rows in lower waves
    rows_of_expert = sum_over_waves(rows_of_wave + thread, few_experts, row_waves);
  const block_sum first = sum_before(rows_of_expert, me, wave_sums);
  if (thread < local_experts) first_rows[thread] = first.before;
  write_expert(args, local_experts, thread, rows_of_expert, first.before);
  device::meet_block();

  if (home >= 0)
    write_row(args, first_rows[home] + rows_of_wave[wave * few_experts + home] + before_in_wave, thread,
              args.gammas != nullptr ? weights[thread] : 0.0f);
  if (thread >= first.total && thread < rows) write_no_row(args, thread);
}

/// First of two kernels for many tokens. Block b chooses the experts of its tokens (PerLane == 0: they are given) and
/// counts the rows of every local expert: counts[b][expert].
template <int PerLane>
__global__ void __launch_bounds__(routing_threads, 1)
    choose_and_count(const gpu::routing_args args, int local_experts, int tokens_per_block) {
  auto* const rows_of_expert = shared_values<int, most_routed_experts, 0>();
  const thread_place me = place_of_thread();
  const int thread = me.thread, threads = me.threads;
  const std::int64_t first = std::int64_t{device::block_of_grid()} * tokens_per_block;
  const std::int64_t last = min(args.shape.tokens, first + tokens_per_block);
  const int topk = args.shape.topk;

  device::let_next_grid_start();
  for (int e = thread; e < local_experts; e += threads) rows_of_expert[e] = 0;
  device::wait_for_previous_grid();
  device::meet_block();

  // Integer sums: the order of the atomics does not show.
  if constexpr (PerLane == 0) {
    for (std::int64_t slot = first * topk + thread; slot < last * topk; slot += threads) {
      const int home = home_of_expert(args, local_experts, args.given.expert_index[slot]);
      if (home >= 0) device::add_to_shared(rows_of_expert + home, 1);
    }
  } else {
    const int lane = me.lane;
    for (std::int64_t token = first + me.wave; token < last; token += me.waves) {
      std::uint32_t keys[PerLane];
      load_logit_keys(args.logits, token, args.shape.experts, lane, keys);
      const chosen_expert choice = choose_by_wave(keys, topk, lane);
      if (lane < topk) {
        args.expert_index[token * topk + lane] = choice.expert;
        args.expert_weight[token * topk + lane] = choice.weight;
        const int home = home_of_expert(args, local_experts, choice.expert);
        if (home >= 0) device::add_to_shared(rows_of_expert + home, 1);
      }
    }
  }
  device::meet_block();
  int* counts = static_cast<int*>(args.scratch) + std::int64_t{device::block_of_grid()} * local_experts;
  for (int e = thread; e < local_experts; e += threads) counts[e] = rows_of_expert[e];
}

/// Second of two kernels for many tokens: block b places the rows of its tokens, behind those of the blocks before it.
/// Needs routing_threads threads and a grid like that of the first kernel.
template <int Threads>
__global__ void __launch_bounds__(Threads, 1)
    place_rows(const gpu::routing_args args, int local_experts, int tokens_per_block) {
  constexpr int lanes = device::wave_lanes;
  static_assert(Threads >= most_routed_experts && Threads % lanes == 0);
  constexpr int entries = 16 * most_routed_experts;  // with all experts 16 waves place rows, with few of them all do
  auto* const next = shared_values<std::uint16_t, entries, 0>();  // [wave][expert]: rows of the block placed before
  auto* const homes = shared_values<std::int16_t, most_routed_experts, 1>();
  auto* const totals = shared_values<int, most_routed_experts, 2>();      // rows of each expert, of all blocks
  auto* const first_rows = shared_values<int, most_routed_experts, 3>();  // of this block's rows of each expert
  auto* const wave_sums = shared_values<int, most_waves, 4>();
  const thread_place me = place_of_thread();
  const int thread = me.thread, lane = me.lane, wave = me.wave;
  const int blocks = static_cast<int>(device::blocks_of_grid()), own = static_cast<int>(device::block_of_grid());
  const int experts = args.shape.experts;
  const int waves = min(Threads / lanes, entries / local_experts);
  const std::int64_t rows = args.shape.tokens * args.shape.topk;
  const int* expert_index = args.logits.data != nullptr ? args.expert_index : args.given.expert_index;
  const float* expert_weight = args.logits.data != nullptr ? args.expert_weight : args.given.expert_weight;

  device::let_next_grid_start();
  for (int i = thread; i < entries / 2; i += Threads) reinterpret_cast<std::uint32_t*>(next)[i] = 0;
  if (thread < local_experts) totals[thread] = first_rows[thread] = 0;
  device::wait_for_previous_grid();
  if (thread < experts) homes[thread] = static_cast<std::int16_t>(home_of_expert(args, local_experts, thread));
  device::meet_block();

  // Sums over the blocks, the block dimension shared among groups of threads.
  const int width = static_cast<int>(align_up(local_experts, lanes));
  const int groups = Threads / width, group = thread / width, column = thread % width;
  if (group < groups && column < local_experts) {
    const int* counts = static_cast<const int*>(args.scratch) + column;
    int all = 0, before = 0;
#pragma unroll 8
    for (int b = group; b < blocks; b += groups) {
      const int count = counts[std::int64_t{b} * local_experts];
      all += count;
      before += b < own ? count : 0;
    }
    device::add_to_shared(totals + column, all);
    device::add_to_shared(first_rows + column, before);
  }

  // Each wave goes over a run of its own, a row to a lane at a time, twice: to count and to place.
  const std::int64_t first_slot = std::int64_t{own} * tokens_per_block * args.shape.topk;
  const std::int64_t last_slot = min(rows, first_slot + std::int64_t{tokens_per_block} * args.shape.topk);
  const std::int64_t run = align_up(ceil_div(last_slot - first_slot, waves), lanes);
  const std::int64_t run_first = first_slot + wave * run;
  const std::int64_t run_last = wave < waves ? min(last_slot, run_first + run) : run_first;
  std::uint16_t* const next_of_wave = next + (wave < waves ? wave : 0) * local_experts;
  const auto home_of_slot = [&](std::int64_t slot) {
    if (slot >= run_last) return -1;
    const int expert = expert_index[slot];
    return expert >= 0 && expert < experts ? int{homes[expert]} : -1;
  };
  for (std::int64_t slot = run_first + lane; slot - lane < run_last; slot += lanes) {
    const int home = home_of_slot(slot);
    const wave_rank rank = rank_in_wave(home);
    if (home >= 0 && rank.before == 0) next_of_wave[home] = static_cast<std::uint16_t>(next_of_wave[home] + rank.rows);
    device::meet_wave();
  }
  device::meet_block();

  int rows_of_expert = 0;
  if (thread < local_experts) {
    rows_of_expert = totals[thread];
    sum_over_waves(next + thread, local_experts, waves);
  }
  const block_sum first = sum_before(rows_of_expert, me, wave_sums);
  if (thread < local_experts) first_rows[thread] += first.before;
  if (own == 0) write_expert(args, local_experts, thread, rows_of_expert, first.before);
  device::meet_block();

  for (std::int64_t slot = run_first + lane; slot - lane < run_last; slot += lanes) {
    const int home = home_of_slot(slot);
    const wave_rank rank = rank_in_wave(home);
    const int already = home >= 0 ? next_of_wave[home] : 0;
    device::meet_wave();
    if (home >= 0) {
      write_row(args, std::int64_t{first_rows[home]} + already + rank.before, static_cast<int>(slot),
                args.gammas != nullptr ? expert_weight[slot] : 0.0f);
      if (rank.before == 0) next_of_wave[home] = static_cast<std::uint16_t>(already + rank.rows);
    }
    device::meet_wave();
  }
  for (std::int64_t row = first.total + std::int64_t{own} * Threads + thread; row < rows;
       row += std::int64_t{blocks} * Threads)
    write_no_row(args, row);
}

}  // namespace tilefit::inline v0::detail
