// L5: the Hopper kernel's geometry and shared memory.
// Knows: which warps do what, where a stage's operands, barriers and descriptions lie (smem_plan.hpp).
// Must not know: how they are filled or used.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../arch_table.hpp"
#include "../detail/config.hpp"
#include "../device/cuda/copy.cuh"
#include "../opt_flags.hpp"
#include "../smem_plan.hpp"
#include "../weight_layout.hpp"
#include "epilogue.cuh"
#include "schedule.hpp"
#include "tile_storage.cuh"

namespace tilefit::inline v0::kernels {

/// Geometry that follows from flags: 8, 12 or 16 consuming warps, then one that copies W and those that copy X: one, or
/// beside wgmma three, which makes a warpgroup that can give registers to the consumers.
/// `Entry` is a type with the members `flags` (opt_flags) and `x` (dtype).
template <class Entry>
struct hopper_tile {
  static constexpr opt_flags flags = Entry::flags;
  static constexpr dtype x = Entry::x;
  static constexpr bool uses_wgmma = flags.block_m >= 64;  ///< else mma.sync: fewer instructions where tokens are few
  static constexpr bool can_split = flags.split_k > 1;
  static constexpr bool stores_narrow = stores_narrow_y(flags);
  static constexpr int producer_warps = uses_wgmma ? 4 : 2;
  static constexpr int x_warps = producer_warps - 1;
  static constexpr int consumer_warps = flags.num_warps - producer_warps;
  static constexpr int groups = consumer_warps / 4;  ///< warpgroups of consumers
  /// With wgmma: of 96 that each thread of 640 is launched with, of 128 that each of 512 is.
  static constexpr int registers_of_consumers = groups == 4 ? 104 : 144;
  static constexpr int registers_of_producers = groups == 4 ? 64 : 80;
  static constexpr int threads = 32 * flags.num_warps;
  static constexpr int k_atoms = flags.block_k / 64;   ///< of a stage
  static constexpr int w_groups = flags.block_n / 64;  ///< of a slab
  /// Of a consuming warp at a stage it is done with: lane 0 speaks for all, behind a __syncwarp or what wgmma waits
  /// for.
  static constexpr int arrivals = TILEFIT_ARRIVING_LANES;
  static constexpr int slab_atoms = flags.block_n / 16;
  static constexpr int atoms = slab_atoms / consumer_warps;  ///< of a warp whose sums are stored
  /// Of a piece. With wgmma half a piece takes two thirds of a whole one's time.
  static constexpr int least_atoms = uses_wgmma ? slab_atoms : slab_atoms / 2;
  /// Products are as wide as the rows need, in these steps, and row tiles are cut so. FP16 has fewer widths to compile.
  static constexpr int width_step = flags.block_m <= 32 ? 8 : flags.block_m == 64 || x == dtype::bf16 ? 16 : 32;
  /// The next wider product; 0 stands before the narrowest.
  TILEFIT_HD static constexpr int next_width(int width) noexcept {
    if (flags.block_m > 128 && width < 96) return width + 32;
    return width + (x == dtype::bf16 && flags.block_m == 128 && (width == 64 || width == 72) ? 8 : width_step);
  }
  static constexpr int x_atom_bytes = flags.block_m * 128;  ///< 64 K of all tokens
  static constexpr int x_stage_bytes = k_atoms * x_atom_bytes;
  static constexpr int w_atoms_bytes = 4 * atom_of(weight_layout::mma_m16k64).bytes;  ///< 64 K of a group of 64 rows
  static constexpr int w_group_bytes = k_atoms * w_atoms_bytes;
  static constexpr smem_plan plan =
      ogs_smem_plan(arch_v<arch_id::sm_90>, {.x = x, .gather = true, .scatter = true}, flags)
          .with_stages(flags.num_stages);
  /// With block scales in Y; everything else is where it is without.
  static constexpr smem_plan plan_of_blocks =
      ogs_smem_plan(arch_v<arch_id::sm_90>, {.x = x, .y = dtype::mxfp8, .gather = true, .scatter = true}, flags)
          .with_stages(flags.num_stages);
  static constexpr int blocks_per_sm = [] {
    const int fitting = tilefit::blocks_per_sm(arch_v<arch_id::sm_90>, plan.total_bytes(), threads);
    return uses_wgmma ? 1 : detail::min(fitting, 24 / flags.num_warps);
  }();

  static_assert(flags.block_m % width_step == 0 && width_step % 8 == 0 && flags.block_m <= 160);
  static_assert(flags.block_k % 64 == 0 && flags.block_n % 64 == 0);
  static_assert(atoms == 1);
  static_assert(!uses_wgmma || groups == 3 || groups == 4, "what registers are shared out for");
  static_assert(consumer_warps % 4 == 0 && atoms * 16 * consumer_warps == flags.block_n);
  static_assert(plan_of_blocks.total_bytes() <= arch_v<arch_id::sm_90>.smem_block_bytes);
  static_assert(plan_of_blocks[smem_region::y_scales].offset == plan.total_bytes());
  static_assert(plan[smem_region::x_values].bytes == x_stage_bytes);
  static_assert(plan[smem_region::w_values].bytes == w_groups * w_group_bytes);
};

/// The block's shared memory, by its plan.
template <class Tile>
struct hopper_storage : tile_storage<Tile> {
  __device__ std::uint32_t full(int stage) const noexcept {
    return device::shared_address(this->template at<smem_region::barriers>()) + 8u * static_cast<unsigned>(stage);
  }
  __device__ std::uint32_t empty(int stage) const noexcept { return full(Tile::flags.num_stages + stage); }
  /// Where the number of the next ticket travels: two slots.
  __device__ volatile std::int32_t* ticket(int slot) const noexcept {
    return reinterpret_cast<volatile std::int32_t*>(this->template at<smem_region::barriers>() +
                                                    16 * Tile::flags.num_stages) +
           slot;
  }
  /// Targets of the tile's rows: each warpgroup its own, two copies in turn.
  __device__ row_target* targets(int group, int copy) const noexcept {
    return reinterpret_cast<row_target*>(this->template at<smem_region::row_indx>()) +
           Tile::flags.block_m * (2 * group + copy);
  }
};

/// Position in the ring of stages.
template <int Stages>
struct ring_place {
  int stage = 0;
  std::uint32_t parity = 0;

  __device__ void advance() noexcept {
    if (++stage == Stages) {
      stage = 0;
      parity ^= 1u;
    }
  }
};

}  // namespace tilefit::inline v0::kernels
