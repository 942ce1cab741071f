// Words for numbers, statuses and problems.
// Knows: how a fact reads in a sentence.
// Must not know: which facts are worth saying (explain.hpp).
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "../dtype.hpp"
#include "../matmul_problem.hpp"
#include "../opt_flags.hpp"
#include "../status.hpp"

namespace tilefit::inline v0::detail {

/// 1234567 -> "1,234,567", whatever the locale.
inline std::string grouped(std::int64_t value) {
  std::string text = fmt::format("{}", value);
  const std::size_t first = text.front() == '-' ? 1 : 0;
  for (std::size_t place = text.size(); place > first + 3;) {
    place -= 3;
    text.insert(place, 1, ',');
  }
  return text;
}

inline std::string tile_words(const opt_flags& flags) {
  return fmt::format("{} x {} x {}", flags.block_m, flags.block_n, flags.block_k);
}

/// "block_n and num_stages"; "nothing" for the empty set.
inline std::string names_of(constraint_set set) {
  struct named {
    constraint_id id;
    std::string_view name;
  };
  constexpr named all[] = {{constraint_id::block_m, "block_m"},
                           {constraint_id::block_n, "block_n"},
                           {constraint_id::block_k, "block_k"},
                           {constraint_id::num_warps, "num_warps"},
                           {constraint_id::num_stages, "num_stages"},
                           {constraint_id::is_persistent, "is_persistent"},
                           {constraint_id::epilogue_subtile, "epilogue_subtile"}};
  std::string names;
  for (const named& each : all)
    if (set.has(each.id)) names += (names.empty() ? "" : " and ") + std::string(each.name);
  return names.empty() ? "nothing" : names;
}

/// "n is 33, must be a multiple of 32: <why>".
inline std::string sentence(const refusal& refused) {
  std::string text = fmt::format("{} is {}, must be ", refused.subject, grouped(refused.value));
  switch (refused.must_be) {
    case relation::at_least: text += "at least " + grouped(refused.limit); break;
    case relation::at_most: text += "at most " + grouped(refused.limit); break;
    case relation::exactly: text += grouped(refused.limit); break;
    case relation::multiple_of: text += "a multiple of " + grouped(refused.limit); break;
    case relation::absent: text += "absent"; break;
  }
  if (!refused.why.empty()) text += fmt::format(": {}", refused.why);
  return text;
}

/// "m 2,080, n 5,760, k 2,880, 32 experts, top-4, bf16 x mxfp4 -> bf16, gather, swiglu".
inline std::string describe(const matmul_problem& problem) {
  const matmul_formats& formats = problem.formats;
  std::string text = fmt::format("m {}, n {}, k {}", grouped(problem.m), grouped(problem.n), grouped(problem.k));
  if (problem.is_ragged()) text += fmt::format(", {} experts, top-{}", problem.experts, problem.topk);
  if (problem.batch > 1) text += fmt::format(", batch {}", problem.batch);
  text += fmt::format(", {} x {} -> {}", name_of(formats.x), name_of(formats.w), name_of(formats.y));
  if (formats.gather) text += ", gather";
  if (formats.scatter) text += ", scatter";
  if (formats.bias) text += ", bias";
  if (formats.act == activation::swiglu) text += ", swiglu";
  if (formats.x_transposed) text += ", X transposed";
  if (formats.accumulate) text += ", accumulate";
  return text;
}

}  // namespace tilefit::inline v0::detail
