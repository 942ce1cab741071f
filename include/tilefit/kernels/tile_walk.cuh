// L5: finds the rows of a tile, with the lanes of a warp side by side.
// Knows: the expert offsets, the order of tiles (schedule.hpp).
// Must not know: what is done with a tile.
#pragma once

#include <cstdint>

#include "../detail/config.hpp"
#include "../detail/math.hpp"
#include "schedule.hpp"

namespace tilefit::inline v0::kernels {

/// Walks the experts in groups of 32, a lane for each. All lanes of a warp call with the same arguments. Tiles must be
/// asked for in ascending order.
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
    if (experts_ <= 32) return tiles;
    for (int group = 32; group < experts_; group += 32) {
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
      load(group_ + 32);
    }
    const std::int32_t index = tile - before_;
    const bool mine = index >= start_ && index < start_ + tiles_ * slabs_;
    const int owner = __ffs(static_cast<int>(__ballot_sync(all_lanes, mine))) - 1;
    const expert_cut cut{.first_row = __shfl_sync(all_lanes, first_, owner),
                         .rows = __shfl_sync(all_lanes, rows_, owner),
                         .row_tiles = __shfl_sync(all_lanes, tiles_, owner),
                         .row_step = row_step,
                         .atoms = atoms_,
                         .tile_atoms = slab_atoms_};
    piece.expert = group_ + owner;
    place_tile(cut, index - __shfl_sync(all_lanes, start_, owner), piece);
  }

 private:
  static constexpr std::int32_t row_step = 8;  // of row_tile_height: divides every block_m
  static constexpr std::uint32_t all_lanes = 0xFFFFFFFFu;

  /// Experts group .. group + 31: rows of this lane's, and the tiles of the lanes before it.
  __device__ void load(int group) noexcept {
    const int lane = static_cast<int>(threadIdx.x % 32);
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
    for (int distance = 1; distance < 32; distance *= 2) {
      const std::int32_t below = __shfl_up_sync(all_lanes, sum, static_cast<unsigned>(distance));
      if (lane >= distance) sum += below;
    }
    start_ = sum - count;
    group_tiles_ = __shfl_sync(all_lanes, sum, 31);
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
