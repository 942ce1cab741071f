// L2: the choice (flags) and the wishes that bound it (constraints).
// Knows: the knobs.
// Must not know: what they cost, or which combinations fit.
#pragma once

#include <cstdint>
#include <optional>

#include "detail/config.hpp"

namespace tilefit::inline v0 {

/// Hint for loads of the weights.
enum class cache_hint : std::uint8_t { normal, evict_first, evict_last };

/// Tile and schedule of one matmul. Structural: usable as `template <opt_flags F>`.
/// The member names are upstream `matmul_ogs`'s.
struct opt_flags {
  int block_m = 0;      ///< rows of a tile (tokens)
  int block_n = 0;      ///< columns of a tile (weight rows), before the activation
  int block_k = 0;      ///< elements of K per pipeline stage
  int num_warps = 0;    ///< warps (waves) of a block
  int num_stages = 0;   ///< tiles of X and W in flight
  int group_m = 1;      ///< row tiles that walk the columns together, for L2 reuse
  int xcd_swizzle = 1;  ///< XCDs that consecutive tiles are kept apart from; 1 = none
  int split_k = 1;      ///< blocks that share one output tile along K
  bool is_persistent = false;
  int epilogue_subtile = 0;  ///< pieces an output tile is staged in; 0 = not staged through shared memory
  int idle_sms = 0;          ///< SMs a persistent grid leaves to others
  int waves_per_eu = 0;      ///< AMD occupancy hint; 0 = the compiler's own
  cache_hint w_cache = cache_hint::normal;

  friend constexpr bool operator==(const opt_flags&, const opt_flags&) = default;
};

/// Largest block_m, block_n and block_k that the engine counts with.
inline constexpr int max_block = 4096;

/// What the caller insists on. An empty member leaves the choice to the engine.
/// (The initialisers let callers name a few members without -Wmissing-field-initializers.)
struct opt_flags_constraints {
  std::optional<int> block_m = {}, block_n = {}, block_k = {};
  std::optional<int> num_warps = {}, num_stages = {};
  std::optional<int> split_k = {};
  std::optional<int> epilogue_subtile = {};
  std::optional<bool> is_persistent = {};
  /// With split_k: the split applies only while m * n < max_allowable_mn (upstream's meaning).
  std::optional<std::int64_t> max_allowable_mn = {};
  std::optional<int> idle_sms = {};
  /// The same tile, stages and split for every m: results do not depend on who else is in the batch.
  std::optional<bool> batch_invariant = {};
  /// Fail with `no_fit` where no tile honours everything, instead of relaxing.
  std::optional<bool> strict = {};

  friend constexpr bool operator==(const opt_flags_constraints&, const opt_flags_constraints&) = default;
};

/// Constraints that can be relaxed, least important (relaxed first) to most important. The values order sets of them:
/// a set is worse than another when its most important member is.
enum class constraint_id : std::uint16_t {
  epilogue_subtile = 1u << 0,
  num_stages = 1u << 1,
  is_persistent = 1u << 2,
  num_warps = 1u << 3,
  block_n = 1u << 4,
  block_m = 1u << 5,
  block_k = 1u << 6,
};

/// A set of `constraint_id`s.
struct constraint_set {
  std::uint16_t bits = 0;

  /// Whether `id` is in the set.
  constexpr bool has(constraint_id id) const noexcept { return (bits & static_cast<std::uint16_t>(id)) != 0; }
  /// Whether nothing is.
  constexpr bool empty() const noexcept { return bits == 0; }
  /// Puts `id` into it.
  constexpr void add(constraint_id id) noexcept {
    bits = static_cast<std::uint16_t>(bits | static_cast<std::uint16_t>(id));
  }
};

}  // namespace tilefit::inline v0
