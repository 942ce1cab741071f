// What makes a problem unanswerable, whatever the policy.
// Knows: ranges of the members. Must not know: tiles or kernels.
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
    if (b.value < b.low) return {invalid_problem, b.name, b.value, b.low};
    if (b.value > b.high) return {invalid_problem, b.name, b.value, b.high};
  }
  const bool scaled = has_block_scales(problem.formats.w) || has_block_scales(problem.formats.x);
  if (scaled && problem.k % problem.formats.scale_block != 0)
    return {invalid_problem, "k (multiple of scale_block)", problem.k, problem.formats.scale_block};
  if (problem.formats.act == activation::swiglu && problem.n % 2 != 0)
    return {invalid_problem, "n (even, for interleaved gate and up columns)", problem.n, 2};
  if (problem.rows.kind == row_distribution::kind_id::histogram) {
    const auto entries = static_cast<std::int64_t>(problem.rows.histogram.size());
    if (entries != problem.experts) return {invalid_problem, "entries of the histogram", entries, problem.experts};
    std::int64_t rows = 0;
    for (const std::int32_t count : problem.rows.histogram) {
      if (count < 0) return {invalid_problem, "rows of an expert", count, 0};
      rows += count;
    }
    if (rows != problem.m) return {invalid_problem, "sum of the histogram", rows, problem.m};
  }
  return {};
}

/// Constraints that no tile of any policy can meet on this architecture.
constexpr refusal find_fault(const opt_flags_constraints& constraints, const arch_traits& arch) noexcept {
  if (const constraint_check check = validate(constraints); check.status != status_code::ok)
    return {check.status, check.rule.name, check.value, check.value < check.rule.min ? check.rule.min : check.rule.max};
  if (constraints.idle_sms.value_or(0) >= arch.sm_count)
    return {status_code::invalid_constraint, "idle_sms", *constraints.idle_sms, arch.sm_count - 1};
  return {};
}

}  // namespace tilefit::inline v0::detail
