// The engine's search over a policy's candidates.
// Knows: how to score one candidate and how to order two.
// Must not know: what the answer is wrapped in.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <initializer_list>
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
/// bytes. Equal prices are decided by the flags themselves, so that the order of candidates never matters.
struct tile_price {
  constraint_set broken{std::numeric_limits<std::uint16_t>::max()};
  std::int64_t total_ps = std::numeric_limits<std::int64_t>::max();
  std::int64_t bytes = 0;

  friend constexpr bool operator<(const tile_price& a, const tile_price& b) noexcept {
    if (a.broken.bits != b.broken.bits) return a.broken.bits < b.broken.bits;
    return a.total_ps != b.total_ps ? a.total_ps < b.total_ps : a.bytes < b.bytes;
  }
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
  static_assert(is_pow2(max_block));
  const auto less_one = [](int size) { return static_cast<unsigned>(size) - 1u; };
  const unsigned largest = less_one(flags.block_m) | less_one(flags.block_n) | less_one(flags.block_k);
  return largest < static_cast<unsigned>(max_block) && flags.num_stages > 0;
}

/// True when a block may have as many threads as these warps are. (A row without the number says nothing.)
constexpr bool launchable(const opt_flags& flags, const arch_traits& arch) noexcept {
  return arch.threads_per_block <= 0 || std::int64_t{flags.num_warps} * arch.wave_size <= arch.threads_per_block;
}

/// One search: what every candidate is measured with, and the best ones so far.
template <kernel_policy Policy>
class tile_search {
 public:
  constexpr tile_search(const Policy& policy, const arch_traits& arch, const matmul_problem& problem,
                        const opt_flags_constraints& constraints, const cost_model& model) noexcept
      : policy_(policy),
        arch_(arch),
        problem_(problem),
        constraints_(constraints),
        model_(model),
        constrained_(!(constraints == opt_flags_constraints{})),
        split_k_(requested_split(problem, constraints)) {}

  constexpr search_result run() noexcept {
    const std::span<const opt_flags> candidates = policy_.candidates(arch_, problem_);
    if (!constrained_) {
      try_bounded(candidates);
    } else if constexpr (adapts_tiles<Policy>) {
      for (const opt_flags& candidate : candidates) try_adapted(candidate, {}, tile_scope::preferred);
      if (!best_.fitting.found() || !best_.fitting.price.broken.empty())
        for (const opt_flags& candidate : candidates) try_adapted(candidate, {}, tile_scope::possible);
      // Constrained block sizes are given up one after the other (block_n, block_m, block_k) while nothing fits.
      constexpr auto lowest = static_cast<unsigned>(constraint_id::block_n);
      for (unsigned step = 1; step < 8 && !best_.fitting.found(); ++step)
        for (const opt_flags& candidate : candidates)
          try_adapted(candidate, {static_cast<std::uint16_t>(step * lowest)}, tile_scope::preferred);
    } else {
      // Tiles that cannot be shared by as many blocks as are asked for: where no other one is left.
      for (const bool shared : {true, false}) {
        if (best_.fitting.found()) break;
        for (const opt_flags& candidate : candidates) {
          if ((split_k_ <= candidate.split_k) != shared) continue;
          opt_flags flags = candidate;
          flags.num_stages = constraints_.num_stages.value_or(flags.num_stages);
          flags.idle_sms = constraints_.idle_sms.value_or(0);
          try_tile(flags);
        }
      }
    }
    return best_;
  }

 private:
  /// Candidates next to each other with the same rows, columns and split, and a time that none of them gets below.
  struct tile_run {
    std::int64_t least_ps = 0;
    std::uint32_t begin = 0, end = 0;
  };
  static constexpr std::uint32_t most_runs = 32;

  static constexpr bool same_bound(const opt_flags& a, const opt_flags& b) noexcept {
    return a.block_m == b.block_m && a.block_n == b.block_n && a.split_k == b.split_k;
  }

  /// Tries a run only where its bound is not worse than the best time so far; the one with the lowest bound first.
  constexpr void try_bounded(std::span<const opt_flags> candidates) noexcept {
    tile_run runs[most_runs];
    const auto size = static_cast<std::uint32_t>(candidates.size());
    std::uint32_t count = 0, first = 0;
    for (std::uint32_t begin = 0; begin < size;) {
      std::uint32_t end = begin + 1;
      while (end < size && same_bound(candidates[end], candidates[begin])) ++end;
      if (count == most_runs) {
        runs[count - 1].end = size;
        runs[count - 1].least_ps = 0;
        break;
      }
      if (usable(candidates[begin])) {
        count_rows(candidates[begin].block_m);
        runs[count] = {model_.least_ps(candidates[begin], split_k_, row_tiles_), begin, end};
        if (runs[count].least_ps < runs[first].least_ps) first = count;
        ++count;
      }
      begin = end;
    }
    for (std::uint32_t i = 0; i < count; ++i) {
      const tile_run& run = runs[i + first < count ? i + first : i + first - count];
      if (run.least_ps > best_.fitting.price.total_ps) continue;
      for (std::uint32_t index = run.begin; index < run.end; ++index) {
        if constexpr (adapts_tiles<Policy>)
          try_adapted(candidates[index], {}, tile_scope::preferred);
        else
          try_tile(candidates[index]);
      }
    }
  }

  constexpr void try_adapted(const opt_flags& candidate, constraint_set dropped, tile_scope scope) noexcept {
    opt_flags flags = candidate;
    flags.num_stages = constraints_.num_stages.value_or(flags.num_stages);
    flags.idle_sms = constraints_.idle_sms.value_or(0);
    if (constraints_.block_m && !dropped.has(constraint_id::block_m)) flags.block_m = *constraints_.block_m;
    if (constraints_.block_n && !dropped.has(constraint_id::block_n)) flags.block_n = *constraints_.block_n;
    if (constraints_.block_k && !dropped.has(constraint_id::block_k)) flags.block_k = *constraints_.block_k;
    try_tile(policy_.adapt(arch_, problem_, constraints_, flags, scope));
  }

  constexpr void count_rows(int block_m) noexcept {
    if (block_m == block_m_) return;
    block_m_ = block_m;
    block_n_ = 0;  // and so `work_` is made again
    row_tiles_ = model_.row_tiles(block_m);
  }

  /// Prices one candidate with all the stages it asks for and, if those are fewer, with the stages that fit.
  constexpr void try_tile(const opt_flags& candidate) noexcept {
    if (!usable(candidate) || !launchable(candidate, arch_)) return;
    count_rows(candidate.block_m);
    if (candidate.block_n != block_n_ || candidate.block_k != block_k_ || candidate.split_k != most_split_k_) {
      block_n_ = candidate.block_n;
      block_k_ = candidate.block_k;
      most_split_k_ = candidate.split_k;
      work_ = model_.work(candidate, split_k_, row_tiles_);
      rejected_ = {};
    }
    // With all its stages no better, so not worth counting bytes for; and no more pieces would make it better.
    if (no_better(candidate)) return;
    const std::int64_t endless_ps = model_.predict(work_, candidate, candidate.num_stages).total_ps;
    if (!constrained_ && endless_ps > best_.fitting.price.total_ps) {
      rejected_ = {candidate.is_persistent, candidate.epilogue_subtile, candidate.num_stages};
      return;
    }
    opt_flags flags = candidate;
    flags.split_k = work_.split_k;
    const smem_plan plan = policy_.plan(arch_, problem_.formats, flags);
    const int stages = plan.stages_within(arch_.smem_block_bytes, flags.num_stages);
    const tile_price endless = price(flags, flags.num_stages, plan, endless_ps);
    if (stages == flags.num_stages) {
      keep_better(best_.fitting, endless, flags, stages);
    } else if (stages > 0) {
      const std::int64_t total_ps = model_.predict(work_, flags, stages).total_ps;
      keep_better(best_.fitting, price(flags, stages, plan, total_ps), flags, stages);
    }
    keep_better(best_.wished, endless, flags, stages > 0 ? stages : plan.min_stages);
  }

  /// True for a candidate that the model cannot predict to be faster than the one of its size rejected last.
  constexpr bool no_better(const opt_flags& candidate) const noexcept {
    return candidate.is_persistent == rejected_.is_persistent && candidate.epilogue_subtile >= rejected_.pieces &&
           candidate.num_stages <= rejected_.most_stages;
  }

  TILEFIT_ALWAYS_INLINE constexpr tile_price price(const opt_flags& flags, int stages, const smem_plan& plan,
                                                   std::int64_t total_ps) const noexcept {
    return {constrained_ ? broken_by(flags, stages, constraints_) : constraint_set{}, total_ps,
            plan.bytes_with(stages)};
  }

  /// Keeps the better one of `best` and a candidate that runs with so many stages.
  TILEFIT_ALWAYS_INLINE constexpr void keep_better(scored_tile& best, const tile_price& price, const opt_flags& flags,
                                                   int stages) const noexcept {
    if (best.price < price) return;
    opt_flags complete = flags;
    complete.num_stages = stages;
    if (price < best.price || flags_before(complete, best.flags)) best = {price, complete};
  }

  const Policy& policy_;
  const arch_traits& arch_;
  const matmul_problem& problem_;
  const opt_flags_constraints& constraints_;
  const cost_model& model_;
  bool constrained_;
  int split_k_;
  search_result best_;
  // Facts of the tile size looked at last; neighbours in a list of candidates tend to share it.
  int block_m_ = 0, block_n_ = 0, block_k_ = 0, most_split_k_ = 0;
  std::int64_t row_tiles_ = 0;
  tile_work work_;
  struct {
    bool is_persistent = false;
    int pieces = 0, most_stages = 0;
  } rejected_;  // the last candidate of this size that was too slow with all its stages; 0 stages = none
};

}  // namespace tilefit::inline v0::detail
