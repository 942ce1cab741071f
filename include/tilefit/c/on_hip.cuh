// L6: what the C door computes with where a HIP compiler reads it: the AMD kernels.
// Knows: which call of namespace hip is which of the door's.
// Must not know: structs of C.
#pragma once

#include <hip/hip_runtime.h>

#include <cstddef>

#include "../hip/launch.cuh"
#include "../hip/moe_mlp.cuh"
#include "../hip/runtime.cuh"
#include "../kernels/shuffle_weights.cuh"
#include "../launch_status.hpp"
#include "arguments.hpp"

namespace tilefit::inline v0::detail {

struct c_on_hip {
  static constexpr const char* name = "hip";
  static constexpr weight_layout layout = weight_layout::mfma_m16k128;
  using status = hip::launch_status;

  /// Of the current device; gfx950 where there is none, and every other call says so.
  static arch_id arch() noexcept {
    const hip::device_facts device = hip::current_device();
    return device.native_error == 0 ? device.arch.id : arch_id::gfx950;
  }
  static selection choose(const matmul_args& args, const opt_flags_constraints& constraints) {
    return hip::choose(args, constraints);
  }
  static status workspace_bytes(const matmul_args& args, const opt_flags& flags, std::size_t& bytes) {
    bytes = hip::workspace_bytes(args, flags);
    return hip::can_launch(args, flags);
  }
  static status prepare_workspace(void* workspace, std::size_t bytes, void* stream) {
    return hip::prepare_workspace(workspace, bytes, static_cast<hipStream_t>(stream));
  }
  static status launch(const matmul_args& args, const opt_flags& flags, void* stream) {
    return hip::launch(args, flags, static_cast<hipStream_t>(stream));
  }
  static status shuffle(const c_packing& weights, void* stream) {
    const auto run = weights.transposed ? hip::shuffle_transposed_weights : hip::shuffle_weights;
    return run(weights.layout, weights.shape, weights.from, weights.to, static_cast<hipStream_t>(stream), {});
  }
  static gpu::moe_selection choose_moe(const c_layer& layer) { return hip::choose_moe(layer_of(layer)); }
  static status moe_workspace_bytes(const c_layer& layer, const opt_flags& gate_up, const opt_flags& down,
                                    std::size_t& bytes) {
    bytes = hip::moe_workspace_bytes(layer_of(layer), {gate_up, down});
    return answer(plan_moe(layer_of(layer), 0, nullptr, hip_backend<hip::full_catalogue>::most_blocks).reason);
  }
  static status moe_mlp(const c_layer& layer, const opt_flags& gate_up, const opt_flags& down, void* stream) {
    return hip::moe_mlp(layer_of(layer), {gate_up, down}, static_cast<hipStream_t>(stream));
  }

 private:
  static hip::moe_args layer_of(const c_layer& layer) {
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
