// L5: a block's share of all experts' columns, found with the lanes of a warp side by side.
// Knows: the expert offsets, what columns cost (schedule.hpp).
// Must not know: what is done with a piece.
#pragma once

#include <cstdint>

#include "../detail/config.hpp"
#include "../detail/math.hpp"
#include "ogs_params.hpp"
#include "schedule.hpp"

namespace tilefit::inline v0::kernels {

/// Shares end between units of `UnitAtoms` atoms of 16 columns. A piece has at most `SlabAtoms` atoms, and no two
/// pieces of an expert share a unit. All lanes of a warp call everything, with the same arguments. The cost of all
/// columns must be less than 2^31.
template <int BlockM, int WidthStep, int UnitAtoms, int SlabAtoms>
class share_walk {
 public:
  __device__ explicit share_walk(const ogs_params& params) noexcept : params_(params) {
    // Loads of several groups of experts are under way together: each would take a microsecond when the L2 is cold.
    std::int32_t cost = 0;
    for (int group = 0; group < params_.args.experts; group += 32 * at_once) {
      std::int32_t rows[at_once];
#pragma unroll
      for (int i = 0; i < at_once; ++i) rows[i] = range_of(group + 32 * i).rows;
#pragma unroll
      for (int i = 0; i < at_once; ++i) cost += column_cost(rows[i], BlockM, WidthStep);
    }
    const std::int64_t total = std::int64_t{__reduce_add_sync(all_lanes, static_cast<unsigned>(cost))} * units();
    const step_run share = run_of(total, gridDim.x, blockIdx.x);
    begin_ = static_cast<std::int32_t>(share.begin);
    end_ = static_cast<std::int32_t>(share.end);
    load(0);
  }

  /// Calls use(piece) for every piece of the share; K is not the walk's business.
  template <class Use>
  __device__ void each(Use use) noexcept {
    while (begin_ < end_) {
      const unsigned holders = __ballot_sync(all_lanes, before_ + cost_ * units() > begin_);
      if (holders == 0) {
        load(group_ + 32);
        continue;
      }
      const int lane = __ffs(static_cast<int>(holders)) - 1;
      const std::int32_t before = __shfl_sync(all_lanes, before_, lane);
      const std::int32_t cost = __shfl_sync(all_lanes, cost_, lane);
      const std::int32_t first = __shfl_sync(all_lanes, first_, lane);
      const std::int32_t rows = __shfl_sync(all_lanes, rows_, lane);
      const unit_run run = units_of(begin_, end_, before, cost, units());
      begin_ = before + cost * units();
      const std::int32_t last_atom = detail::min(run.end * UnitAtoms, params_.atoms);
      for (std::int32_t atom = run.begin * UnitAtoms; atom < last_atom;) {
        // Atoms lie in a stage by groups of four: a piece that begins within one has so many atoms fewer.
        const std::int32_t atoms = detail::min(SlabAtoms - atom % 4, last_atom - atom);
        for (std::int32_t done = 0; done < rows; done += BlockM)
          use(work_piece{.expert = group_ + lane,
                         .first_row = first + done,
                         .rows = static_cast<std::int16_t>(detail::min(rows - done, BlockM)),
                         .atoms = static_cast<std::int16_t>(atoms),
                         .first_atom = atom});
        atom += atoms;
      }
    }
  }

 private:
  static constexpr unsigned all_lanes = 0xFFFFFFFFu;
  static constexpr int at_once = 4;

  struct row_range {
    std::int32_t first = 0;
    std::int32_t rows = 0;
  };
  /// Of this lane's expert of a group.
  __device__ row_range range_of(int group) const noexcept {
    const matmul_args& args = params_.args;
    const int expert = group + static_cast<int>(threadIdx.x % 32);
    if (expert >= args.experts) return {};
    if (args.expert_offsets == nullptr) return {0, static_cast<std::int32_t>(args.m)};
    const std::int32_t first = args.expert_offsets[expert];
    return {first, args.expert_offsets[expert + 1] - first};
  }

  __device__ std::int32_t units() const noexcept { return (params_.atoms + UnitAtoms - 1) / UnitAtoms; }

  __device__ void load(int group) noexcept {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const row_range range = range_of(group);
    group_ = group;
    first_ = range.first;
    rows_ = range.rows;
    cost_ = column_cost(rows_, BlockM, WidthStep);
    std::int32_t sum = cost_;
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
      const std::int32_t below = __shfl_up_sync(all_lanes, sum, static_cast<unsigned>(distance));
      if (lane >= distance) sum += below;
    }
    before_ = groups_before_ + (sum - cost_) * units();
    groups_before_ += __shfl_sync(all_lanes, sum, 31) * units();
  }

  const ogs_params& params_;
  std::int32_t begin_, end_;
  int group_ = 0;
  std::int32_t groups_before_ = 0;                // cost of the groups up to and with this one
  std::int32_t before_ = 0;                       // cost before this lane's expert
  std::int32_t first_ = 0, rows_ = 0, cost_ = 0;  // of this lane's expert; cost of a unit
};

}  // namespace tilefit::inline v0::kernels
