// L6: one expert MLP as a whole on a device: route, gate and up with SwiGLU, down, weighted sum over topk.
// Knows: the order of the steps and the buffers between them.
// Must not know: what happens inside a step. The CPU's is host/moe_mlp.hpp.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "detail/math.hpp"
#include "device/cuda/launch_control.cuh"
#include "dtype.hpp"
#include "kernels/reduce_topk.cuh"
#include "kernels/routing.cuh"
#include "kernels/routing_args.hpp"
#include "launch.cuh"
#include "launch_status.hpp"
#include "make_opt_flags.hpp"
#include "matmul_args.hpp"
#include "opt_flags.hpp"
#include "status.hpp"

namespace tilefit::inline v0::cuda {

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
  dtype between = dtype::bf16;  ///< format of the activations between the two matmuls: bf16 or fp16
  y_operand y = {};             ///< rows = tokens; bf16, fp16 or fp32
  bool accumulate = false;      ///< see matmul_args
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

}  // namespace tilefit::inline v0::cuda

namespace tilefit::inline v0::detail {

/// The steps of a layer. Those that are there run in this order.
struct moe_plan {
  refusal reason = {};
  std::int64_t bytes = 0;  ///< of the workspace
  bool routes = false;
  bool reduces = false;  ///< false: the down matmul sums over topk itself
  cuda::routing_args routing = {};
  matmul_args gate_up = {};
  matmul_args down = {};
  cuda::reduce_topk_args sum = {};
};

/// What is wrong with a layer, as far as neither the matmuls nor the routing say it.
inline refusal refuse_layer(const cuda::moe_args& args, int local) noexcept {
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
  if (args.between != dtype::bf16 && args.between != dtype::fp16)
    return {.status = status_code::unsupported_dtype,
            .subject = "number of bits of the activations between the matmuls",
            .value = bits_of(args.between),
            .must_be = relation::exactly,
            .limit = 16,
            .why = "they are bf16 or fp16"};
  if (args.tokens == 0) return nothing_to_do("tokens");
  if (args.rows.expert_offsets != nullptr) {
    if (args.rows.gather_indx == nullptr) return missing("rows.gather_indx");
    if (args.rows.scatter_indx == nullptr) return missing("rows.scatter_indx");
  }
  if (const refusal reason = refuse_y(args.y, args.tokens, args.hidden)) return reason;
  return refuse_grid(args.tokens, args.hidden);
}

/// The steps of a layer, with `matmul_bytes` at the start of `workspace` for the matmuls, one after the other. Without
/// a workspace the addresses inside it only have to be there, not to be right: choices and sizes do not depend on them.
inline moe_plan plan_moe(const cuda::moe_args& args, std::int64_t matmul_bytes, void* workspace) noexcept {
  moe_plan plan;
  const bool sorted = args.rows.expert_offsets != nullptr;
  const int local = (sorted && args.local_experts != 0) || (!sorted && args.expert_map != nullptr) ? args.local_experts
                                                                                                   : args.experts;
  plan.reason = refuse_layer(args, local);
  if (plan.reason) return plan;
  plan.routes = plan.reduces = !sorted;

  alignas(cuda::workspace_alignment) std::byte stand_in{};
  const std::int64_t rows = args.tokens * args.topk;
  std::int64_t at = matmul_bytes;
  const auto place = [&](std::int64_t bytes) {
    at = align_up(at, std::int64_t{cuda::workspace_alignment});
    std::byte* const start = workspace == nullptr ? &stand_in : static_cast<std::byte*>(workspace) + at;
    at += bytes;
    return start;
  };
  const auto indices = [&](std::int64_t count) { return reinterpret_cast<std::int32_t*>(place(4 * count)); };
  const auto floats = [&](std::int64_t count) { return reinterpret_cast<float*>(place(4 * count)); };

  cuda::moe_rows order = args.rows;
  if (plan.routes) {
    cuda::routing_args& routing = plan.routing;
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
    routing.scratch_bytes = cuda::routing_scratch_bytes(routing);
    if (routing.scratch_bytes != 0) routing.scratch = place(static_cast<std::int64_t>(routing.scratch_bytes));
    plan.reason = refuse_routing(routing);
    if (plan.reason) return plan;
    order = {.expert_offsets = routing.offsets,
             .gather_indx = routing.gather_indx,
             .scatter_indx = routing.scatter_indx,
             .gammas = routing.gammas};
  }

  std::byte* const between = place(rows * args.intermediate * (bits_of(args.between) / 8));
  plan.gate_up = {.m = rows,
                  .n = 2 * args.intermediate,
                  .k = args.hidden,
                  .experts = local,
                  .x = args.x,
                  .w = args.gate_up,
                  .y = {.data = between, .type = args.between, .rows = rows, .row_stride = args.intermediate},
                  .bias = args.gate_up_bias,
                  .expert_offsets = order.expert_offsets,
                  .gather_indx = order.gather_indx,
                  .act = activation::swiglu,
                  .swiglu = args.swiglu};
  plan.down = {.m = rows,
               .n = args.hidden,
               .k = args.intermediate,
               .experts = local,
               .x = {.data = between, .type = args.between, .rows = rows, .row_stride = args.intermediate},
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
  plan.bytes = align_up(at, std::int64_t{cuda::workspace_alignment});
  return plan;
}

/// Bytes that the matmuls share at the start of the workspace. Never less than what prepare_workspace zeroes: then
/// nothing else is ever written there, whatever flags a workspace was used with before.
template <class Catalogue>
std::int64_t moe_matmul_bytes(const moe_plan& plan, const cuda::moe_flags& flags) noexcept {
  const auto gate_up = static_cast<std::int64_t>(cuda::workspace_bytes<Catalogue>(plan.gate_up, flags.gate_up));
  const auto down = static_cast<std::int64_t>(cuda::workspace_bytes<Catalogue>(plan.down, flags.down));
  return max(max(gate_up, down), static_cast<std::int64_t>(cuda::zeroed_workspace_bytes));
}

}  // namespace tilefit::inline v0::detail

namespace tilefit::inline v0::cuda {

/// The engine's choice for both matmuls on the current device, among the tiles of a catalogue. Reads no device memory
/// and does not look at the workspace. A layer that is refused, or has no tokens, gets that answer twice.
template <class Catalogue = full_catalogue>
[[nodiscard]] moe_selection choose_moe(const moe_args& args) noexcept {
  const detail::moe_plan plan = detail::plan_moe(args, 0, nullptr);
  moe_selection answer;
  if (plan.reason) {
    answer.gate_up.status = answer.down.status = plan.reason.status;
    answer.gate_up.refused = answer.down.refused = plan.reason;
    return answer;
  }
  answer.gate_up = choose<Catalogue>(plan.gate_up);
  answer.down = choose<Catalogue>(plan.down);
  return answer;
}

/// Bytes that `moe_mlp` wants in moe_args::workspace; 0 for no tokens, and for a layer that is refused before its
/// matmuls are looked at. Mostly tokens * topk * (4 * hidden + 2 * intermediate).
template <class Catalogue = full_catalogue>
[[nodiscard]] std::size_t moe_workspace_bytes(const moe_args& args, const moe_flags& flags) noexcept {
  const detail::moe_plan plan = detail::plan_moe(args, 0, nullptr);
  if (plan.reason) return 0;
  return static_cast<std::size_t>(
      detail::plan_moe(args, detail::moe_matmul_bytes<Catalogue>(plan, flags), nullptr).bytes);
}

/// Enqueues the whole layer: routing (one or two kernels; none with `rows`), both matmuls, the sum over topk. No
/// allocation, no synchronisation, capturable. Calls on several streams need a workspace each. The same input and flags
/// give the same bits. The kernels overlap where the device can do that; `options` decides about the first one and what
/// comes before it on the stream.
/// empty: no tokens, nothing is enqueued. Refused, with the reason: as `route`, `launch` and `reduce_topk` refuse, and
/// invalid_argument for a workspace that is missing, too small or at an odd address; nothing is enqueued. Only a call
/// of the CUDA runtime that fails (runtime_error) can come after work that is enqueued.
template <class Catalogue = full_catalogue>
[[nodiscard]] launch_status moe_mlp(const moe_args& args, const moe_flags& flags, cudaStream_t stream,
                                    const launch_options& options = {.overlap = true}) noexcept {
  const detail::moe_plan sizes = detail::plan_moe(args, 0, nullptr);
  if (sizes.reason) return detail::answer(sizes.reason);
  const std::int64_t matmul_bytes = detail::moe_matmul_bytes<Catalogue>(sizes, flags);
  if (args.workspace == nullptr) return detail::answer(detail::missing("workspace"));
  const std::uintptr_t odd = reinterpret_cast<std::uintptr_t>(args.workspace) % workspace_alignment;
  if (odd != 0)
    return detail::answer(detail::bad_number("address of the workspace modulo 256", static_cast<std::int64_t>(odd),
                                             relation::exactly, 0));
  const detail::moe_plan plan = detail::plan_moe(args, matmul_bytes, args.workspace);
  if (args.workspace_bytes < static_cast<std::size_t>(plan.bytes))
    return detail::answer(detail::bad_number("bytes of the workspace", static_cast<std::int64_t>(args.workspace_bytes),
                                             relation::at_least, plan.bytes));
  launch_status status = can_launch<Catalogue>(plan.gate_up, flags.gate_up);
  if (status.code == status_code::ok) status = can_launch<Catalogue>(plan.down, flags.down);
  if (status.code != status_code::ok) return status;

  constexpr launch_options inside = {.overlap = true};
  if (plan.routes) {
    status = route(plan.routing, stream, options);
    if (status.code != status_code::ok) return status;
  }
  status = launch<Catalogue>(plan.gate_up, flags.gate_up, stream, plan.routes ? inside : options);
  if (status.code != status_code::ok) return status;
  status = launch<Catalogue>(plan.down, flags.down, stream, inside);
  if (status.code != status_code::ok || !plan.reduces) return status;
  return reduce_topk(plan.sum, stream, inside);
}

}  // namespace tilefit::inline v0::cuda
