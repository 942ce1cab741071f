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

/// Price of a candidate. Lower is better: fewer and less important broken constraints, then less time, then fewer
/// bytes, then the flags themselves, so that the order of candidates never matters.
struct tile_price {
  constraint_set broken{std::numeric_limits<std::uint16_t>::max()};
  std::int64_t total_ps = std::numeric_limits<std::int64_t>::max();
  std::int64_t bytes = 0;
};

struct scored_tile {
  tile_price price;
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

/// Keeps the better one of `best` and the candidate.
TILEFIT_ALWAYS_INLINE constexpr void keep_better(scored_tile& best, const tile_price& price, const opt_flags& flags,
                                                 int stages, int split_k) noexcept {
  if (price.broken.bits > best.price.broken.bits) return;
  if (price.broken.bits == best.price.broken.bits) {
    if (price.total_ps > best.price.total_ps) return;
    if (price.total_ps == best.price.total_ps && price.bytes > best.price.bytes) return;
  }
  opt_flags complete = flags;
  complete.num_stages = stages;
  complete.split_k = split_k;
  const bool tie = price.broken.bits == best.price.broken.bits && price.total_ps == best.price.total_ps &&
                   price.bytes == best.price.bytes;
  if (!tie || flags_before(complete, best.flags)) best = {price, complete};
}

/// What a search found: the best tile that fits, and the best one had shared memory been endless.
struct search_result {
  scored_tile fitting;
  scored_tile wished;
};

/// Constraints that a tile with these flags, but `stages` stages, does not honour.
constexpr constraint_set broken_by(const opt_flags& flags, int stages, const opt_flags_constraints& wanted) noexcept {
  constraint_set broken;
  const auto check = [&broken](const auto& want, auto have, constraint_id id) {
    if (want && *want != have) broken.add(id);
  };
  check(wanted.epilogue_subtile, flags.epilogue_subtile, constraint_id::epilogue_subtile);
  check(wanted.num_stages, stages, constraint_id::num_stages);
  check(wanted.is_persistent, flags.is_persistent, constraint_id::is_persistent);
  check(wanted.num_warps, flags.num_warps, constraint_id::num_warps);
  check(wanted.block_n, flags.block_n, constraint_id::block_n);
  check(wanted.block_m, flags.block_m, constraint_id::block_m);
  check(wanted.block_k, flags.block_k, constraint_id::block_k);
  return broken;
}

/// False for "no such kernel" (block_m == 0) and for sizes that the cost model cannot count.
constexpr bool usable(const opt_flags& flags) noexcept {
  const auto in_range = [](int size) { return static_cast<unsigned>(size - 1) < static_cast<unsigned>(max_block); };
  return in_range(flags.block_m) && in_range(flags.block_n) && in_range(flags.block_k) && flags.num_stages > 0;
}

/// Scores every candidate of `policy`. `dropped` names block sizes whose constraint is not put into the candidates of
/// a policy that compiles on demand.
template <kernel_policy Policy>
constexpr search_result search_tiles(const Policy& policy, const arch_traits& arch, const matmul_problem& problem,
                                     const opt_flags_constraints& constraints, const cost_model& model,
                                     constraint_set dropped) noexcept {
  search_result best;
  const bool constrained = !(constraints == opt_flags_constraints{});
  const int split = requested_split(problem, constraints);
  const std::span<const opt_flags> candidates = policy.candidates(arch, problem);

  // Facts of the tile size looked at last; neighbours in a list of candidates tend to share it.
  int block_m = 0, block_n = 0, block_k = 0;
  std::int64_t row_tiles = 0;
  std::int64_t least_ps = 0;
  const auto look_at = [&](const opt_flags& flags) {
    if (flags.block_m == block_m && flags.block_n == block_n) return;
    if (flags.block_m != block_m) row_tiles = model.row_tiles(flags.block_m);
    block_m = flags.block_m;
    block_n = flags.block_n;
    block_k = 0;
    least_ps = model.least_ps(block_m, block_n, split, row_tiles);
  };

  // A tile whose bound is worse than the best time found cannot win, so start where the bound is lowest.
  std::size_t first = 0;
  if (!constrained && !adapts_tiles<Policy>) {
    std::int64_t lowest_ps = std::numeric_limits<std::int64_t>::max();
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      if (!usable(candidates[i])) continue;
      look_at(candidates[i]);
      if (least_ps < lowest_ps) {
        lowest_ps = least_ps;
        first = i;
      }
    }
  }

  tile_work work;
  opt_flags altered;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const std::size_t index = i + first < candidates.size() ? i + first : i + first - candidates.size();
    const opt_flags* flags = &candidates[index];
    if (constrained || adapts_tiles<Policy>) {
      altered = candidates[index];
      altered.num_stages = constraints.num_stages.value_or(altered.num_stages);
      altered.idle_sms = constraints.idle_sms.value_or(0);
      if constexpr (adapts_tiles<Policy>) {
        if (constraints.block_m && !dropped.has(constraint_id::block_m)) altered.block_m = *constraints.block_m;
        if (constraints.block_n && !dropped.has(constraint_id::block_n)) altered.block_n = *constraints.block_n;
        if (constraints.block_k && !dropped.has(constraint_id::block_k)) altered.block_k = *constraints.block_k;
        altered = policy.adapt(arch, problem, constraints, altered);
      }
      flags = &altered;
    }
    if (!usable(*flags)) continue;
    look_at(*flags);
    if (!constrained && least_ps > best.fitting.price.total_ps) continue;
    if (flags->block_k != block_k) {
      block_k = flags->block_k;
      work = model.work(block_m, block_n, block_k, split, row_tiles);
    }

    const smem_plan plan = policy.plan(arch, problem.formats, *flags);
    const int fitting_stages = plan.stages_within(arch.smem_block_bytes, flags->num_stages);
    const auto price = [&](int stages) {
      return tile_price{constrained ? broken_by(*flags, stages, constraints) : constraint_set{},
                        model.predict(work, *flags, stages, plan.stage_bytes).total_ps, plan.bytes_with(stages)};
    };
    const tile_price endless = price(flags->num_stages);
    keep_better(best.wished, endless, *flags, fitting_stages > 0 ? fitting_stages : plan.min_stages, work.split_k);
    if (fitting_stages > 0) {
      const tile_price real = fitting_stages == flags->num_stages ? endless : price(fitting_stages);
      keep_better(best.fitting, real, *flags, fitting_stages, work.split_k);
    }
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
