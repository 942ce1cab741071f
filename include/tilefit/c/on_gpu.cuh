// L6: what the C door computes with where a GPU compiler reads it: the CUDA kernels, or those for AMD GPUs.
// Knows: which call of namespace cuda or hip is which of the door's.
// Must not know: structs of C.
#pragma once

#include <cstddef>

#include "../device/ops.cuh"
#include "../kernels/shuffle_weights.cuh"
#include "../launch_status.hpp"
#include "../moe_plan.hpp"
#include "arguments.hpp"
#if defined(__CUDACC__)
#include "../launch.cuh"
#include "../moe_mlp.cuh"
#include "../runtime.cuh"
#else
#include "../hip/launch.cuh"
#include "../hip/moe_mlp.cuh"
#include "../hip/runtime.cuh"
#endif

namespace tilefit::inline v0::detail {

#if defined(__CUDACC__)
namespace c_gpu = cuda;
inline constexpr const char* c_gpu_name = "cuda";
inline constexpr weight_layout c_gpu_layout = weight_layout::mma_m16k64;
inline constexpr arch_id c_gpu_arch = arch_id::sm_90;
using c_gpu_backend = cuda_backend<cuda::full_catalogue>;
#else
namespace c_gpu = hip;
inline constexpr const char* c_gpu_name = "hip";
inline constexpr weight_layout c_gpu_layout = weight_layout::mfma_m16k128;
inline constexpr arch_id c_gpu_arch = arch_id::gfx950;
using c_gpu_backend = hip_backend<hip::full_catalogue>;
#endif

struct c_on_gpu {
  static constexpr const char* name = c_gpu_name;
  static constexpr weight_layout layout = c_gpu_layout;
  using status = c_gpu::launch_status;

  /// Of the current device; of its family where there is none, and every other call says so.
  static arch_id arch() noexcept {
    const c_gpu::device_facts device = c_gpu::current_device();
    return device.native_error == 0 ? device.arch.id : c_gpu_arch;
  }
  static selection choose(const matmul_args& args, const opt_flags_constraints& constraints) {
    return c_gpu::choose(args, constraints);
  }
  static status workspace_bytes(const matmul_args& args, const opt_flags& flags, std::size_t& bytes) {
    bytes = c_gpu::workspace_bytes(args, flags);
    return c_gpu::can_launch(args, flags);
  }
  static status prepare_workspace(void* workspace, std::size_t bytes, void* stream) {
    return c_gpu::prepare_workspace(workspace, bytes, static_cast<device::stream_handle>(stream));
  }
  static status launch(const matmul_args& args, const opt_flags& flags, void* stream) {
    return c_gpu::launch(args, flags, static_cast<device::stream_handle>(stream));
  }
  static status shuffle(const c_packing& weights, void* stream) {
    const auto run = weights.transposed ? c_gpu::shuffle_transposed_weights : c_gpu::shuffle_weights;
    return run(weights.layout, weights.shape, weights.from, weights.to, static_cast<device::stream_handle>(stream), {});
  }
  static gpu::moe_selection choose_moe(const c_layer& layer) { return c_gpu::choose_moe(layer_of(layer)); }
  static status moe_workspace_bytes(const c_layer& layer, const opt_flags& gate_up, const opt_flags& down,
                                    std::size_t& bytes) {
    bytes = c_gpu::moe_workspace_bytes(layer_of(layer), {gate_up, down});
    return answer(plan_moe(layer_of(layer), 0, nullptr, c_gpu_backend::most_blocks).reason);
  }
  static status moe_mlp(const c_layer& layer, const opt_flags& gate_up, const opt_flags& down, void* stream) {
    return c_gpu::moe_mlp(layer_of(layer), {gate_up, down}, static_cast<device::stream_handle>(stream));
  }

 private:
  static c_gpu::moe_args layer_of(const c_layer& layer) {
    const tilefit_moe_args& args = layer.args;
    return {.tokens = args.tokens,
            .hidden = args.hidden,
            .intermediate = args.intermediate,
            .experts = args.experts,
            .topk = args.topk,
            .local_experts = args.local_experts,
            .x = layer.x_rows(),
            .logits = {.data = args.logits, .row_stride = args.experts},
            .expert_map = args.expert_map,
            .gate_up = layer.gate_up(),
            .down = layer.down(),
            .gate_up_bias = args.gate_up_bias,
            .down_bias = args.down_bias,
            .swiglu = layer.swiglu(),
            .between = layer.between,
            .y = layer.y_rows(),
            .accumulate = args.accumulate != 0,
            .workspace = args.workspace,
            .workspace_bytes = args.workspace_bytes};
  }
};

}  // namespace tilefit::inline v0::detail
