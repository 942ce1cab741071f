// L6: one expert MLP as a whole on an AMD GPU: route, gate and up with SwiGLU, down, weighted sum over topk.
// Knows: what enqueues each step. Must not know: their order and the buffers between them (moe_plan.hpp), what happens
// inside a step. The contract of ../moe_mlp.cuh, through the HIP runtime.
#pragma once

#include <hip/hip_runtime.h>

#include <cstddef>
#include <cstdint>

#include "../device/ops.cuh"
#include "../kernels/reduce_topk.cuh"
#include "../kernels/routing.cuh"
#include "../launch_status.hpp"
#include "../make_opt_flags.hpp"
#include "../moe_plan.hpp"
#include "launch.cuh"

namespace tilefit::inline v0::detail {

/// What a layer is made of on an AMD GPU.
template <class Catalogue>
struct hip_backend {
  static constexpr std::int64_t zeroed_workspace_bytes = hip::zeroed_workspace_bytes;
  static constexpr std::int64_t most_blocks = device::most_blocks(reduce_threads);

  hipStream_t stream = nullptr;

  selection choose(const matmul_args& args) const noexcept { return hip::choose(args); }
  std::size_t workspace_bytes(const matmul_args& args, const opt_flags& flags) const noexcept {
    return hip::workspace_bytes<Catalogue>(args, flags);
  }
  gpu::launch_status can_launch(const matmul_args& args, const opt_flags& flags) const noexcept {
    return hip::can_launch<Catalogue>(args, flags);
  }
  gpu::launch_status route(const gpu::routing_args& args) const noexcept { return gpu::route(args, stream); }
  gpu::launch_status launch(const matmul_args& args, const opt_flags& flags, bool) const noexcept {
    return hip::launch<Catalogue>(args, flags, stream);
  }
  gpu::launch_status reduce(const gpu::reduce_topk_args& args) const noexcept { return gpu::reduce_topk(args, stream); }
};

}  // namespace tilefit::inline v0::detail

// In `gpu`, where calls without a namespace look for functions that take moe_args.
namespace tilefit::inline v0::gpu {

/// The engine's choice for both matmuls on the current device. Reads no device memory and does not look at the
/// workspace. A layer that is refused, or has no tokens, gets that answer twice.
[[nodiscard]] inline moe_selection choose_moe(const moe_args& args) noexcept {
  return detail::choose_layer(detail::hip_backend<hip::full_catalogue>{}, args);
}

/// Bytes that `moe_mlp` wants in moe_args::workspace; 0 for no tokens, and for a layer that is refused before its
/// matmuls are looked at. Mostly tokens * topk * (4 * hidden + 2 * intermediate).
template <class Catalogue = hip::full_catalogue>
[[nodiscard]] std::size_t moe_workspace_bytes(const moe_args& args, const moe_flags& flags) noexcept {
  return detail::layer_workspace_bytes(detail::hip_backend<Catalogue>{}, args, flags);
}

/// Enqueues the whole layer: routing (one or two kernels; none with `rows`), both matmuls, the sum over topk. No
/// allocation, no synchronisation, capturable. Calls on several streams need a workspace each, which need not be
/// prepared. The same input and flags give the same bits.
/// empty: no tokens, nothing is enqueued. Refused, with the reason: as `route`, `launch` and `reduce_topk` refuse, and
/// invalid_argument for a workspace that is missing, too small or at an odd address; nothing is enqueued. Only a call
/// of the HIP runtime that fails (runtime_error) can come after work that is enqueued.
template <class Catalogue = hip::full_catalogue>
[[nodiscard]] launch_status moe_mlp(const moe_args& args, const moe_flags& flags, hipStream_t stream) noexcept {
  return detail::enqueue_layer(detail::hip_backend<Catalogue>{.stream = stream}, args, flags);
}

}  // namespace tilefit::inline v0::gpu
