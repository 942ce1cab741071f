// What makes a question unanswerable, whatever the policy, and how an answer says so.
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
  refusal fault;
  const auto out_of_range = [&fault](std::string_view name, std::int64_t value, std::int64_t low, std::int64_t high) {
    if (value >= low && value <= high) return false;
    fault = value < low ? refusal{invalid_problem, name, value, relation::at_least, low}
                        : refusal{invalid_problem, name, value, relation::at_most, high};
    return true;
  };
  const bool expects_rows = problem.rows.kind == row_distribution::kind_id::expected;
  if (out_of_range("m", problem.m, 0, max_rows) || out_of_range("n", problem.n, 0, max_columns) ||
      out_of_range("k", problem.k, 1, max_columns) || out_of_range("experts", problem.experts, 1, max_experts) ||
      out_of_range("topk", problem.topk, 1, max_experts) ||
      out_of_range("batch", problem.batch, 1, problem.is_ragged() ? 1 : max_experts) ||
      out_of_range("scale_block", problem.formats.scale_block, 1, max_columns) ||
      out_of_range("rows_per_expert", problem.rows.rows_per_expert, expects_rows ? 1 : 0, max_rows))
    return fault;
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

/// An architecture that nothing can run on, and constraints that no tile of any policy can meet on it.
constexpr refusal find_fault(const opt_flags_constraints& constraints, const arch_traits& arch) noexcept {
  constexpr int most_sms = 1 << 16, most_lanes = 1 << 10;
  const auto fault = [](std::string_view name, std::int64_t value, relation must_be, std::int64_t limit) {
    return refusal{status_code::unsupported_feature, name, value, must_be, limit, "a number of the architecture"};
  };
  if (arch.sm_count < 1) return fault("sm_count", arch.sm_count, relation::at_least, 1);
  if (arch.sm_count > most_sms) return fault("sm_count", arch.sm_count, relation::at_most, most_sms);
  if (arch.wave_size < 1) return fault("wave_size", arch.wave_size, relation::at_least, 1);
  if (arch.wave_size > most_lanes) return fault("wave_size", arch.wave_size, relation::at_most, most_lanes);
  if (constraints == opt_flags_constraints{}) return {};
  if (const constraint_check check = validate(constraints); check.status != status_code::ok)
    return check.value < check.rule.min
               ? refusal{check.status, check.rule.name, check.value, relation::at_least, check.rule.min}
               : refusal{check.status, check.rule.name, check.value, relation::at_most, check.rule.max};
  const std::int64_t most_warps = arch.threads_per_block / arch.wave_size;
  if (most_warps > 0 && constraints.num_warps.value_or(0) > most_warps)
    return {status_code::invalid_constraint,        "num_warps", *constraints.num_warps, relation::at_most, most_warps,
            "that many waves are the largest block"};
  if (constraints.idle_sms.value_or(0) >= arch.sm_count)
    return {status_code::invalid_constraint,
            "idle_sms",
            *constraints.idle_sms,
            relation::at_most,
            arch.sm_count - 1,
            "one SM must work"};
  return {};
}

/// Why strict constraints leave no tile: what the wished-for tile needs, or, where that would fit, the most important
/// constraint that no kernel honours.
constexpr refusal why_no_fit(const opt_flags& nearest, constraint_set relaxed, const opt_flags_constraints& constraints,
                             std::int64_t wished_bytes, std::int64_t budget_bytes) noexcept {
  using enum constraint_member;
  if (wished_bytes > budget_bytes)
    return {status_code::no_fit, "shared memory of a block", wished_bytes, relation::at_most,
            budget_bytes,        "with all constraints"};
  struct choice {
    constraint_id id;
    constraint_member member;
    int have;
  };
  const choice choices[] = {
      {constraint_id::block_k, block_k, nearest.block_k},
      {constraint_id::block_m, block_m, nearest.block_m},
      {constraint_id::block_n, block_n, nearest.block_n},
      {constraint_id::num_warps, num_warps, nearest.num_warps},
      {constraint_id::is_persistent, is_persistent, nearest.is_persistent ? 1 : 0},
      {constraint_id::num_stages, num_stages, nearest.num_stages},
  };
  for (const choice& each : choices)
    if (relaxed.has(each.id))
      return {status_code::no_fit,
              name_of(each.member),
              value_of(constraints, each.member).value_or(0),
              relation::exactly,
              each.have,
              "as in the nearest tile that fits"};
  return {status_code::no_fit, "epilogue_subtile",       constraints.epilogue_subtile.value_or(0),
          relation::exactly,   nearest.epilogue_subtile, "as in the nearest tile that fits"};
}

}  // namespace tilefit::inline v0::detail
