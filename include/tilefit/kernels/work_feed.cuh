// L5: hands a block its pieces of work, one after the other.
// Knows: whole tiles in turn, or equal runs of the steps of all tiles (schedule.hpp), and which tile lies where
// (tile_walk.cuh). Must not know: what is done with a piece.
#pragma once

#include <cstdint>
#include <type_traits>

#include "../detail/config.hpp"
#include "../detail/math.hpp"
#include "../device/ops.cuh"
#include "ogs_params.hpp"
#include "schedule.hpp"
#include "tile_walk.cuh"

namespace tilefit::inline v0::kernels {

/// All lanes of a warp construct it and call it, with the same arguments. MaySplit: whether the launch may ask for runs
/// of steps.
template <int BlockM, int SlabAtoms, bool MaySplit>
class work_feed {
 public:
  __device__ explicit work_feed(const ogs_params& params) noexcept
      : params_(params),
        walk_(params.args.expert_offsets, params.args.experts, static_cast<std::int32_t>(params.args.m), BlockM,
              params.atoms, SlabAtoms),
        tiles_(walk_.total()),
        at_(static_cast<place>(splits() ? run_of_block(tiles_).begin : blockIdx.x)) {}

  /// The next piece; one without rows when there is none left.
  __device__ work_piece next() noexcept {
    work_piece piece;
    if (splits()) {
      const std::int32_t tiles = device::hidden(tiles_);
      const std::int64_t end = run_of_block(tiles).end;
      if (at_ >= end) return piece;
      piece = piece_at(at_, end, steps_of(tiles), blocks_for(tiles), params_.steps);
      walk_.find(static_cast<std::int32_t>(at_ / params_.steps), piece);
      at_ += static_cast<place>(piece.steps);
    } else {
      if (at_ >= static_cast<place>(tiles_)) return piece;
      piece.steps = params_.steps;
      walk_.find(static_cast<std::int32_t>(at_), piece);
      at_ += static_cast<place>(gridDim.x);
    }
    return piece;
  }

 private:
  using place = std::conditional_t<MaySplit, std::int64_t, std::uint32_t>;

  __device__ bool splits() const noexcept { return MaySplit && params_.split_k > 1; }
  __device__ std::int64_t steps_of(std::int32_t tiles) const noexcept { return std::int64_t{tiles} * params_.steps; }

  __device__ std::int64_t blocks_for(std::int32_t tiles) const noexcept {
    return sharing_blocks(tiles, params_.steps, params_.split_k, gridDim.x);
  }
  __device__ step_run run_of_block(std::int32_t tiles) const noexcept {
    const std::int64_t blocks = blocks_for(tiles);
    return blockIdx.x < blocks ? run_of(steps_of(tiles), blocks, blockIdx.x) : step_run{};
  }

  const ogs_params& params_;
  tile_walk walk_;
  std::int32_t tiles_;
  place at_;  // a tile, or a step of all tiles
};

}  // namespace tilefit::inline v0::kernels
