// What makes a problem unanswerable, whatever the policy.
// Knows: ranges of the members.
// Must not know: tiles or kernels.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>

#include "../arch.hpp"
#include "../constraint_rules.hpp"
#include "../kernel_policy.hpp"
#include "../matmul_problem.hpp"
#include "../opt_flags.hpp"
#include "../status.hpp"

namespace tilefit::inline v0::detail {

/// Largest m; and largest n, k: they keep every byte count and time in 64 bits.
inline constexpr std::int64_t max_rows = std::numeric_limits<std::int32_t>::max();
inline constexpr std::int64_t max_columns = std::int64_t{1} << 20;
inline constexpr int max_experts = 1 << 16;

constexpr refusal find_fault(const matmul_problem& problem) noexcept {
  using enum status_code;
  struct bound {
    std::string_view name;
    std::int64_t value, low, high;
  };
  const bound bounds[] = {
      {"m", problem.m, 0, max_rows},
      {"n", problem.n, 0, max_columns},
      {"k", problem.k, 1, max_columns},
      {"experts", problem.experts, 1, max_experts},
      {"topk", problem.topk, 1, max_experts},
      {"batch", problem.batch, 1, problem.is_ragged() ? 1 : max_experts},
      {"scale_block", problem.formats.scale_block, 1, max_columns},
      {"rows_per_expert", problem.rows.rows_per_expert,
       problem.rows.kind == row_distribution::kind_id::expected ? 1 : 0, max_rows},
  };
  for (const bound& b : bounds) {
    if (b.value < b.low) return {invalid_problem, b.name, b.value, relation::at_least, b.low};
    if (b.value > b.high) return {invalid_problem, b.name, b.value, relation::at_most, b.high};
  }
  const bool scaled = has_block_scales(problem.formats.w) || has_block_scales(problem.formats.x);
  if (scaled && problem.k % problem.formats.scale_block != 0)
    return {invalid_problem,
            "k",
            problem.k,
            relation::multiple_of,
            problem.formats.scale_block,
            "elements that share a scale"};
  if (problem.formats.act == activation::swiglu && problem.n % 2 != 0)
    return {invalid_problem, "n", problem.n, relation::multiple_of, 2, "gate and up columns come in pairs"};
  if (problem.rows.kind == row_distribution::kind_id::histogram) {
    const auto entries = static_cast<std::int64_t>(problem.rows.histogram.size());
    if (entries != problem.experts)
      return {invalid_problem, "number of histogram entries", entries, relation::exactly,
              problem.experts, "one for each expert"};
    std::int64_t rows = 0;
    for (const std::int32_t count : problem.rows.histogram) {
      if (count < 0) return {invalid_problem, "a histogram entry", count, relation::at_least, 0};
      rows += count;
    }
    if (rows != problem.m) return {invalid_problem, "sum of the histogram", rows, relation::exactly, problem.m, "m"};
  }
  return {};
}

/// Constraints that no tile of any policy can meet on this architecture.
constexpr refusal find_fault(const opt_flags_constraints& constraints, const arch_traits& arch) noexcept {
  if (const constraint_check check = validate(constraints); check.status != status_code::ok)
    return check.value < check.rule.min
               ? refusal{check.status, check.rule.name, check.value, relation::at_least, check.rule.min}
               : refusal{check.status, check.rule.name, check.value, relation::at_most, check.rule.max};
  if (constraints.idle_sms.value_or(0) >= arch.sm_count)
    return {status_code::invalid_constraint,
            "idle_sms",
            *constraints.idle_sms,
            relation::at_most,
            arch.sm_count - 1,
            "one SM must work"};
  return {};
}

}  // namespace tilefit::inline v0::detail
