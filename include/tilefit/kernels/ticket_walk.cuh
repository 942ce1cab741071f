// L5: which piece of work a ticket stands for, found with the lanes of a warp side by side.
// Knows: the expert offsets, in which order and how wide pieces are cut (schedule.hpp).
// Must not know: who draws tickets, what is done with a piece.
#pragma once

#include <cstdint>

#include "../detail/config.hpp"
#include "../detail/math.hpp"
#include "ogs_params.hpp"
#include "schedule.hpp"

namespace tilefit::inline v0::kernels {

/// Tickets 0, 1, ... are the pieces of the first expert that has rows, those of the next, and so on; of an expert all
/// row tiles of its first columns, of its next columns, and so on. Pieces are SlabAtoms atoms of 16 columns wide, and
/// narrower for the last experts, down to LeastAtoms, so that blocks which draw tickets end at about the same time.
/// All lanes of a warp call everything, with the same arguments; tickets must be asked for in ascending order.
template <int BlockM, int WidthStep, int SlabAtoms, int LeastAtoms>
class ticket_walk {
 public:
  __device__ explicit ticket_walk(const ogs_params& params) noexcept : params_(params) {
    if constexpr (LeastAtoms < SlabAtoms) {
      // Loads of several groups of experts are under way together: each would take a microsecond when the L2 is cold.
      std::int32_t cost = 0;
      for (int group = 0; group < params_.args.experts; group += 32 * at_once) {
        std::int32_t rows[at_once];
#pragma unroll
        for (int i = 0; i < at_once; ++i) rows[i] = range_of(group + 32 * i).rows;
#pragma unroll
        for (int i = 0; i < at_once; ++i) cost += column_cost(rows[i], BlockM, WidthStep);
      }
      cost_left_ = static_cast<std::int32_t>(__reduce_add_sync(all_lanes, static_cast<unsigned>(cost)));
      cost_ = cost_left_;
    }
    load(0);
  }

  /// Fills in expert, rows and columns of a ticket. False when there is no such ticket, and no later one.
  __device__ bool find(std::int32_t ticket, work_piece& piece) noexcept {
    while (ticket - before_ >= group_tickets_) {
      if (group_ + 32 >= params_.args.experts) return false;
      before_ += group_tickets_;
      load(group_ + 32);
    }
    const std::int32_t index = ticket - before_;
    const unsigned owners = __ballot_sync(all_lanes, index >= start_ && index < start_ + tiles_ * chunks());
    const int owner = __ffs(static_cast<int>(owners)) - 1;
    const expert_cut cut{.first_row = __shfl_sync(all_lanes, first_, owner),
                         .rows = __shfl_sync(all_lanes, rows_, owner),
                         .row_tiles = __shfl_sync(all_lanes, tiles_, owner),
                         .row_step = WidthStep,
                         .atoms = params_.atoms,
                         .tile_atoms = __shfl_sync(all_lanes, width_, owner)};
    piece.expert = group_ + owner;
    place_tile(cut, index - __shfl_sync(all_lanes, start_, owner), piece);
    return true;
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

  /// Pieces that the columns of this lane's expert make.
  __device__ std::int32_t chunks() const noexcept { return (params_.atoms + width_ - 1) / width_; }

  /// The lanes before this one, summed; `all`: of all lanes.
  __device__ static std::int32_t sum_before(std::int32_t value, std::int32_t& all) noexcept {
    std::int32_t sum = value;
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
      const std::int32_t below = __shfl_up_sync(all_lanes, sum, static_cast<unsigned>(distance));
      if (static_cast<int>(threadIdx.x % 32) >= distance) sum += below;
    }
    all = __shfl_sync(all_lanes, sum, 31);
    return sum - value;
  }

  __device__ void load(int group) noexcept {
    const row_range range = range_of(group);
    group_ = group;
    first_ = range.first;
    rows_ = range.rows;
    tiles_ = row_tiles(rows_, BlockM);
    if constexpr (LeastAtoms < SlabAtoms) {
      std::int32_t cost = 0;
      const std::int32_t before = sum_before(column_cost(rows_, BlockM, WidthStep), cost);
      width_ = piece_atoms(std::int64_t{cost_} * params_.atoms, std::int64_t{cost_left_ - before} * params_.atoms,
                           std::int64_t{column_cost(BlockM)} * gridDim.x, SlabAtoms, LeastAtoms);
      cost_left_ -= cost;
    }
    start_ = sum_before(tiles_ * chunks(), group_tickets_);
  }

  const ogs_params& params_;
  int group_ = 0;
  std::int32_t before_ = 0;         // tickets of the groups before this one
  std::int32_t group_tickets_ = 0;  // of this one
  std::int32_t cost_ = 0;           // of an atom, all experts
  std::int32_t cost_left_ = 0;      // of the groups behind this one
  std::int32_t first_ = 0, rows_ = 0, tiles_ = 0, width_ = SlabAtoms, start_ = 0;  // of this lane's expert
};

}  // namespace tilefit::inline v0::kernels
