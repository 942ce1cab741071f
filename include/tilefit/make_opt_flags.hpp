// L3: the engine. One function: candidates -> what is legal -> what fits -> the fastest of those.
// Knows: the order of these steps and what to answer when one leaves nothing.
// Must not know: any chip, kernel or byte.
#pragma once

#include <cstdint>

#include "arch.hpp"
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

  /// Whether the caller can go on.
  constexpr bool ok() const noexcept { return succeeded(status); }
  /// Whether `flags` is a tile.
  constexpr bool has_tile() const noexcept { return flags.block_m > 0; }
  /// Shared memory of a block with `flags`.
  constexpr std::int64_t need_bytes() const noexcept { return plan.total_bytes(); }
};

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
///  * ok, ok_fallback (no room for the wished-for tile), ok_constraint_relaxed, empty (nothing to launch)
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
  bool searched = true, wish_runs = true;
  if constexpr (has_wish<Policy>) {
    answer.wished = policy.wish(arch, asked, constraints);
    answer.wished.idle_sms = constraints.idle_sms.value_or(0);
    const smem_plan plan = policy.plan(arch, asked.formats, answer.wished);
    answer.wished_bytes = plan.bytes_with(detail::max(answer.wished.num_stages, plan.min_stages));
    wish_runs = detail::usable(answer.wished) && detail::launchable(answer.wished, arch) &&
                answer.wished.num_stages >= plan.min_stages && answer.wished_bytes <= answer.budget_bytes;
    searched = !wish_runs || !detail::broken_by(answer.wished, answer.wished.num_stages, constraints).empty();
    if (!searched) chosen = answer.wished;
  }
  if (searched) {
    const detail::search_result found = detail::tile_search(policy, arch, asked, constraints, model).run();
    if (answer.wished.block_m == 0 && found.wished.found()) {  // no heuristic, or one without an opinion
      answer.wished = found.wished.flags;
      answer.wished_bytes = policy.plan(arch, asked.formats, answer.wished).bytes_with(answer.wished.num_stages);
      wish_runs = answer.wished_bytes <= answer.budget_bytes;
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
  answer.cost = model.predict(chosen);
  answer.relaxed = detail::broken_by(chosen, chosen.num_stages, constraints);
  if (!wish_runs) answer.status = status_code::ok_fallback;
  if (!answer.relaxed.empty()) {
    answer.status = status_code::ok_constraint_relaxed;
    if (constraints.strict.value_or(false))
      return refuse(detail::why_no_fit(chosen, answer.relaxed, constraints, answer.wished_bytes, answer.budget_bytes));
  }
  return answer;
}

}  // namespace tilefit::inline v0
