// L3: measured choices that win over predicted ones.
// Knows: rows with the problem they were measured for, and how one is found: exactly, or not at all.
// Must not know: how anything is measured, or what the engine would have chosen.
#pragma once

#include <cstdint>
#include <span>

#include "arch.hpp"
#include "dtype.hpp"
#include "kernel_policy.hpp"
#include "matmul_problem.hpp"
#include "ogs_policy.hpp"
#include "opt_flags.hpp"

namespace tilefit::inline v0 {

/// A tile that was the fastest for one problem on one chip, and where that was seen. `tilefit-bench tune` writes
/// headers of them. Every member but the last three is the key: rows for other sizes say nothing about this one.
struct tuned_row {
  arch_id arch{};
  int sm_count = 0;
  std::int64_t m = 0;  ///< rows: tokens * topk
  std::int64_t n = 0;
  std::int64_t k = 0;
  int experts = 1;
  int topk = 1;
  dtype x = dtype::bf16;
  activation act = activation::none;
  opt_flags flags{};
  float microseconds = 0;         ///< median with `flags`
  float engine_microseconds = 0;  ///< median with what the engine chose by itself, in the same run
};

/// The row for a problem on a chip, or null. Problems in batches and W other than MXFP4 have none.
constexpr const tuned_row* find_tuned(std::span<const tuned_row> rows, const arch_traits& arch,
                                      const matmul_problem& problem) noexcept {
  if (problem.batch != 1 || problem.formats.w != dtype::mxfp4) return nullptr;
  for (const tuned_row& row : rows)
    if (row.m == problem.m && row.n == problem.n && row.k == problem.k && row.experts == problem.experts &&
        row.topk == problem.topk && row.x == problem.formats.x && row.act == problem.formats.act &&
        row.arch == arch.id && row.sm_count == arch.sm_count)
      return &row;
  return nullptr;
}

/// A policy whose wish is the tuned row where there is one that has a kernel among the policy's candidates. The engine
/// takes it while it fits and breaks no constraint, and searches as it always does everywhere else.
template <kernel_policy Policy = ogs_policy>
struct tuned_policy : Policy {
  std::span<const tuned_row> rows{};

  /// The tuned flags, or block_m == 0: no opinion.
  constexpr opt_flags wish(const arch_traits& arch, const matmul_problem& problem,
                           const opt_flags_constraints& constraints) const noexcept {
    const tuned_row* const row = find_tuned(rows, arch, problem);
    if (row == nullptr || (constraints.split_k && *constraints.split_k != row->flags.split_k)) return {};
    for (const opt_flags& tile : this->candidates(arch, problem))
      if (tile.block_m == row->flags.block_m && tile.block_n == row->flags.block_n &&
          tile.block_k == row->flags.block_k && tile.num_warps == row->flags.num_warps &&
          tile.num_stages >= row->flags.num_stages && tile.split_k >= row->flags.split_k)
        return row->flags;
    return {};
  }
};

}  // namespace tilefit::inline v0
