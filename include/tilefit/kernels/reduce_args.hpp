// L5: what the sum over topk is given, and what is wrong with it.
// Knows: pointers, sizes, limits. Must not know: kernels, how they are launched.
// Plain data without a GPU toolkit: copied into the kernel's parameter as it is.
#pragma once

#include <cstdint>

#include "../detail/math.hpp"
#include "../dtype.hpp"
#include "../launch_status.hpp"
#include "../matmul_args.hpp"

namespace tilefit::inline v0::gpu {

/// y[token, :] = (accumulate ? y[token, :] : 0) + sum over s = 0 .. topk - 1 of parts[token * topk + s, :], those parts
/// that are present. All pointers are device pointers, aligned to their type.
/// Which are present: with neither `present` nor `expert_index` all; otherwise what one of them says. Absent parts may
/// hold anything: they may be read (the memory must be there), but never count.
struct reduce_topk_args {
  std::int64_t tokens = 0;
  int topk = 1;
  std::int64_t columns = 0;
  const float* parts = nullptr;                ///< [tokens * topk, columns]
  const std::uint8_t* present = nullptr;       ///< [tokens * topk]: 0 = absent
  const std::int32_t* expert_index = nullptr;  ///< [tokens * topk]: absent when out of 0 .. experts - 1 or elsewhere
  const std::int32_t* expert_map = nullptr;    ///< [experts], negative = elsewhere; null: every expert is here
  int experts = 0;                             ///< with expert_index
  y_operand y = {};                            ///< rows = tokens; bf16, fp16 or fp32
  bool accumulate = false;
};

}  // namespace tilefit::inline v0::gpu

namespace tilefit::inline v0::detail {

inline constexpr int reduce_threads = 128;

/// Blocks of reduce_threads threads for `rows` rows of `pieces` each, `most_blocks` at most, or what is wrong with
/// them.
constexpr refusal refuse_grid(std::int64_t rows, std::int64_t pieces, std::int64_t most_blocks) noexcept {
  const std::int64_t most = most_blocks / ceil_div(pieces, reduce_threads);
  return rows <= most ? refusal{} : bad_number("rows of y", rows, relation::at_most, most);
}

/// What is wrong with rows that are to be written.
constexpr refusal refuse_y(const y_operand& y, std::int64_t rows, std::int64_t columns) noexcept {
  constexpr std::int64_t most = INT32_MAX;
  if (rows < 0) return bad_number("rows of y", rows, relation::at_least, 0);
  if (rows > most) return bad_number("rows of y", rows, relation::at_most, most);
  if (columns < 0) return bad_number("columns of y", columns, relation::at_least, 0);
  if (columns > most) return bad_number("columns of y", columns, relation::at_most, most);
  if (rows == 0) return nothing_to_do("rows of y");
  if (columns == 0) return nothing_to_do("columns of y");
  if (y.type != dtype::fp32 && y.type != dtype::bf16 && y.type != dtype::fp16)
    return {.status = status_code::unsupported_dtype,
            .subject = "number of bits of y",
            .value = bits_of(y.type),
            .must_be = relation::at_least,
            .limit = 16,
            .why = "y is fp32, bf16 or fp16"};
  if (y.data == nullptr) return missing("y");
  if (y.row_stride < columns) return bad_number("row stride of y", y.row_stride, relation::at_least, columns);
  constexpr std::int64_t most_elements = std::int64_t{1} << 56;  // as in check_args: offsets stay below 2^63
  if (y.row_stride > most_elements / rows)
    return bad_number("row stride of y", y.row_stride, relation::at_most, most_elements / rows);
  return {};
}

/// Everything that is wrong with a sum, but for its grid.
constexpr refusal refuse_sum(const gpu::reduce_topk_args& args) noexcept {
  if (args.topk < 1) return bad_number("topk", args.topk, relation::at_least, 1);
  if (const refusal reason = refuse_y(args.y, args.tokens, args.columns)) return reason;
  const std::int64_t most_tokens = INT32_MAX / args.topk;
  if (args.tokens > most_tokens) return bad_number("tokens", args.tokens, relation::at_most, most_tokens);
  if (args.y.rows != args.tokens) return bad_number("rows of y", args.y.rows, relation::exactly, args.tokens);
  if (args.parts == nullptr) return missing("parts");
  if (args.present != nullptr && args.expert_index != nullptr)
    return {.status = status_code::invalid_argument,
            .subject = "expert_index",
            .value = 1,
            .must_be = relation::absent,
            .why = "the byte map says which parts are present"};
  if (args.expert_index != nullptr && args.experts < 1)
    return bad_number("experts", args.experts, relation::at_least, 1);
  if (args.expert_index == nullptr && args.expert_map != nullptr) return missing("expert_index");
  return {};
}

}  // namespace tilefit::inline v0::detail
