// The tiles next to a choice and what they would have cost.
// Knows: what "next to" means. Must not know: how a price is made; the engine's search is run on one candidate at a
// time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "../cost_model.hpp"
#include "../kernel_policy.hpp"
#include "../make_opt_flags.hpp"
#include "../opt_flags.hpp"
#include "search.hpp"

namespace tilefit::inline v0 {

/// A tile next to the chosen one, and why it was not taken.
struct rejected_tile {
  opt_flags flags;
  std::int64_t need_bytes = 0;  ///< with the stages of `flags`; with the fewest it can run with where it does not fit
  std::int64_t total_ps = 0;    ///< predicted; had there been room, where it does not fit
  bool fits = false;
  constraint_set broken;  ///< constraints it does not honour
};

namespace detail {

/// A policy that has one kernel.
template <kernel_policy Policy>
struct narrowed : Policy {
  opt_flags only;

  constexpr std::span<const opt_flags> candidates(const arch_traits&, const matmul_problem&) const noexcept {
    return {&only, 1};
  }
};

/// True for the tile sizes one step away from `chosen` along one block size, and for other ways to run the same size.
inline bool is_neighbour(const opt_flags& flags, const opt_flags& chosen, std::span<const opt_flags> all) {
  constexpr int opt_flags::*sizes[] = {&opt_flags::block_m, &opt_flags::block_n, &opt_flags::block_k};
  int opt_flags::*moved = nullptr;
  for (int opt_flags::*size : sizes) {
    if (flags.*size == chosen.*size) continue;
    if (moved != nullptr) return false;
    moved = size;
  }
  if (moved == nullptr)
    return flags.is_persistent != chosen.is_persistent || flags.epilogue_subtile != chosen.epilogue_subtile;
  const auto between = [&](const opt_flags& other) {
    const int low = std::min(flags.*moved, chosen.*moved), high = std::max(flags.*moved, chosen.*moved);
    return other.*moved > low && other.*moved < high;
  };
  return std::none_of(all.begin(), all.end(), between);
}

/// Best variant of every neighbouring size, and every variant of the chosen size; in the candidates' order.
template <kernel_policy Policy>
std::vector<rejected_tile> neighbours(const selection& choice, const arch_traits& arch, const matmul_problem& problem,
                                      const opt_flags_constraints& constraints, const Policy& policy) {
  const matmul_problem asked = reference_problem(problem, constraints);
  const cost_model model(arch, asked, math_path_of(policy, arch, asked.formats),
                         arch.sm_count - constraints.idle_sms.value_or(0));
  const std::span<const opt_flags> all = policy.candidates(arch, asked);
  std::vector<rejected_tile> found;
  for (const opt_flags& candidate : all) {
    if (!is_neighbour(candidate, choice.flags, all)) continue;
    narrowed<Policy> one{policy, candidate};
    const search_result result = tile_search(one, arch, asked, constraints, model).run();
    const scored_tile& tile = result.fitting.found() ? result.fitting : result.wished;
    if (!tile.found()) continue;
    rejected_tile rejected{.flags = tile.flags, .total_ps = tile.price.total_ps, .broken = tile.price.broken};
    rejected.fits = result.fitting.found();
    rejected.need_bytes = policy.plan(arch, asked.formats, tile.flags).bytes_with(tile.flags.num_stages);
    const auto same_size = [&](const rejected_tile& other) {
      return other.flags.block_m == tile.flags.block_m && other.flags.block_n == tile.flags.block_n &&
             other.flags.block_k == tile.flags.block_k;
    };
    const bool variant = same_size(rejected_tile{.flags = choice.flags, .broken = {}});
    if (variant && tile.flags == choice.flags) continue;
    const auto earlier = variant ? std::find_if(found.begin(), found.end(),
                                                [&](const rejected_tile& other) { return other.flags == tile.flags; })
                                 : std::find_if(found.begin(), found.end(), same_size);
    if (earlier == found.end()) {
      found.push_back(rejected);
    } else if (!variant && (rejected.fits > earlier->fits ||
                            (rejected.fits == earlier->fits && rejected.total_ps < earlier->total_ps))) {
      *earlier = rejected;
    }
  }
  return found;
}

}  // namespace detail
}  // namespace tilefit::inline v0
