// L6: one expert MLP as a whole: route, gate and up with SwiGLU, down, weighted sum over topk.
// Knows: the order of the four steps and the buffers between them.
// Must not know: what happens inside a step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "../matmul_args.hpp"
#include "../moe_hidden.hpp"
#include "../opt_flags.hpp"
#include "../routing.hpp"
#include "matmul_ogs.hpp"

namespace tilefit::inline v0::host {

/// One MoE layer. Y[tokens, hidden] = sum over the chosen experts of weight * down(swiglu(gate_up(X))). Every row of Y
/// is written: a token none of whose experts is here gets zeros, or keeps its old content with `accumulate`.
struct moe_layer {
  std::int64_t tokens = 0;
  std::int64_t hidden = 0;        ///< k of gate_up, n of down
  std::int64_t intermediate = 0;  ///< columns behind swiglu: n of gate_up is twice that, k of down is that
  int experts = 0;                ///< experts that the router knows
  int topk = 0;
  int local_experts = 0;                          ///< experts whose weights are here; with an empty expert_map: all
  std::span<const std::int32_t> expert_map = {};  ///< see sort_rows
  x_operand x = {};                               ///< rows = tokens
  w_operand gate_up = {};               ///< [local_experts, 2 * intermediate, hidden], gate and up interleaved
  const float* gate_up_bias = nullptr;  ///< [local_experts, 2 * intermediate]
  w_operand down = {};                  ///< [local_experts, hidden, intermediate]
  const float* down_bias = nullptr;     ///< [local_experts, hidden]
  y_operand y = {};                     ///< rows = tokens
  swiglu_params swiglu = {};
  dtype between = dtype::bf16;           ///< format of the activations between the two matmuls: any
  const float* between_scale = nullptr;  ///< one number for fp8_e4m3 between them; null = 1
  bool accumulate = false;               ///< see matmul_args
};

/// What the router says, where to write it, and where to work.
struct moe_buffers {
  std::span<const float> logits = {};         ///< [tokens, experts]
  std::span<std::int32_t> expert_index = {};  ///< [tokens * topk], written: choose_experts' answer
  std::span<float> expert_weight = {};        ///< [tokens * topk], written
  void* workspace = nullptr;                  ///< any alignment
  std::size_t workspace_bytes = 0;
};

/// Tiles of the two matmuls.
struct moe_flags {
  opt_flags gate_up = {};
  opt_flags down = {};
};

}  // namespace tilefit::inline v0::host

namespace tilefit::inline v0::detail {

/// The two matmuls and the places of their buffers, counted from the aligned start of the workspace.
struct host_moe_plan {
  status_code status = status_code::invalid_argument;
  std::int64_t offsets_at = 0, histogram_at = 0, gather_at = 0, scatter_at = 0, gammas_at = 0;
  std::int64_t matmul_at = 0;  ///< workspace of both matmuls, one after the other
  std::int64_t matmul_bytes = 0;
  std::int64_t bytes = 0;
  matmul_args gate_up = {};
  matmul_args down = {};
};

inline host_moe_plan plan_host_moe(const host::moe_layer& layer, const host::moe_flags& flags,
                                   const host::execution& how, std::byte* workspace) noexcept {
  host_moe_plan plan;
  const int local = layer.expert_map.empty() ? layer.experts : layer.local_experts;
  const routing_shape shape{layer.tokens, layer.experts, layer.topk};
  plan.status = check_routing(shape);
  if (plan.status != status_code::ok) return plan;
  plan.status = status_code::invalid_argument;
  constexpr std::int64_t most = std::int64_t{1} << 30;
  if (layer.hidden < 1 || layer.intermediate < 1 || layer.hidden > most || layer.intermediate > most || local < 1 ||
      layer.x.rows != layer.tokens || layer.y.rows != layer.tokens)
    return plan;
  if (refuse_hidden(layer.between, layer.intermediate)) return plan;

  const std::int64_t rows = shape.rows();
  std::int64_t at = 0;
  const auto place = [&](std::int64_t bytes) {
    const std::int64_t start = at;
    at = saturating_add(at, align_up(bytes, host_alignment));
    return start;
  };
  plan.offsets_at = place(4 * (std::int64_t{local} + 1));
  plan.histogram_at = place(4 * std::int64_t{local});
  plan.gather_at = place(4 * rows);
  plan.scatter_at = place(4 * rows);
  plan.gammas_at = place(4 * rows);

  // Without a workspace the addresses only have to be there, not to be right: sizes do not depend on them.
  alignas(host_alignment) std::byte stand_in{};
  const bool real = workspace != nullptr;
  std::byte* const base = real ? workspace : &stand_in;
  const auto at_byte = [&](std::int64_t offset) { return real ? base + offset : base; };
  const auto indices = [&](std::int64_t offset) { return reinterpret_cast<std::int32_t*>(at_byte(offset)); };
  const moe_hidden between = place_hidden(layer.between, layer.between_scale, rows, layer.intermediate,
                                          [&](std::int64_t bytes) { return at_byte(place(bytes)); });

  plan.gate_up = {.m = rows,
                  .n = 2 * layer.intermediate,
                  .k = layer.hidden,
                  .experts = local,
                  .x = layer.x,
                  .w = layer.gate_up,
                  .y = between.written,
                  .bias = layer.gate_up_bias,
                  .expert_offsets = indices(plan.offsets_at),
                  .gather_indx = indices(plan.gather_at),
                  .act = activation::swiglu,
                  .swiglu = layer.swiglu};
  plan.down = {.m = rows,
               .n = layer.hidden,
               .k = layer.intermediate,
               .experts = local,
               .x = between.read,
               .w = layer.down,
               .y = layer.y,
               .bias = layer.down_bias,
               .expert_offsets = indices(plan.offsets_at),
               .scatter_indx = indices(plan.scatter_at),
               .gammas = reinterpret_cast<float*>(at_byte(plan.gammas_at)),
               .topk = layer.topk,
               .accumulate = layer.accumulate};

  const host_plan gate_up = plan_host_matmul(plan.gate_up, flags.gate_up, how);
  const host_plan down = plan_host_matmul(plan.down, flags.down, how);
  plan.status = gate_up.status != status_code::ok ? gate_up.status : down.status;
  if (plan.status != status_code::ok) return plan;
  plan.matmul_at = at;
  plan.matmul_bytes = gate_up.bytes > down.bytes ? gate_up.bytes : down.bytes;
  plan.bytes = saturating_add(saturating_add(at, plan.matmul_bytes), host_alignment);
  if (real) {
    plan.gate_up.workspace = plan.down.workspace = at_byte(plan.matmul_at);
    plan.gate_up.workspace_bytes = plan.down.workspace_bytes = static_cast<std::size_t>(plan.matmul_bytes);
  }
  return plan;
}

}  // namespace tilefit::inline v0::detail

namespace tilefit::inline v0::host {

/// Bytes that `moe_mlp` wants in moe_buffers::workspace; 0 for a layer that is refused or has no tokens.
[[nodiscard]] inline std::size_t workspace_bytes(const moe_layer& layer, const moe_flags& flags,
                                                 const execution& how = {}) noexcept {
  return static_cast<std::size_t>(detail::plan_host_moe(layer, flags, how, nullptr).bytes);
}

/// Logits of a linear router: out[tokens, experts] = X * weight^T + bias, summed in double and rounded once.
/// weight [experts, hidden], bias [experts] or empty. invalid_argument: sizes do not agree.
[[nodiscard]] inline status_code router_logits(std::span<const float> x, std::span<const float> weight,
                                               std::span<const float> bias, std::int64_t hidden,
                                               std::span<float> out) noexcept {
  if (hidden < 1) return status_code::invalid_argument;
  const auto width = static_cast<std::size_t>(hidden);
  const std::size_t tokens = x.size() / width;
  const std::size_t experts = weight.size() / width;
  if (x.size() % width != 0 || weight.size() % width != 0 || out.size() != tokens * experts ||
      (!bias.empty() && bias.size() != experts))
    return status_code::invalid_argument;
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t e = 0; e < experts; ++e) {
      double sum = bias.empty() ? 0.0 : static_cast<double>(bias[e]);
      for (std::size_t i = 0; i < width; ++i)
        sum += static_cast<double>(x[t * width + i]) * static_cast<double>(weight[e * width + i]);
      out[t * experts + e] = static_cast<float>(sum);
    }
  return tokens == 0 ? status_code::empty : status_code::ok;
}

/// The whole layer from router logits. Answers as choose_experts, sort_rows and matmul_ogs; Y is written only when the
/// answer is ok.
[[nodiscard]] inline status_code moe_mlp(const moe_layer& layer, const moe_flags& flags, const moe_buffers& buffers,
                                         const execution& how = {}) noexcept {
  if (buffers.workspace == nullptr) return layer.tokens == 0 ? status_code::empty : status_code::invalid_argument;
  const auto start = reinterpret_cast<std::uintptr_t>(buffers.workspace);
  std::byte* base = static_cast<std::byte*>(buffers.workspace) + (-start % detail::host_alignment);
  const detail::host_moe_plan plan = detail::plan_host_moe(layer, flags, how, base);
  if (plan.status != status_code::ok) return plan.status;
  if (buffers.workspace_bytes < static_cast<std::size_t>(plan.bytes)) return status_code::invalid_argument;

  const routing_shape shape{layer.tokens, layer.experts, layer.topk};
  const auto rows = static_cast<std::size_t>(shape.rows());
  const auto local = static_cast<std::size_t>(plan.gate_up.experts);
  const auto indices = [&](std::int64_t at, std::size_t count) {
    return std::span(reinterpret_cast<std::int32_t*>(base + at), count);
  };
  const std::span<float> gammas(reinterpret_cast<float*>(base + plan.gammas_at), rows);
  status_code status = choose_experts(shape, buffers.logits, buffers.expert_index, buffers.expert_weight);
  if (status != status_code::ok) return status;
  status = sort_rows(shape, buffers.expert_index, buffers.expert_weight, layer.expert_map,
                     {.histogram = indices(plan.histogram_at, local),
                      .offsets = indices(plan.offsets_at, local + 1),
                      .gather_indx = indices(plan.gather_at, rows),
                      .scatter_indx = indices(plan.scatter_at, rows),
                      .gammas = gammas});
  if (status != status_code::ok) return status;
  status = matmul_ogs(plan.gate_up, flags.gate_up, how);
  if (status != status_code::ok) return status;
  return matmul_ogs(plan.down, flags.down, how);
}

}  // namespace tilefit::inline v0::host
