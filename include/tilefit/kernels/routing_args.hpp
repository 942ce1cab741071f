// L5: what the routing kernels are given, and how their work is cut into blocks.
// Knows: pointers, sizes, limits, scratch memory. Must not know: how experts are chosen or rows are placed.
// Plain data without a GPU toolkit: copied into the kernels' parameters as it is.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../detail/math.hpp"
#include "../dtype.hpp"
#include "../launch_status.hpp"
#include "../routing.hpp"

namespace tilefit::inline v0::gpu {

/// Router logits [tokens, experts].
struct router_logits {
  const void* data = nullptr;
  dtype type = dtype::fp32;     ///< fp32, bf16 or fp16
  std::int64_t row_stride = 0;  ///< elements from one token to the next
};

/// Experts that somebody else has chosen. A number outside 0 .. experts - 1 (-1, say) is an expert that lives
/// elsewhere.
struct router_choice {
  const std::int32_t* expert_index = nullptr;  ///< [tokens * topk]
  const float* expert_weight = nullptr;        ///< [tokens * topk]; null when no gammas are wanted
};

/// One routing. All pointers are device pointers, aligned to their type. Exactly one of `logits.data` and
/// `given.expert_index` is set.
struct routing_args {
  routing_shape shape = {};  ///< experts <= 1024, topk <= 32
  router_logits logits = {};
  router_choice given = {};
  int local_experts = 0;  ///< experts whose weights are here: 1 .. 1024 with expert_map; without it: 0 or `experts`
  const std::int32_t* expert_map = nullptr;  ///< [experts] number here, or -1: elsewhere; null: all are here
  std::int32_t* expert_index = nullptr;      ///< [tokens * topk], written from logits; with `given`: not used
  float* expert_weight = nullptr;            ///< [tokens * topk], written from logits; with `given`: not used
  std::int32_t* histogram = nullptr;         ///< [local experts], written; may be null
  std::int32_t* offsets = nullptr;           ///< [local experts + 1], written
  std::int32_t* gather_indx = nullptr;       ///< [tokens * topk], written
  std::int32_t* scatter_indx = nullptr;      ///< [tokens * topk], written
  float* gammas = nullptr;                   ///< [tokens * topk], written; may be null
  void* scratch = nullptr;                   ///< routing_scratch_bytes of them, aligned to 4; null when that is 0
  std::size_t scratch_bytes = 0;
};

}  // namespace tilefit::inline v0::gpu

namespace tilefit::inline v0::detail {

inline constexpr int most_routed_experts = 1024;  ///< a wave holds them in registers; one thread of a block per expert
inline constexpr int most_routed_topk = 32;       ///< one lane of the smallest wave per choice

// What one block routes by itself. Beyond that more blocks are faster: this one has a thread per row and per expert,
// and reads all logits through one SM.
inline constexpr int few_tokens = 64;
inline constexpr int few_experts = 256;
inline constexpr int few_topk = 8;
inline constexpr int few_rows = few_tokens * few_topk;

/// Blocks of the two kernels for many tokens, tokens in each: consecutive ones.
/// Every block of the second kernel reads the counts of all blocks, so there are at most `wished_blocks` unless
/// a block's rows would not fit 16 bits. Tokens come in multiples of 16, a wave each.
struct routing_plan {
  bool one_block = false;
  int tokens_per_block = 0;
  int blocks = 0;
  std::size_t scratch_bytes = 0;  ///< counts [blocks][local experts], int32
};

inline constexpr int wished_routing_blocks = 128;  ///< about the SMs of a large chip, half its CUs
inline constexpr int most_rows_of_block = 65535;

/// local_experts with its default put in.
constexpr int local_experts_of(const gpu::routing_args& args) noexcept {
  return args.expert_map == nullptr ? args.shape.experts : args.local_experts;
}

/// Requires a shape that refuse_routing accepts.
constexpr routing_plan plan_routing(const gpu::routing_args& args) noexcept {
  const routing_shape& shape = args.shape;
  const int local = local_experts_of(args);
  if (shape.tokens <= few_tokens && shape.experts <= few_experts && local <= few_experts && shape.topk <= few_topk)
    return {.one_block = true, .tokens_per_block = static_cast<int>(shape.tokens), .blocks = 1, .scratch_bytes = 0};
  const std::int64_t wished = max<std::int64_t>(align_up(ceil_div(shape.tokens, wished_routing_blocks), 16), 16);
  const std::int64_t most = most_rows_of_block / shape.topk / 16 * 16;
  const std::int64_t tokens = min(wished, most);
  const std::int64_t blocks = ceil_div(shape.tokens, tokens);
  return {.one_block = false,
          .tokens_per_block = static_cast<int>(tokens),
          .blocks = static_cast<int>(blocks),
          .scratch_bytes = static_cast<std::size_t>(blocks * local) * sizeof(std::int32_t)};
}

/// What is wrong with the sizes, as far as scratch memory depends on them.
constexpr refusal refuse_routing_sizes(const gpu::routing_args& args) noexcept {
  const routing_shape& shape = args.shape;
  if (shape.tokens < 0) return bad_number("tokens", shape.tokens, relation::at_least, 0);
  if (shape.experts < 1) return bad_number("experts", shape.experts, relation::at_least, 1);
  if (shape.experts > most_routed_experts)
    return bad_number("experts", shape.experts, relation::at_most, most_routed_experts);
  if (shape.topk < 1) return bad_number("topk", shape.topk, relation::at_least, 1);
  const int most_topk = min(shape.experts, most_routed_topk);
  if (shape.topk > most_topk) return bad_number("topk", shape.topk, relation::at_most, most_topk);
  const std::int64_t most_tokens = INT32_MAX / shape.topk;
  if (shape.tokens > most_tokens) return bad_number("tokens", shape.tokens, relation::at_most, most_tokens);
  if (args.expert_map == nullptr) {
    if (args.local_experts != 0 && args.local_experts != shape.experts)
      return bad_number("local experts without a map", args.local_experts, relation::exactly, shape.experts);
  } else {
    if (args.local_experts < 1) return bad_number("local experts", args.local_experts, relation::at_least, 1);
    if (args.local_experts > most_routed_experts)
      return bad_number("local experts", args.local_experts, relation::at_most, most_routed_experts);
  }
  return {};
}

/// Everything that can be checked on the host; no tokens is `empty`, for which only `offsets` must be there.
constexpr refusal refuse_routing(const gpu::routing_args& args) noexcept {
  if (const refusal sizes = refuse_routing_sizes(args)) return sizes;
  if (args.offsets == nullptr) return missing("offsets");
  if (args.shape.tokens == 0) return nothing_to_do("tokens");
  if (args.gather_indx == nullptr) return missing("gather_indx");
  if (args.scatter_indx == nullptr) return missing("scatter_indx");
  if (args.logits.data != nullptr) {
    if (args.given.expert_index != nullptr)
      return {.status = status_code::invalid_argument,
              .subject = "given.expert_index",
              .value = 1,
              .must_be = relation::absent,
              .why = "there are logits to choose from"};
    if (args.logits.type != dtype::fp32 && args.logits.type != dtype::bf16 && args.logits.type != dtype::fp16)
      return {.status = status_code::unsupported_dtype,
              .subject = "number of bits of a logit",
              .value = bits_of(args.logits.type),
              .must_be = relation::at_least,
              .limit = 16,
              .why = "logits are fp32, bf16 or fp16"};
    if (args.logits.row_stride < args.shape.experts)
      return bad_number("row stride of the logits", args.logits.row_stride, relation::at_least, args.shape.experts);
    constexpr std::int64_t most_elements = std::int64_t{1} << 56;  // as in check_args: offsets stay below 2^63
    if (args.logits.row_stride > most_elements / args.shape.tokens)
      return bad_number("row stride of the logits", args.logits.row_stride, relation::at_most,
                        most_elements / args.shape.tokens);
    if (args.expert_index == nullptr) return missing("expert_index");
    if (args.expert_weight == nullptr) return missing("expert_weight");
  } else {
    if (args.given.expert_index == nullptr) return missing("logits.data and given.expert_index");
    if (args.gammas != nullptr && args.given.expert_weight == nullptr) return missing("given.expert_weight");
  }
  const std::size_t scratch = plan_routing(args).scratch_bytes;
  if (scratch != 0 && args.scratch == nullptr) return missing("scratch");
  if (args.scratch_bytes < scratch)
    return bad_number("bytes of scratch", static_cast<std::int64_t>(args.scratch_bytes), relation::at_least,
                      static_cast<std::int64_t>(scratch));
  return {};
}

}  // namespace tilefit::inline v0::detail

namespace tilefit::inline v0::gpu {

/// Bytes of routing_args::scratch: 0 for few tokens, at most 512 KiB for up to eight million
/// rows. Only shape,
/// local_experts and expert_map (null or not) are looked at. 0 for sizes that `route` refuses.
[[nodiscard]] constexpr std::size_t routing_scratch_bytes(const routing_args& args) noexcept {
  return detail::refuse_routing_sizes(args) ? 0 : detail::plan_routing(args).scratch_bytes;
}

}  // namespace tilefit::inline v0::gpu
