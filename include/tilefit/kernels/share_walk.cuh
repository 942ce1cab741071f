// L5: a block's share of all experts' columns, found with the lanes of a warp side by side.
// Knows: the expert offsets, what columns cost (schedule.hpp).
// Must not know: what is done with a piece.
#pragma once

#include <cstdint>

#include "../detail/config.hpp"
#include "../detail/math.hpp"
#include "schedule.hpp"

namespace tilefit::inline v0::kernels {

/// Shares end between units of `UnitAtoms` atoms of 16 columns. A piece has at most `SlabAtoms` atoms, and no two
/// pieces of an expert share a unit. All lanes of a warp call everything, with the same arguments.
template <int BlockM, int WidthStep, int UnitAtoms, int SlabAtoms>
class share_walk {
 public:
  __device__ share_walk(const std::int32_t* offsets, int experts, std::int32_t m, int atoms) noexcept
      : offsets_(offsets), experts_(experts), m_(m), atoms_(atoms), units_((atoms + UnitAtoms - 1) / UnitAtoms) {
    // Loads of several groups of experts are under way together: each would take a microsecond when the L2 is cold.
    std::int32_t cost = 0;
    for (int group = 0; group < experts_; group += 32 * at_once) {
      std::int32_t rows[at_once];
#pragma unroll
      for (int i = 0; i < at_once; ++i) rows[i] = range_of(group + 32 * i).rows;
#pragma unroll
      for (int i = 0; i < at_once; ++i) cost += column_cost(rows[i], BlockM, WidthStep);
    }
    const std::int64_t total = std::int64_t{__reduce_add_sync(all_lanes, static_cast<unsigned>(cost))} * units_;
    const step_run share = run_of(total, gridDim.x, blockIdx.x);
    begin_ = share.begin;
    end_ = share.end;
    load(0);
  }

  /// Calls use(piece) for every piece of the share; K is not the walk's business.
  template <class Use>
  __device__ void each(Use use) noexcept {
    while (begin_ < end_) {
      const unsigned holders = __ballot_sync(all_lanes, cost_ > 0 && before_ + std::int64_t{cost_} * units_ > begin_);
      if (holders == 0) {
        if (group_ + 32 >= experts_) return;
        load(group_ + 32);
        continue;
      }
      const int lane = __ffs(static_cast<int>(holders)) - 1;
      const std::int64_t before = __shfl_sync(all_lanes, before_, lane);
      const std::int32_t cost = __shfl_sync(all_lanes, cost_, lane);
      const std::int32_t first = __shfl_sync(all_lanes, first_, lane);
      const std::int32_t rows = __shfl_sync(all_lanes, rows_, lane);
      const unit_run run = units_of(begin_, end_, before, cost, units_);
      begin_ = before + std::int64_t{cost} * units_;
      const std::int32_t last_atom = detail::min(run.end * UnitAtoms, atoms_);
      for (std::int32_t atom = run.begin * UnitAtoms; atom < last_atom;) {
        // No piece crosses a multiple of SlabAtoms further than it must: groups of 64 columns stay whole.
        const std::int32_t atoms = detail::min(SlabAtoms - atom % 4, last_atom - atom);
        for (std::int32_t done = 0; done < rows; done += BlockM) {
          use(work_piece{.expert = group_ + lane,
                         .first_row = first + done,
                         .rows = static_cast<std::int16_t>(detail::min(rows - done, BlockM)),
                         .atoms = static_cast<std::int16_t>(atoms),
                         .first_atom = atom});
        }
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
    const int expert = group + static_cast<int>(threadIdx.x % 32);
    if (expert >= experts_) return {};
    const std::int32_t first = offsets_ == nullptr ? 0 : offsets_[expert];
    return {first, (offsets_ == nullptr ? m_ : offsets_[expert + 1]) - first};
  }

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
    before_ = groups_before_ + std::int64_t{sum - cost_} * units_;
    groups_before_ += std::int64_t{__shfl_sync(all_lanes, sum, 31)} * units_;
  }

  const std::int32_t* offsets_;
  int experts_;
  std::int32_t m_;
  std::int32_t atoms_;
  std::int32_t units_;  // of every expert
  std::int64_t begin_, end_;
  int group_ = 0;
  std::int64_t groups_before_ = 0;           // cost of the groups up to and with this one
  std::int64_t before_ = 0;                  // cost before this lane's expert
  std::int32_t first_ = 0, rows_ = 0, cost_ = 0;  // of this lane's expert; cost of a unit
};

}  // namespace tilefit::inline v0::kernels
