// L3: what the engine must know of a family of kernels to choose tiles for it.
// Knows: the shape of a policy.
// Must not know: any particular kernel (ogs_policy.hpp, triton_ogs_policy.hpp).
#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <string_view>

#include "arch.hpp"
#include "cost_model.hpp"
#include "detail/math.hpp"
#include "matmul_problem.hpp"
#include "opt_flags.hpp"
#include "smem_plan.hpp"
#include "status.hpp"

namespace tilefit::inline v0 {

/// A family of kernels. Candidates are complete flags, but that num_stages is the most stages worth having and
/// split_k the most blocks that kernel can share a tile among along K (1 = it cannot).
///  * name()                     what explain calls it
///  * candidates(arch, problem)  every tile there is a kernel for, in any order
///  * plan(arch, formats, flags) shared memory of a tile: built with smem_plan::add
template <class Policy>
concept kernel_policy = requires(const Policy& policy, const arch_traits& arch, const matmul_problem& problem,
                                 const opt_flags& flags) {
  { policy.name() }
  noexcept->std::convertible_to<std::string_view>;
  { policy.candidates(arch, problem) }
  noexcept->std::convertible_to<std::span<const opt_flags>>;
  { policy.plan(arch, problem.formats, flags) }
  noexcept->std::same_as<smem_plan>;
};

/// split_k that the constraints ask for, or 0 = the policy's choice. max_allowable_mn as upstream means it: a split
/// only while m * n is below it.
constexpr int requested_split(const matmul_problem& problem, const opt_flags_constraints& constraints) noexcept {
  if (!constraints.split_k) return constraints.batch_invariant.value_or(false) ? 1 : 0;
  const std::int64_t most = constraints.max_allowable_mn.value_or(0);  // 0 = no limit
  const bool large = most > 0 && detail::saturating_mul(problem.m, problem.n) >= most;
  return large ? 1 : *constraints.split_k;
}

/// Optional member `check(arch, problem, constraints) -> refusal`: what the kernels cannot do on any tile.
template <class Policy>
concept checks_problem = requires(const Policy& policy, const arch_traits& arch, const matmul_problem& problem,
                                  const opt_flags_constraints& constraints) {
  { policy.check(arch, problem, constraints) }
  noexcept->std::same_as<refusal>;
};

/// Optional member `wish(arch, problem, constraints) -> opt_flags`: a heuristic of the policy's own. The engine takes
/// its answer where that fits and honours the constraints, and searches only where it does not. num_stages 0 = the
/// heuristic found no room; block_m 0 = it has no opinion.
template <class Policy>
concept has_wish = requires(const Policy& policy, const arch_traits& arch, const matmul_problem& problem,
                            const opt_flags_constraints& constraints) {
  { policy.wish(arch, problem, constraints) }
  noexcept->std::same_as<opt_flags>;
};

/// Which tiles of a policy that compiles on demand are looked at.
enum class tile_scope : std::uint8_t {
  preferred,  ///< those its own heuristic could come to
  possible    ///< also those it would only run when told to: where nothing preferred honours the constraints
};

/// Optional member `adapt(arch, problem, constraints, flags, scope) -> opt_flags`: the policy compiles on demand, so a
/// constrained block size or warp count becomes a candidate; `adapt` sets what follows from the tile.
/// block_m == 0 in the answer = no such kernel. It leaves block_m and block_n as they are, and split_k no larger.
template <class Policy>
concept adapts_tiles = requires(const Policy& policy, const arch_traits& arch, const matmul_problem& problem,
                                const opt_flags_constraints& constraints, const opt_flags& flags) {
  { policy.adapt(arch, problem, constraints, flags, tile_scope::preferred) }
  noexcept->std::same_as<opt_flags>;
};

/// Optional member `math(arch, formats) -> math_path`: which instructions the kernels use; otherwise the
/// fastest of the architecture.
template <class Policy>
concept has_math_path = requires(const Policy& policy, const arch_traits& arch, const matmul_formats& formats) {
  { policy.math(arch, formats) }
  noexcept->std::same_as<math_path>;
};

namespace detail {

template <kernel_policy Policy>
constexpr math_path math_path_of(const Policy& policy, const arch_traits& arch,
                                 const matmul_formats& formats) noexcept {
  if constexpr (has_math_path<Policy>)
    return policy.math(arch, formats);
  else
    return default_math_path(arch, formats);
}

}  // namespace detail
}  // namespace tilefit::inline v0
