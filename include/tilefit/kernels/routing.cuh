// L5: routing on a device: router logits, or experts that are chosen already, to the row order of a grouped matmul.
// Knows: which kernels route how many tokens. Must not know: how they do it (detail/routing_kernels.cuh), matmuls.
// No allocation, no synchronisation, capturable; works on the caller's stream and the current device.
#pragma once

#include <cstddef>

#include "../detail/math.hpp"
#include "../device/ops.cuh"
#include "answers.cuh"
#include "detail/routing_kernels.cuh"
#include "routing_args.hpp"

namespace tilefit::inline v0::detail {

template <int PerLane>
inline gpu::launch_status launch_one_routing_block(const gpu::routing_args& args, device::stream_handle stream,
                                                   const gpu::launch_options& options) noexcept {
  constexpr int lanes = device::wave_lanes;
  const int local = local_experts_of(args);
  // A wave per token that has to be looked through, as far as they go; a thread per row and per expert at least.
  const std::int64_t tokens = args.logits.data != nullptr ? args.shape.tokens : 0;
  const std::int64_t least = ceil_div(max<std::int64_t>(args.shape.rows(), max(args.shape.experts, local)), lanes);
  const std::int64_t threads = max(tokens, least) * lanes;
  const auto block = static_cast<unsigned>(min<std::int64_t>(threads, routing_threads));
  return answer_of_native(
      device::launch_kernel(route_few_tokens<PerLane>, {.block = dim3(block)}, stream, options, args, local));
}

template <int PerLane>
inline gpu::launch_status launch_routing_blocks(const gpu::routing_args& args, device::stream_handle stream,
                                                const gpu::launch_options& options) noexcept {
  const int local = local_experts_of(args);
  const routing_plan plan = plan_routing(args);
  const dim3 grid(static_cast<unsigned>(plan.blocks));
  const auto block = static_cast<unsigned>(min(plan.tokens_per_block * device::wave_lanes, routing_threads));
  const gpu::launch_status counted =
      answer_of_native(device::launch_kernel(choose_and_count<PerLane>, {.grid = grid, .block = dim3(block)}, stream,
                                             options, args, local, plan.tokens_per_block));
  if (counted.code != status_code::ok) return counted;
  return answer_of_native(device::launch_kernel(place_rows<routing_threads>,
                                                {.grid = grid, .block = dim3(routing_threads)}, stream, options, args,
                                                local, plan.tokens_per_block));
}

}  // namespace tilefit::inline v0::detail

namespace tilefit::inline v0::gpu {

/// `choose_experts` and `sort_rows` of routing.hpp, with their results: the same indices bit for bit, weights in fp32
/// arithmetic (see choose_by_wave: off by at most about 1e-6 from double, the sum of a token's weights too). The same
/// input gives the same bits, whatever else runs and however many tokens go with it.
///   * One kernel for at most 64 tokens, 256 experts and topk 8; otherwise two.
///   * Experts out of range in `given` or `expert_map`, which the host cannot see, count as elsewhere: no row, no
///   fault.
///   * No tokens: no kernel. Histogram and offsets are filled with zeros (a memset each, enqueued), as sort_rows does;
///     the answer is `empty`.
/// invalid_argument or unsupported_dtype (logits), with the reason: nothing is enqueued and nothing is written.
[[nodiscard]] inline launch_status route(const routing_args& args, device::stream_handle stream,
                                         const launch_options& options = {}) noexcept {
  const refusal reason = detail::refuse_routing(args);
  if (!succeeded(reason.status)) return detail::answer(reason);
  if (reason.status == status_code::empty) {
    const auto local = static_cast<std::size_t>(detail::local_experts_of(args));
    launch_status status =
        detail::answer_of_native(device::enqueue_zeros(args.offsets, (local + 1) * sizeof(std::int32_t), stream));
    if (status.code == status_code::ok && args.histogram != nullptr)
      status = detail::answer_of_native(device::enqueue_zeros(args.histogram, local * sizeof(std::int32_t), stream));
    return status.code == status_code::ok ? detail::answer(reason) : status;
  }
  constexpr int lanes = device::wave_lanes;
  const int per_lane = static_cast<int>(detail::ceil_div(args.shape.experts, lanes));
  const bool given = args.logits.data == nullptr;
  if (detail::plan_routing(args).one_block) {
    if (given || per_lane == 1) return detail::launch_one_routing_block<1>(args, stream, options);
    if (per_lane == 2) return detail::launch_one_routing_block<2>(args, stream, options);
    if (per_lane <= 4) return detail::launch_one_routing_block<4>(args, stream, options);
    return detail::launch_one_routing_block<detail::few_experts / lanes>(args, stream, options);
  }
  if (given) return detail::launch_routing_blocks<0>(args, stream, options);
  if (per_lane == 1) return detail::launch_routing_blocks<1>(args, stream, options);
  if (per_lane == 2) return detail::launch_routing_blocks<2>(args, stream, options);
  if (per_lane <= 4) return detail::launch_routing_blocks<4>(args, stream, options);
  if (per_lane <= 8) return detail::launch_routing_blocks<8>(args, stream, options);
  if (per_lane <= 12) return detail::launch_routing_blocks<12>(args, stream, options);
  return detail::launch_routing_blocks<detail::most_routed_experts / lanes>(args, stream, options);
}

}  // namespace tilefit::inline v0::gpu
