// L5: finds the rows of a tile, with the lanes of a warp side by side.
// Knows: the expert offsets, the order of tiles (schedule.hpp).
// Must not know: what is done with a tile.
#pragma once

#include <cstdint>

#include "../detail/config.hpp"
#include "../detail/math.hpp"
#include "../device/ops.cuh"
#include "schedule.hpp"

namespace tilefit::inline v0::kernels {

/// Walks the experts in groups, a lane of the warp (or wave) for each. All lanes call with the same arguments. Tiles
/// must be asked for in ascending order.
class tile_walk {
 public:
  /// `atoms`: of all columns; `slab_atoms`: of a tile.
  __device__ tile_walk(const std::int32_t* offsets, int experts, std::int32_t m, int block_m, int atoms,
                       int slab_atoms) noexcept
      : offsets_(offsets),
        experts_(experts),
        m_(m),
        block_m_(block_m),
        atoms_(atoms),
        slab_atoms_(slab_atoms),
        slabs_((atoms + slab_atoms - 1) / slab_atoms) {
    load(0);
  }

  /// Tiles of all experts: less than 2^31.
  __device__ std::int32_t total() noexcept {
    std::int32_t tiles = group_tiles_;
    if (experts_ <= device::wave_lanes) return tiles;
    for (int group = device::wave_lanes; group < experts_; group += device::wave_lanes) {
      load(group);
      tiles += group_tiles_;
    }
    load(0);
    return tiles;
  }

  /// Fills in expert, rows and columns of a tile. Requires 0 <= tile < total().
  __device__ void find(std::int32_t tile, work_piece& piece) noexcept {
    while (tile - before_ >= group_tiles_) {
      before_ += group_tiles_;
      load(group_ + device::wave_lanes);
    }
    const std::int32_t index = tile - before_;
    const bool mine = index >= start_ && index < start_ + tiles_ * slabs_;
    const int owner = device::first_lane_with(mine);
    const expert_cut cut{.first_row = device::value_of_lane(first_, owner),
                         .rows = device::value_of_lane(rows_, owner),
                         .row_tiles = device::value_of_lane(tiles_, owner),
                         .row_step = row_step,
                         .atoms = atoms_,
                         .tile_atoms = slab_atoms_};
    piece.expert = group_ + owner;
    place_tile(cut, index - device::value_of_lane(start_, owner), piece);
  }

 private:
  static constexpr std::int32_t row_step = 8;  // of row_tile_height: divides every block_m

  /// Experts from `group` on: rows of this lane's, and the tiles of the lanes before it.
  __device__ void load(int group) noexcept {
    const int lane = static_cast<int>(device::lane_of_wave());
    const int expert = group + lane;
    group_ = group;
    rows_ = first_ = 0;
    if (expert < experts_) {
      first_ = offsets_ == nullptr ? 0 : offsets_[expert];
      rows_ = (offsets_ == nullptr ? m_ : offsets_[expert + 1]) - first_;
    }
    tiles_ = row_tiles(rows_, block_m_);
    const std::int32_t count = tiles_ * slabs_;
    std::int32_t sum = count;
#pragma unroll
    for (int distance = 1; distance < device::wave_lanes; distance *= 2) {
      const std::int32_t below = device::value_from_below(sum, distance);
      if (lane >= distance) sum += below;
    }
    start_ = sum - count;
    group_tiles_ = device::value_of_lane(sum, device::wave_lanes - 1);
  }

  const std::int32_t* offsets_;
  int experts_;
  std::int32_t m_;
  int block_m_;
  int atoms_;
  int slab_atoms_;
  int slabs_;
  int group_ = 0;
  std::int32_t before_ = 0;       // tiles of the groups before this one
  std::int32_t group_tiles_ = 0;  // of this one
  std::int32_t first_ = 0, rows_ = 0, tiles_ = 0, start_ = 0;
};

}  // namespace tilefit::inline v0::kernels
