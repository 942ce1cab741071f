// The engine's search over a policy's candidates.
// Knows: how to score one candidate and how to order two. Must not know: what the answer is wrapped in.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <limits>
#include <span>

#include "../arch.hpp"
#include "../cost_model.hpp"
#include "../kernel_policy.hpp"
#include "../matmul_problem.hpp"
#include "../opt_flags.hpp"
#include "../smem_plan.hpp"

namespace tilefit::inline v0::detail {

/// A candidate with its price. Lower is better: fewer and less important broken constraints, then less time, then
/// fewer bytes, then the flags themselves, so that the order of candidates never matters.
struct scored_tile {
  constraint_set broken{std::numeric_limits<std::uint16_t>::max()};
  std::int64_t total_ps = std::numeric_limits<std::int64_t>::max();
  std::int64_t bytes = 0;
  opt_flags flags;

  constexpr bool found() const noexcept { return flags.block_m > 0; }
};

constexpr bool flags_before(const opt_flags& a, const opt_flags& b) noexcept {
  const auto key = [](const opt_flags& f) {
    return std::array<int, 13>{f.is_persistent ? 1 : 0,
                               f.epilogue_subtile,
                               f.num_warps,
                               f.block_m,
                               f.block_n,
                               f.block_k,
                               f.num_stages,
                               f.split_k,
                               f.group_m,
                               f.xcd_swizzle,
                               f.waves_per_eu,
                               f.idle_sms,
                               static_cast<int>(f.w_cache)};
  };
  return key(a) < key(b);
}

constexpr bool better(const scored_tile& a, const scored_tile& b) noexcept {
  if (a.broken.bits != b.broken.bits) return a.broken.bits < b.broken.bits;
  if (a.total_ps != b.total_ps) return a.total_ps < b.total_ps;
  if (a.bytes != b.bytes) return a.bytes < b.bytes;
  return flags_before(a.flags, b.flags);
}

/// What a search found: the best tile that fits, and the best one had shared memory been endless.
struct search_result {
  scored_tile fitting;
  scored_tile wished;
};

constexpr constraint_set broken_by(const opt_flags& flags, const opt_flags_constraints& wanted) noexcept {
  constraint_set broken;
  const auto check = [&broken](const auto& want, auto have, constraint_id id) {
    if (want && *want != have) broken.add(id);
  };
  check(wanted.epilogue_subtile, flags.epilogue_subtile, constraint_id::epilogue_subtile);
  check(wanted.num_stages, flags.num_stages, constraint_id::num_stages);
  check(wanted.is_persistent, flags.is_persistent, constraint_id::is_persistent);
  check(wanted.num_warps, flags.num_warps, constraint_id::num_warps);
  check(wanted.block_n, flags.block_n, constraint_id::block_n);
  check(wanted.block_m, flags.block_m, constraint_id::block_m);
  check(wanted.block_k, flags.block_k, constraint_id::block_k);
  return broken;
}

/// Scores every candidate of `policy`. `dropped` names block sizes whose constraint is not put into the candidates of
/// a policy that compiles on demand.
template <kernel_policy Policy>
constexpr search_result search_tiles(const Policy& policy, const arch_traits& arch, const matmul_problem& problem,
                                     const opt_flags_constraints& constraints, const cost_model& model,
                                     constraint_set dropped) noexcept {
  search_result best;
  const int split = requested_split(problem, constraints);
  int counted_block_m = 0;
  std::int64_t row_tiles = 0;
  for (const opt_flags& candidate : std::span<const opt_flags>(policy.candidates(arch, problem))) {
    scored_tile tile;
    tile.flags = candidate;
    opt_flags& flags = tile.flags;
    flags.num_stages = constraints.num_stages.value_or(candidate.num_stages);
    flags.idle_sms = constraints.idle_sms.value_or(0);
    if constexpr (adapts_tiles<Policy>) {
      if (constraints.block_m && !dropped.has(constraint_id::block_m)) flags.block_m = *constraints.block_m;
      if (constraints.block_n && !dropped.has(constraint_id::block_n)) flags.block_n = *constraints.block_n;
      if (constraints.block_k && !dropped.has(constraint_id::block_k)) flags.block_k = *constraints.block_k;
      flags = policy.adapt(arch, problem, constraints, flags);
      if (flags.block_m == 0) continue;
    }
    if (flags.block_m != counted_block_m) {
      counted_block_m = flags.block_m;
      row_tiles = model.row_tiles(flags.block_m);
    }
    flags.split_k = split > 0 ? split : model.useful_split(flags, row_tiles);

    const smem_plan plan = policy.plan(arch, problem.formats, flags);
    const int wanted_stages = flags.num_stages;
    const int stages = plan.stages_within(arch.smem_block_bytes, wanted_stages);
    tile.total_ps = model.predict(flags, wanted_stages, plan.stage_bytes, row_tiles).total_ps;
    tile.broken = broken_by(flags, constraints);
    tile.bytes = plan.bytes_with(wanted_stages);
    if (better(tile, best.wished)) {
      best.wished = tile;
      best.wished.flags.num_stages = stages > 0 ? stages : 1;
    }
    if (stages == 0) continue;
    if (stages < wanted_stages) {
      flags.num_stages = stages;
      tile.total_ps = model.predict(flags, stages, plan.stage_bytes, row_tiles).total_ps;
      tile.broken = broken_by(flags, constraints);
      tile.bytes = plan.bytes_with(stages);
    }
    if (better(tile, best.fitting)) best.fitting = tile;
  }
  return best;
}

/// The same, giving up constrained block sizes one after the other (block_n, block_m, block_k) where nothing fits.
template <kernel_policy Policy>
constexpr search_result search_tiles(const Policy& policy, const arch_traits& arch, const matmul_problem& problem,
                                     const opt_flags_constraints& constraints, const cost_model& model) noexcept {
  search_result result = search_tiles(policy, arch, problem, constraints, model, constraint_set{});
  if constexpr (adapts_tiles<Policy>) {
    for (unsigned step = 1; step < 8 && !result.fitting.found(); ++step) {
      const auto lowest = static_cast<unsigned>(constraint_id::block_n);
      const search_result relaxed = search_tiles(policy, arch, problem, constraints, model,
                                                 constraint_set{static_cast<std::uint16_t>(step * lowest)});
      result.fitting = relaxed.fitting;
      if (!result.wished.found()) result.wished = relaxed.wished;
    }
  }
  return result;
}

}  // namespace tilefit::inline v0::detail
