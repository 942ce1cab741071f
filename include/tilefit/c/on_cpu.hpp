// L6: what the C door computes with where no GPU compiler reads it: host/.
// Knows: which call of the CPU backend is which of the door's.
// Must not know: structs of C.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "../arch_table.hpp"
#include "../host/matmul_ogs.hpp"
#include "../host/moe_mlp.hpp"
#include "../launch_args.hpp"
#include "../launch_status.hpp"
#include "../make_opt_flags.hpp"
#include "../weights.hpp"
#include "arguments.hpp"

namespace tilefit::inline v0::detail {

/// Calls finish before they return; streams mean nothing. A status has no numbers here: host/ answers with codes.
struct c_on_cpu {
  static constexpr const char* name = "cpu";
  static constexpr weight_layout layout = weight_layout::row_major;
  using status = cuda::launch_status;
  struct moe_choice {
    selection gate_up, down;
  };

  static arch_id arch() noexcept { return arch_id::sm_90; }

  /// Hopper's tiles for 16-bit X: those that the CPU backend is measured with. Every format of X runs in them.
  static selection choose(const matmul_args& args, const opt_flags_constraints& constraints) {
    matmul_problem problem = problem_of(args);
    problem.formats.x = problem.formats.y = dtype::bf16;
    return make_opt_flags(traits_of(arch()), problem, constraints);
  }
  static status workspace_bytes(const matmul_args& args, const opt_flags& flags, std::size_t& bytes) {
    bytes = host::workspace_bytes(args, flags);
    return {.code = bytes > 0 ? status_code::ok : plan_host_matmul(args, flags, {}).status};
  }
  static status prepare_workspace(void* workspace, std::size_t bytes, void*) {
    return bytes > 0 && workspace == nullptr ? answer(missing("workspace")) : status{};
  }
  static status launch(const matmul_args& args, const opt_flags& flags, void*) {
    return {.code = host::matmul_ogs(args, flags)};
  }
  static status shuffle(const c_packing& weights, void*) {
    return {.code = weights.transposed
                        ? shuffle_transposed_weights(weights.layout, weights.shape, weights.from, weights.to)
                        : shuffle_weights(weights.layout, weights.shape, weights.from, weights.to)};
  }

  static moe_choice choose_moe(const c_layer& layer) {
    matmul_args gate_up{.m = layer.args.tokens * layer.args.topk,
                        .n = 2 * layer.args.intermediate,
                        .k = layer.args.hidden,
                        .experts = layer.local_experts(),
                        .act = activation::swiglu};
    matmul_args down = gate_up;
    down.n = layer.args.hidden;
    down.k = layer.args.intermediate;
    down.act = activation::none;
    return {choose(gate_up, {}), choose(down, {})};
  }
  static status moe_workspace_bytes(const c_layer& layer, const opt_flags& gate_up, const opt_flags& down,
                                    std::size_t& bytes) {
    const host::moe_layer own = layer_of(layer);
    const host::moe_flags flags{gate_up, down};
    const std::size_t inner = host::workspace_bytes(own, flags);
    bytes = inner == 0 ? 0 : inner + chosen_bytes(layer);
    return {.code = inner > 0 ? status_code::ok : plan_host_moe(own, flags, {}, nullptr).status};
  }
  /// The routing's own answer goes to the front of the workspace.
  static status moe_mlp(const c_layer& layer, const opt_flags& gate_up, const opt_flags& down, void*) {
    std::size_t wanted = 0;
    const status sizes = moe_workspace_bytes(layer, gate_up, down, wanted);
    if (sizes.code != status_code::ok) return sizes;
    if (layer.args.logits == nullptr) return answer(missing("logits"));
    if (layer.args.workspace == nullptr) return answer(missing("workspace"));
    if (layer.args.workspace_bytes < wanted)
      return answer(bad_number("workspace_bytes", static_cast<std::int64_t>(layer.args.workspace_bytes),
                               relation::at_least, static_cast<std::int64_t>(wanted)));
    if (reinterpret_cast<std::uintptr_t>(layer.args.workspace) % 4 != 0)
      return answer(bad_number("address of the workspace",
                               static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(layer.args.workspace)),
                               relation::multiple_of, 4));
    const auto rows = static_cast<std::size_t>(layer.args.tokens * layer.args.topk);
    const auto experts = static_cast<std::size_t>(layer.args.experts);
    auto* const front = static_cast<std::byte*>(layer.args.workspace);
    const host::moe_buffers buffers{
        .logits = {layer.args.logits, static_cast<std::size_t>(layer.args.tokens) * experts},
        .expert_index = {reinterpret_cast<std::int32_t*>(front), rows},
        .expert_weight = {reinterpret_cast<float*>(front + 4 * rows), rows},
        .workspace = front + 8 * rows,
        .workspace_bytes = layer.args.workspace_bytes - 8 * rows};
    return {.code = host::moe_mlp(layer_of(layer), {gate_up, down}, buffers)};
  }

 private:
  static std::size_t chosen_bytes(const c_layer& layer) {
    return static_cast<std::size_t>(8 * layer.args.tokens * layer.args.topk);
  }
  static host::moe_layer layer_of(const c_layer& layer) {
    const tilefit_moe_args& args = layer.args;
    return {.tokens = args.tokens,
            .hidden = args.hidden,
            .intermediate = args.intermediate,
            .experts = args.experts,
            .topk = args.topk,
            .local_experts = args.local_experts,
            .expert_map = {args.expert_map,
                           args.expert_map == nullptr ? 0 : static_cast<std::size_t>(std::max(args.experts, 0))},
            .x = layer.x_rows(),
            .gate_up = layer.gate_up(),
            .gate_up_bias = args.gate_up_bias,
            .down = layer.down(),
            .down_bias = args.down_bias,
            .y = layer.y_rows(),
            .swiglu = layer.swiglu(),
            .between = layer.between,
            .accumulate = args.accumulate != 0};
  }
};

}  // namespace tilefit::inline v0::detail
