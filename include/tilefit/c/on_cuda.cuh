// L6: what the C door computes with where nvcc reads it: the CUDA kernels.
// Knows: which call of namespace cuda is which of the door's.
// Must not know: structs of C.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "../kernels/shuffle_weights.cuh"
#include "../launch.cuh"
#include "../launch_status.hpp"
#include "../moe_mlp.cuh"
#include "../runtime.cuh"
#include "arguments.hpp"

namespace tilefit::inline v0::detail {

struct c_on_cuda {
  static constexpr const char* name = "cuda";
  static constexpr weight_layout layout = weight_layout::mma_m16k64;
  using status = cuda::launch_status;

  /// Of the current device; sm_90 where there is none, and every other call says so.
  static arch_id arch() noexcept {
    const cuda::device_facts device = cuda::current_device();
    return device.native_error == 0 ? device.arch.id : arch_id::sm_90;
  }
  static selection choose(const matmul_args& args, const opt_flags_constraints& constraints) {
    return cuda::choose(args, constraints);
  }
  static status workspace_bytes(const matmul_args& args, const opt_flags& flags, std::size_t& bytes) {
    bytes = cuda::workspace_bytes(args, flags);
    return cuda::can_launch(args, flags);
  }
  static status prepare_workspace(void* workspace, std::size_t bytes, void* stream) {
    return cuda::prepare_workspace(workspace, bytes, static_cast<cudaStream_t>(stream));
  }
  static status launch(const matmul_args& args, const opt_flags& flags, void* stream) {
    return cuda::launch(args, flags, static_cast<cudaStream_t>(stream));
  }
  static status shuffle(const c_packing& weights, void* stream) {
    const auto run = weights.transposed ? cuda::shuffle_transposed_weights : cuda::shuffle_weights;
    return run(weights.layout, weights.shape, weights.from, weights.to, static_cast<cudaStream_t>(stream), {});
  }
  static gpu::moe_selection choose_moe(const c_layer& layer) { return cuda::choose_moe(layer_of(layer)); }
  static status moe_workspace_bytes(const c_layer& layer, const opt_flags& gate_up, const opt_flags& down,
                                    std::size_t& bytes) {
    bytes = cuda::moe_workspace_bytes(layer_of(layer), {gate_up, down});
    return answer(plan_moe(layer_of(layer), 0, nullptr, cuda_backend<cuda::full_catalogue>::most_blocks).reason);
  }
  static status moe_mlp(const c_layer& layer, const opt_flags& gate_up, const opt_flags& down, void* stream) {
    return cuda::moe_mlp(layer_of(layer), {gate_up, down}, static_cast<cudaStream_t>(stream));
  }

 private:
  static cuda::moe_args layer_of(const c_layer& layer) {
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
