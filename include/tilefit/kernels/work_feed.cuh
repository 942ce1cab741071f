// L5: hands a block its pieces of work, one after the other.
// Knows: whole tiles in turn, or equal runs of the steps of all tiles (schedule.hpp), and which tile lies where
// (tile_walk.cuh). Must not know: what is done with a piece.
#pragma once

#include <cstdint>

#include "../detail/config.hpp"
#include "../detail/math.hpp"
#include "ogs_params.hpp"
#include "schedule.hpp"
#include "tile_walk.cuh"

namespace tilefit::inline v0::kernels {

/// All lanes of a warp construct it and call it, with the same arguments. MostShares: blocks that may share a tile;
/// with 1 there are whole tiles only.
template <int BlockM, int MostShares>
class work_feed {
  static constexpr int least_steps = 4;  ///< of a run: what a block does should outweigh its start and the meeting

 public:
  __device__ explicit work_feed(const ogs_params& params) noexcept
      : walk_(params.args.expert_offsets, params.args.experts, static_cast<std::int32_t>(params.args.m), BlockM,
              params.slabs),
        steps_(params.steps),
        split_(MostShares > 1 && params.split),
        at_(blockIdx.x),
        end_(walk_.total()) {
    if (split_) {
      total_ = end_ * steps_;
      blocks_ = detail::min<std::int64_t>(gridDim.x, total_ / least_steps);
      blocks_ = detail::max<std::int64_t>(detail::min(blocks_, end_ * MostShares), 1);
      const bool busy = blockIdx.x < blocks_ && total_ > 0;
      const step_run run = busy ? run_of(total_, blocks_, blockIdx.x) : step_run{};
      at_ = run.begin;
      end_ = run.end;
    }
  }

  /// The next piece; one without rows when there is none left.
  __device__ work_piece next() noexcept {
    work_piece piece;
    if (at_ >= end_) return piece;
    if (split_) {
      piece = piece_at(at_, end_, total_, blocks_, steps_);
      walk_.find(at_ / steps_, piece);
      at_ += piece.steps;
    } else {
      piece.steps = steps_;
      walk_.find(at_, piece);
      at_ += gridDim.x;
    }
    return piece;
  }

 private:
  tile_walk walk_;
  std::int32_t steps_;
  bool split_;
  std::int64_t at_;   // a tile, or a step of all tiles when split
  std::int64_t end_;  // behind the last one of this block
  std::int64_t total_ = 0;
  std::int64_t blocks_ = 0;
};

}  // namespace tilefit::inline v0::kernels
