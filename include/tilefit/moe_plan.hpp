// L6: one expert MLP as a whole on a GPU: its arguments, its steps, the buffers between them, their order.
// Knows: route, gate and up with SwiGLU, down, weighted sum over topk.
// Must not know: streams, any GPU toolkit: what enqueues a step is a parameter (moe_mlp.cuh, hip/moe_mlp.cuh).
#pragma once

#include <cstddef>
#include <cstdint>

#include "detail/math.hpp"
#include "dtype.hpp"
#include "kernels/reduce_args.hpp"
#include "kernels/routing_args.hpp"
#include "launch_args.hpp"
#include "launch_status.hpp"
#include "make_opt_flags.hpp"
#include "matmul_args.hpp"
#include "moe_hidden.hpp"
#include "opt_flags.hpp"
#include "status.hpp"

namespace tilefit::inline v0::gpu {

/// Rows that are in the order of local experts already, as `route` and `sort_rows` make them. A row that is absent has
/// -1 in both index arrays.
struct moe_rows {
  const std::int32_t* expert_offsets = nullptr;  ///< [local experts + 1]
  const std::int32_t* gather_indx = nullptr;     ///< [tokens * topk] token of row i
  const std::int32_t* scatter_indx = nullptr;    ///< [tokens * topk] token * topk + rank of row i
  const float* gammas = nullptr;                 ///< [tokens * topk] weight of row i; null: 1
};

/// One MoE layer. Y[tokens, hidden] = sum over the chosen experts of weight * down(swiglu(gate_up(X))). Every row of Y
/// is written: a token none of whose experts is here gets zeros, or keeps its old content with `accumulate`.
/// All pointers are device pointers. What they point at may change from call to call, and from replay to replay of a
/// graph.
struct moe_args {
  std::int64_t tokens = 0;
  std::int64_t hidden = 0;        ///< k of gate_up, n of down
  std::int64_t intermediate = 0;  ///< columns behind swiglu: n of gate_up is twice that, k of down is that
  int experts = 0;                ///< experts that the router knows
  int topk = 0;
  int local_experts = 0;      ///< experts whose weights are here: with `expert_map`; without it: 0 or `experts`
  x_operand x = {};           ///< rows = tokens
  router_logits logits = {};  ///< one of these three is set: softmax over the topk highest logits,
  router_choice given = {};   ///< or experts and weights that somebody else has chosen (no weights: 1),
  moe_rows rows = {};         ///< or rows that are sorted already, over local experts
  const std::int32_t* expert_map = nullptr;  ///< [experts] number here, or -1: elsewhere; not looked at with `rows`
  w_operand gate_up = {};                    ///< [local experts, 2 * intermediate, hidden], gate and up interleaved
  w_operand down = {};                       ///< [local experts, hidden, intermediate]
  const float* gate_up_bias = nullptr;       ///< [local experts, 2 * intermediate]
  const float* down_bias = nullptr;          ///< [local experts, hidden]
  swiglu_params swiglu = {};
  /// Format of the activations between the two matmuls: bf16, fp16, and where there are kernels that read them as X
  /// (gfx950) fp8_e4m3, mxfp8 or mxfp4, which gate_up's kernel then stores.
  dtype between = dtype::bf16;
  const float* between_scale = nullptr;  ///< one number for fp8_e4m3 between them; null = 1
  y_operand y = {};                      ///< rows = tokens; bf16, fp16 or fp32
  bool accumulate = false;               ///< see matmul_args
  /// moe_workspace_bytes of them at a multiple of `workspace_alignment`, prepared once by `prepare_workspace`. One
  /// workspace serves layers, token counts and flags of all sorts, as long as their calls follow each other.
  void* workspace = nullptr;
  std::size_t workspace_bytes = 0;
};

/// Tiles of the two matmuls.
struct moe_flags {
  opt_flags gate_up = {};
  opt_flags down = {};
};

/// What `choose` answers for the two matmuls.
struct moe_selection {
  selection gate_up = {};
  selection down = {};

  /// Whether both matmuls can run.
  bool ok() const noexcept { return gate_up.ok() && down.ok(); }
  /// What `moe_mlp` is given.
  moe_flags flags() const noexcept { return {.gate_up = gate_up.flags, .down = down.flags}; }
};

}  // namespace tilefit::inline v0::gpu

namespace tilefit::inline v0::detail {

/// The steps of a layer. Those that are there run in this order.
struct moe_plan {
  refusal reason = {};
  std::int64_t bytes = 0;  ///< of the workspace
  bool routes = false;
  bool reduces = false;  ///< false: the down matmul sums over topk itself
  gpu::routing_args routing = {};
  matmul_args gate_up = {};
  matmul_args down = {};
  gpu::reduce_topk_args sum = {};
};

/// What is wrong with a layer, as far as neither the matmuls nor the routing say it.
inline refusal refuse_layer(const gpu::moe_args& args, int local, std::int64_t most_blocks) noexcept {
  constexpr std::int64_t most_columns = std::int64_t{1} << 24;  // keeps every size below 2^63
  if (args.tokens < 0) return bad_number("tokens", args.tokens, relation::at_least, 0);
  if (args.topk < 1) return bad_number("topk", args.topk, relation::at_least, 1);
  if (args.tokens > INT32_MAX / args.topk)
    return bad_number("tokens", args.tokens, relation::at_most, INT32_MAX / args.topk);
  if (args.hidden < 1) return bad_number("hidden", args.hidden, relation::at_least, 1);
  if (args.hidden > most_columns) return bad_number("hidden", args.hidden, relation::at_most, most_columns);
  if (args.intermediate < 1) return bad_number("intermediate", args.intermediate, relation::at_least, 1);
  if (args.intermediate > most_columns)
    return bad_number("intermediate", args.intermediate, relation::at_most, most_columns);
  if (local < 1) return bad_number("local experts", local, relation::at_least, 1);
  const int inputs = (args.logits.data != nullptr ? 1 : 0) + (args.given.expert_index != nullptr ? 1 : 0) +
                     (args.rows.expert_offsets != nullptr ? 1 : 0);
  if (inputs != 1 && args.tokens > 0)
    return bad_number("number of logits, given and rows that are set", inputs, relation::exactly, 1);
  if (args.x.rows != args.tokens) return bad_number("rows of x", args.x.rows, relation::exactly, args.tokens);
  if (args.y.rows != args.tokens) return bad_number("rows of y", args.y.rows, relation::exactly, args.tokens);
  if (args.between == dtype::fp32)
    return {.status = status_code::unsupported_dtype,
            .subject = "number of bits of the activations between the matmuls",
            .value = 32,
            .must_be = relation::at_most,
            .limit = 16,
            .why = "kernels read them as X"};
  if (const refusal reason = refuse_hidden(args.between, args.intermediate)) return reason;
  if (args.tokens == 0) return nothing_to_do("tokens");
  if (args.rows.expert_offsets != nullptr) {
    if (args.rows.gather_indx == nullptr) return missing("rows.gather_indx");
    if (args.rows.scatter_indx == nullptr) return missing("rows.scatter_indx");
  }
  if (const refusal reason = refuse_y(args.y, args.tokens, args.hidden)) return reason;
  return refuse_grid(args.tokens, args.hidden, most_blocks);
}

/// The steps of a layer, with `matmul_bytes` at the start of `workspace` for the matmuls, one after the other. Without
/// a workspace the addresses inside it only have to be there, not to be right: choices and sizes do not depend on them.
/// `most_blocks`: of a grid of reduce_threads threads.
inline moe_plan plan_moe(const gpu::moe_args& args, std::int64_t matmul_bytes, void* workspace,
                         std::int64_t most_blocks) noexcept {
  moe_plan plan;
  const bool sorted = args.rows.expert_offsets != nullptr;
  const int local = (sorted && args.local_experts != 0) || (!sorted && args.expert_map != nullptr) ? args.local_experts
                                                                                                   : args.experts;
  plan.reason = refuse_layer(args, local, most_blocks);
  if (plan.reason) return plan;
  plan.routes = plan.reduces = !sorted;

  alignas(gpu::workspace_alignment) std::byte stand_in{};
  const std::int64_t rows = args.tokens * args.topk;
  std::int64_t at = matmul_bytes;
  const auto place = [&](std::int64_t bytes) {
    at = align_up(at, std::int64_t{gpu::workspace_alignment});
    std::byte* const start = workspace == nullptr ? &stand_in : static_cast<std::byte*>(workspace) + at;
    at += bytes;
    return start;
  };
  const auto indices = [&](std::int64_t count) { return reinterpret_cast<std::int32_t*>(place(4 * count)); };
  const auto floats = [&](std::int64_t count) { return reinterpret_cast<float*>(place(4 * count)); };

  gpu::moe_rows order = args.rows;
  if (plan.routes) {
    gpu::routing_args& routing = plan.routing;
    const bool from_logits = args.logits.data != nullptr;
    routing = {.shape = {args.tokens, args.experts, args.topk},
               .logits = args.logits,
               .given = args.given,
               .local_experts = args.local_experts,
               .expert_map = args.expert_map,
               .expert_index = from_logits ? indices(rows) : nullptr,
               .expert_weight = from_logits ? floats(rows) : nullptr,
               .offsets = indices(std::int64_t{local} + 1),
               .gather_indx = indices(rows),
               .scatter_indx = indices(rows),
               .gammas = from_logits || args.given.expert_weight != nullptr ? floats(rows) : nullptr};
    routing.scratch_bytes = gpu::routing_scratch_bytes(routing);
    if (routing.scratch_bytes != 0) routing.scratch = place(static_cast<std::int64_t>(routing.scratch_bytes));
    plan.reason = refuse_routing(routing);
    if (plan.reason) return plan;
    order = {.expert_offsets = routing.offsets,
             .gather_indx = routing.gather_indx,
             .scatter_indx = routing.scatter_indx,
             .gammas = routing.gammas};
  }

  const moe_hidden between = place_hidden(args.between, args.between_scale, rows, args.intermediate, place);
  plan.gate_up = {.m = rows,
                  .n = 2 * args.intermediate,
                  .k = args.hidden,
                  .experts = local,
                  .x = args.x,
                  .w = args.gate_up,
                  .y = between.written,
                  .bias = args.gate_up_bias,
                  .expert_offsets = order.expert_offsets,
                  .gather_indx = order.gather_indx,
                  .act = activation::swiglu,
                  .swiglu = args.swiglu};
  plan.down = {.m = rows,
               .n = args.hidden,
               .k = args.intermediate,
               .experts = local,
               .x = between.read,
               .w = args.down,
               .y = args.y,
               .bias = args.down_bias,
               .expert_offsets = order.expert_offsets,
               .scatter_indx = order.scatter_indx,
               .gammas = order.gammas,
               .topk = args.topk,
               .write_every_row = true,
               .accumulate = args.accumulate};
  if (plan.reduces) {
    // The experts say which parts are there, so that nobody has to note it row by row.
    const bool from_logits = args.logits.data != nullptr;
    const bool all_here = from_logits && args.expert_map == nullptr;
    float* const parts = floats(rows * args.hidden);
    plan.down.y = {.data = parts, .type = dtype::fp32, .rows = rows, .row_stride = args.hidden};
    plan.down.topk = 1;
    plan.down.write_every_row = plan.down.accumulate = false;
    plan.sum = {.tokens = args.tokens,
                .topk = args.topk,
                .columns = args.hidden,
                .parts = parts,
                .expert_index = all_here      ? nullptr
                                : from_logits ? plan.routing.expert_index
                                              : args.given.expert_index,
                .expert_map = args.expert_map,
                .experts = args.experts,
                .y = args.y,
                .accumulate = args.accumulate};
  }
  if (workspace != nullptr) {
    plan.gate_up.workspace = plan.down.workspace = workspace;
    plan.gate_up.workspace_bytes = plan.down.workspace_bytes = static_cast<std::size_t>(matmul_bytes);
  }
  plan.bytes = align_up(at, std::int64_t{gpu::workspace_alignment});
  return plan;
}

// A backend has: zeroed_workspace_bytes, that its matmuls keep zero at the start of their workspace; most_blocks, of a
// grid of reduce_threads threads; choose(matmul_args); workspace_bytes, can_launch(matmul_args, opt_flags); and, to
// enqueue, launch(matmul_args, opt_flags, is_first), route(routing_args) and reduce(reduce_topk_args). Those answer
// with a launch_status.

/// Bytes that the matmuls share at the start of the workspace. Never less than what is kept zero there: then nothing
/// else is ever written there, whatever flags a workspace was used with before.
template <class Backend>
std::int64_t moe_matmul_bytes(const Backend& backend, const moe_plan& plan, const gpu::moe_flags& flags) noexcept {
  const auto gate_up = static_cast<std::int64_t>(backend.workspace_bytes(plan.gate_up, flags.gate_up));
  const auto down = static_cast<std::int64_t>(backend.workspace_bytes(plan.down, flags.down));
  return max(max(gate_up, down), std::int64_t{Backend::zeroed_workspace_bytes});
}

/// The choice for both matmuls. A layer that is refused, or has no tokens, gets that answer twice.
template <class Backend>
gpu::moe_selection choose_layer(const Backend& backend, const gpu::moe_args& args) noexcept {
  const moe_plan plan = plan_moe(args, 0, nullptr, Backend::most_blocks);
  gpu::moe_selection answer;
  if (plan.reason) {
    answer.gate_up.status = answer.down.status = plan.reason.status;
    answer.gate_up.refused = answer.down.refused = plan.reason;
    return answer;
  }
  answer.gate_up = backend.choose(plan.gate_up);
  answer.down = backend.choose(plan.down);
  return answer;
}

/// Bytes of the workspace; 0 for no tokens, and for a layer that is refused before its matmuls are looked at.
template <class Backend>
std::size_t layer_workspace_bytes(const Backend& backend, const gpu::moe_args& args,
                                  const gpu::moe_flags& flags) noexcept {
  const moe_plan plan = plan_moe(args, 0, nullptr, Backend::most_blocks);
  if (plan.reason) return 0;
  const std::int64_t matmul_bytes = moe_matmul_bytes(backend, plan, flags);
  return static_cast<std::size_t>(plan_moe(args, matmul_bytes, nullptr, Backend::most_blocks).bytes);
}

/// Checks everything, then enqueues the steps of a layer in their order.
template <class Backend>
gpu::launch_status enqueue_layer(const Backend& backend, const gpu::moe_args& args,
                                 const gpu::moe_flags& flags) noexcept {
  const moe_plan sizes = plan_moe(args, 0, nullptr, Backend::most_blocks);
  if (sizes.reason) return answer(sizes.reason);
  const std::int64_t matmul_bytes = moe_matmul_bytes(backend, sizes, flags);
  if (args.workspace == nullptr) return answer(missing("workspace"));
  const std::uintptr_t odd = reinterpret_cast<std::uintptr_t>(args.workspace) % gpu::workspace_alignment;
  if (odd != 0)
    return answer(
        bad_number("address of the workspace modulo 256", static_cast<std::int64_t>(odd), relation::exactly, 0));
  const moe_plan plan = plan_moe(args, matmul_bytes, args.workspace, Backend::most_blocks);
  if (args.workspace_bytes < static_cast<std::size_t>(plan.bytes))
    return answer(bad_number("bytes of the workspace", static_cast<std::int64_t>(args.workspace_bytes),
                             relation::at_least, plan.bytes));
  gpu::launch_status status = backend.can_launch(plan.gate_up, flags.gate_up);
  if (status.code == status_code::ok) status = backend.can_launch(plan.down, flags.down);
  if (status.code != status_code::ok) return status;

  if (plan.routes) {
    status = backend.route(plan.routing);
    if (status.code != status_code::ok) return status;
  }
  status = backend.launch(plan.gate_up, flags.gate_up, !plan.routes);
  if (status.code != status_code::ok) return status;
  status = backend.launch(plan.down, flags.down, false);
  if (status.code != status_code::ok || !plan.reduces) return status;
  return backend.reduce(plan.sum);
}

}  // namespace tilefit::inline v0::detail
