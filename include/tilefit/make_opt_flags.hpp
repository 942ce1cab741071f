// L3: the engine. One function: candidates -> what is legal -> what fits -> the fastest of those.
// Knows: the order of these steps and what to answer when one leaves nothing.
// Must not know: any chip, kernel or byte.
#pragma once

#include <cstdint>

#include "arch.hpp"
#include "constraint_rules.hpp"
#include "cost_model.hpp"
#include "detail/math.hpp"
#include "detail/search.hpp"
#include "detail/validate.hpp"
#include "kernel_policy.hpp"
#include "matmul_problem.hpp"
#include "ogs_policy.hpp"
#include "opt_flags.hpp"
#include "smem_plan.hpp"
#include "status.hpp"

namespace tilefit::inline v0 {

/// What the engine answers. `flags` is a tile that fits whenever `has_tile()`; after no_fit it is the nearest one.
struct selection {
  status_code status = status_code::ok;
  opt_flags flags;
  smem_plan plan;                 ///< of `flags`
  std::int64_t budget_bytes = 0;  ///< the most a block can have on this architecture
  predicted_cost cost;            ///< of `flags`
  opt_flags wished;               ///< what would have been chosen had shared memory been endless
  std::int64_t wished_bytes = 0;  ///< what `wished` needs: with its stages, or with one where there is no room for any
  constraint_set relaxed;         ///< constraints that `flags` does not honour
  refusal refused;                ///< behind a failing status: which number is at fault

  constexpr bool ok() const noexcept { return succeeded(status); }
  constexpr bool has_tile() const noexcept { return flags.block_m > 0; }
  constexpr std::int64_t need_bytes() const noexcept { return plan.total_bytes(); }
};

namespace detail {

/// Why strict constraints leave no tile: what the wished-for tile needs, or, where that would fit, the most important
/// constraint that no kernel honours.
constexpr refusal why_no_fit(const selection& answer, const opt_flags_constraints& constraints) noexcept {
  using enum constraint_member;
  if (answer.wished_bytes > answer.budget_bytes)
    return {status_code::no_fit, "shared memory of a block", answer.wished_bytes,
            relation::at_most,   answer.budget_bytes,        "with all constraints"};
  struct choice {
    constraint_id id;
    constraint_member member;
    int have;
  };
  const opt_flags& flags = answer.flags;
  const choice choices[] = {
      {constraint_id::block_k, block_k, flags.block_k},
      {constraint_id::block_m, block_m, flags.block_m},
      {constraint_id::block_n, block_n, flags.block_n},
      {constraint_id::num_warps, num_warps, flags.num_warps},
      {constraint_id::is_persistent, is_persistent, flags.is_persistent ? 1 : 0},
      {constraint_id::num_stages, num_stages, flags.num_stages},
  };
  for (const choice& each : choices)
    if (answer.relaxed.has(each.id))
      return {status_code::no_fit,
              name_of(each.member),
              value_of(constraints, each.member).value_or(0),
              relation::exactly,
              each.have,
              "as in the nearest tile that fits"};
  return {status_code::no_fit, "epilogue_subtile",     constraints.epilogue_subtile.value_or(0),
          relation::exactly,   flags.epilogue_subtile, "as in the nearest tile that fits"};
}

}  // namespace detail

/// The problem that a choice is made for: the caller's, or with batch_invariant one that does not depend on m
/// (128 rows for every expert, upstream's block_m for bitwise invariance).
constexpr matmul_problem reference_problem(const matmul_problem& problem,
                                           const opt_flags_constraints& constraints) noexcept {
  if (!constraints.batch_invariant.value_or(false)) return problem;
  matmul_problem reference = problem;
  reference.m = std::int64_t{128} * problem.experts;
  reference.rows = row_distribution::expected(128);
  return reference;
}

/// Chooses the tile for `problem` on `arch` among the kernels of `policy`.
///
/// Never throws, allocates or asserts, and gives the same answer in a constant expression. Statuses:
///  * ok, ok_fallback (no room for one stage of the wished-for tile), ok_constraint_relaxed, empty (nothing to launch)
///  * invalid_problem, invalid_constraint, unsupported_dtype, unsupported_feature, constraint_refused: see `refused`
///  * no_fit: strict constraints that no fitting tile honours, or a policy none of whose tiles fit
/// Constraints are relaxed least important first, see constraint_id; split_k, idle_sms and batch_invariant never are.
template <kernel_policy Policy = ogs_policy>
constexpr selection make_opt_flags(const arch_traits& arch, const matmul_problem& problem,
                                   const opt_flags_constraints& constraints = {}, const Policy& policy = {}) noexcept {
  selection answer;
  answer.budget_bytes = arch.smem_block_bytes;
  const auto refuse = [&answer](const refusal& why) {
    answer.status = why.status;
    answer.refused = why;
    return answer;
  };
  if (const refusal fault = detail::find_fault(problem)) return refuse(fault);
  if (const refusal fault = detail::find_fault(constraints, arch)) return refuse(fault);
  if constexpr (checks_problem<Policy>) {
    if (const refusal fault = policy.check(arch, problem, constraints)) return refuse(fault);
  }
  if (problem.m == 0 || problem.n == 0) {
    answer.status = status_code::empty;
    return answer;
  }

  const matmul_problem asked = reference_problem(problem, constraints);
  const math_path math = detail::math_path_of(policy, arch, asked.formats);
  if (math.gflops == 0)
    return refuse({status_code::unsupported_dtype, "rate of the matrix instructions", 0, relation::at_least, 1,
                   "the architecture has none for these formats"});
  const cost_model model(arch, asked, math, arch.sm_count - constraints.idle_sms.value_or(0));

  opt_flags chosen;
  bool searched = true;
  if constexpr (has_wish<Policy>) {
    answer.wished = policy.wish(arch, asked, constraints);
    answer.wished.idle_sms = constraints.idle_sms.value_or(0);
    const smem_plan plan = policy.plan(arch, asked.formats, answer.wished);
    answer.wished_bytes = plan.bytes_with(detail::max(answer.wished.num_stages, plan.min_stages));
    searched = !detail::usable(answer.wished) || answer.wished.num_stages < plan.min_stages ||
               answer.wished_bytes > answer.budget_bytes ||
               !detail::broken_by(answer.wished, answer.wished.num_stages, constraints).empty();
    if (!searched) chosen = answer.wished;
  }
  if (searched) {
    const detail::search_result found = detail::tile_search(policy, arch, asked, constraints, model).run();
    if (!has_wish<Policy> && found.wished.found()) {
      answer.wished = found.wished.flags;
      answer.wished_bytes = policy.plan(arch, asked.formats, answer.wished).bytes_with(answer.wished.num_stages);
    }
    if (!found.fitting.found()) {
      if (answer.wished.block_m == 0)
        return refuse({status_code::unsupported_dtype, "number of tiles that the policy has", 0, relation::at_least, 1,
                       "no kernel for this problem"});
      return refuse({status_code::no_fit, "shared memory of a block", answer.wished_bytes, relation::at_most,
                     answer.budget_bytes});
    }
    chosen = found.fitting.flags;
  }

  answer.flags = chosen;
  answer.plan = policy.plan(arch, asked.formats, chosen);
  answer.plan.place(chosen.num_stages);
  answer.cost = model.predict(chosen, answer.plan.stage_bytes);
  answer.relaxed = detail::broken_by(chosen, chosen.num_stages, constraints);
  if (searched && answer.wished_bytes > answer.budget_bytes) answer.status = status_code::ok_fallback;
  if (!answer.relaxed.empty()) {
    answer.status = status_code::ok_constraint_relaxed;
    if (constraints.strict.value_or(false)) return refuse(detail::why_no_fit(answer, constraints));
  }
  return answer;
}

}  // namespace tilefit::inline v0
