// L5: what the shared memory of every matmul_ogs block has.
// Knows: the plan's regions (smem_plan.hpp).
// Must not know: which kernel it is, what else a kernel keeps, how stages are filled or used.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../smem_plan.hpp"
#include "schedule.hpp"

namespace tilefit::inline v0::kernels {

/// A block's shared memory, by its tile's plan. Kernels add what is their own.
template <class Tile>
struct tile_storage {
  std::byte* base;

  /// Copy `stage` of a region; a fixed one has one.
  template <smem_region Region>
  __device__ std::byte* at(int stage = 0) const noexcept {
    constexpr smem_entry entry = Tile::plan[Region];
    return base + entry.offset + entry.bytes * stage;
  }
  __device__ std::byte* x(int stage) const noexcept { return at<smem_region::x_values>(stage); }
  __device__ std::byte* w(int stage) const noexcept { return at<smem_region::w_values>(stage); }
  /// Block scales of Y on their way between warps, [tokens][atoms of the slab]: in launches whose Y has them.
  __device__ std::uint8_t* y_scales() const noexcept {
    return reinterpret_cast<std::uint8_t*>(base + Tile::plan_of_blocks[smem_region::y_scales].offset);
  }
  /// What is to be done, in a ring of slots.
  __device__ work_piece* piece(int slot) const noexcept {
    return reinterpret_cast<work_piece*>(at<smem_region::work_pieces>()) + slot;
  }
};

}  // namespace tilefit::inline v0::kernels
