// L5: what a block of the AMD kernels works on: which tile, where its weights and rows lie.
// Knows: the order of tiles over dies, buffers of W and X.
// Must not know: how anything is multiplied.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../detail/config.hpp"
#include "../detail/math.hpp"
#include "../device/ops.cuh"
#include "../dtype.hpp"
#include "../weight_layout.hpp"
#include "mfma_tile.hpp"
#include "ogs_params.hpp"
#include "schedule.hpp"
#include "store_rows.cuh"
#include "tile_walk.cuh"

namespace tilefit::inline v0::kernels {

struct block_work {
  work_piece piece;
  std::int32_t number = 0;  ///< of the piece: those of a tile have numbers in a row, in the order of K
};

/// The tile of this block, or with split_k > 1 its piece of one; without rows where there is none: grids are as large
/// as they may have to be.
template <class Tile>
__device__ __forceinline__ block_work work_of_block(const ogs_params& params) noexcept {
  const matmul_args& args = params.args;
  tile_walk walk(args.expert_offsets, args.experts, static_cast<std::int32_t>(args.m), Tile::flags.block_m,
                 params.atoms, Tile::slab_atoms);
  const std::int32_t tiles = walk.total();
  const auto block = static_cast<std::int32_t>(device::block_of_grid());
  block_work work;
  work_piece& piece = work.piece;
  std::int32_t count = tiles;
  if constexpr (Tile::can_split) {
    piece.blocks = detail::min(params.split_k, params.steps);
    count *= piece.blocks;
  }
  if (block >= count) return work;
  work.number = tile_of_block(block, count, Tile::flags.xcd_swizzle);
  std::int32_t tile = work.number;
  piece.steps = params.steps;
  if constexpr (Tile::can_split) {
    if (piece.blocks > 1) {
      tile /= piece.blocks;
      piece.first_block = tile * piece.blocks;
      const std::int32_t part = work.number - piece.first_block;
      piece.first_step = first_step_of_piece(params.steps, piece.blocks, part);
      piece.steps = first_step_of_piece(params.steps, piece.blocks, part + 1) - piece.first_step;
    }
  }
  walk.find(tile, piece);
  return work;
}

/// Atoms of 128 K.
__device__ __forceinline__ std::int32_t k_atoms_of(const matmul_args& args) noexcept {
  return static_cast<std::int32_t>((args.k + 127) / 128);
}

/// Weights of an expert from atom `atom` (16 rows) on, up to the end of its group of 64 rows.
template <class Tile>
__device__ __forceinline__ device::buffer weights_from(const matmul_args& args, std::int32_t expert,
                                                       std::int32_t atom) noexcept {
  const std::int64_t group_bytes = std::int64_t{k_atoms_of(args)} * Tile::group_step_bytes;
  const std::int64_t skipped = atom % 4 * Tile::atom_bytes;
  const std::int64_t at =
      expert * bytes_per_expert(weight_layout::mfma_m16k128, args.n, args.k) + atom / 4 * group_bytes + skipped;
  return {static_cast<const std::byte*>(args.w.data) + at, group_bytes - skipped};
}

/// All of X, and its block scales.
template <class Tile>
__device__ __forceinline__ device::buffer values_of_x(const matmul_args& args) noexcept {
  return {args.x.data, args.x.rows * args.x.row_stride * Tile::x_bits / 8};
}
__device__ __forceinline__ device::buffer scales_of_x(const matmul_args& args) noexcept {
  return {args.x.block_scales, args.x.rows * args.x.block_scale_stride};
}

/// Row of X of row `row` of the tile, -1 = absent.
__device__ __forceinline__ std::int32_t source_of(const matmul_args& args, const work_piece& piece,
                                                  std::int32_t row) noexcept {
  if (row >= piece.rows) return -1;
  const std::int32_t sorted = piece.first_row + row;
  return args.gather_indx == nullptr ? sorted : args.gather_indx[sorted];
}

/// Bytes from the start of X to a row, `outside` for an absent one.
template <class Tile>
__device__ __forceinline__ std::uint32_t byte_of_row(const matmul_args& args, std::int32_t source) noexcept {
  const auto row_bytes = static_cast<std::uint32_t>(args.x.row_stride) * Tile::x_bits / 8;
  return source < 0 ? device::buffer::outside : static_cast<std::uint32_t>(source) * row_bytes;
}
__device__ __forceinline__ std::uint32_t scales_of_row(const matmul_args& args, std::int32_t source) noexcept {
  return source < 0 ? device::buffer::outside
                    : static_cast<std::uint32_t>(source) * static_cast<std::uint32_t>(args.x.block_scale_stride);
}

/// Where a row of the tile goes, and what its sums are multiplied with.
struct token_target : row_target {
  float scale = 1.0f;
};

/// Target of row `row` of the tile; tells `present` about it when `tells`.
template <class Tile>
__device__ __forceinline__ token_target target_in(const ogs_params& params, const work_piece& piece, std::int32_t row,
                                                  bool tells) noexcept {
  token_target target;
  if (row < piece.rows) static_cast<row_target&>(target) = target_of(params.args, piece.first_row + row);
  if (tells && params.present != nullptr && piece.first_atom == 0 && target.row >= 0) params.present[target.row] = 1;
  if constexpr (Tile::x == dtype::fp8_e4m3) {
    const x_operand& x = params.args.x;
    target.scale = x.scale == nullptr ? 1.0f : *x.scale;
    if (x.row_scales != nullptr)
      if (const std::int32_t source = source_of(params.args, piece, row); source >= 0)
        target.scale *= x.row_scales[source];
  }
  return target;
}

}  // namespace tilefit::inline v0::kernels
