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
/// with 1 there are whole tiles only. Keeps little and works the rest out again: registers are scarce around it.
template <int BlockM, int MostShares>
class work_feed {
  static constexpr int least_steps = 4;  ///< of a run: what a block does should outweigh its start and the meeting

 public:
  __device__ explicit work_feed(const ogs_params& params) noexcept
      : params_(params),
        walk_(params.args.expert_offsets, params.args.experts, static_cast<std::int32_t>(params.args.m), BlockM,
              params.slabs),
        tiles_(walk_.total()),
        at_(splits() ? my_run().begin : blockIdx.x) {}

  /// The next piece; one without rows when there is none left.
  __device__ work_piece next() noexcept {
    work_piece piece;
    if (splits()) {
      const std::int64_t end = my_run().end;
      if (at_ >= end) return piece;
      piece = piece_at(at_, end, tiles_ * params_.steps, blocks(), params_.steps);
      walk_.find(at_ / params_.steps, piece);
      at_ += piece.steps;
    } else {
      if (at_ >= tiles_) return piece;
      piece.steps = params_.steps;
      walk_.find(at_, piece);
      at_ += gridDim.x;
    }
    return piece;
  }

 private:
  __device__ bool splits() const noexcept { return MostShares > 1 && params_.split; }

  /// Blocks that have a run of steps.
  __device__ std::int64_t blocks() const noexcept {
    const std::int64_t most = detail::min<std::int64_t>(gridDim.x, tiles_ * params_.steps / least_steps);
    return detail::max<std::int64_t>(detail::min(most, tiles_ * MostShares), 1);
  }
  __device__ step_run my_run() const noexcept {
    return blockIdx.x < blocks() ? run_of(tiles_ * params_.steps, blocks(), blockIdx.x) : step_run{};
  }

  const ogs_params& params_;
  tile_walk walk_;
  std::int64_t tiles_;
  std::int64_t at_;  // a tile, or a step of all tiles
};

}  // namespace tilefit::inline v0::kernels
