// L5: how a ragged matmul is cut into tiles, and tiles into pieces of K, in numbers that a CPU can check.
// Knows: rows of experts, row tiles, slabs of columns, steps of K, blocks of a grid.
// Must not know: threads, memory. Walking experts with a warp: tile_walk.cuh.
//
// Tiles of an expert are numbered with its row tiles fastest, so that blocks which run side by side read the same
// weights. Blocks take whole tiles in turn; or (split) equal runs of the steps of all tiles: then a tile that lies
// across a border of two runs is summed by every block that has a piece of it; or they draw tickets for tiles that
// become narrower towards the end (ticket_walk.cuh).
#pragma once

#include <cstdint>

#include "../detail/config.hpp"
#include "../detail/math.hpp"

namespace tilefit::inline v0::kernels {

/// Row tiles of an expert: as few as block_m rows allow.
TILEFIT_HD constexpr std::int32_t row_tiles(std::int32_t rows, std::int32_t block_m) noexcept {
  return rows <= 0 ? 0 : (rows - 1) / block_m + 1;
}

/// Rows of each of `tiles` = row_tiles(rows, block_m) > 0 tiles but the last, which has what is left: equal shares in
/// steps of `row_step`, a divisor of block_m.
TILEFIT_HD constexpr std::int32_t row_tile_height(std::int32_t rows, std::int32_t tiles,
                                                  std::int32_t row_step) noexcept {
  return ((rows - 1) / tiles + row_step) / row_step * row_step;
}

/// Most row tiles that m rows of `experts` experts can make.
TILEFIT_HD constexpr std::int64_t most_row_tiles(std::int64_t m, std::int64_t experts, std::int64_t block_m) noexcept {
  return m / block_m + detail::min(experts, m);
}

/// Blocks of a grid that share the steps of all tiles: no fewer than four steps to a block, which must outweigh its
/// start and the meeting of sums, and no more than split_k blocks to a tile.
TILEFIT_HD constexpr std::int64_t sharing_blocks(std::int64_t tiles, std::int64_t steps_per_tile, std::int64_t split_k,
                                                 std::int64_t grid) noexcept {
  const std::int64_t busy = detail::min(grid, tiles * steps_per_tile / 4);
  return detail::max<std::int64_t>(detail::min(busy, tiles * split_k), 1);
}

/// The tile of a block, of `tiles` tiles, where consecutive blocks go to `dies` dies in turn (XCDs, each with an L2 of
/// its own): each die takes a run of neighbouring tiles, which share weights or rows. A permutation of 0 .. tiles - 1.
/// Requires 0 <= block < tiles.
TILEFIT_HD constexpr std::int32_t tile_of_block(std::int32_t block, std::int32_t tiles, std::int32_t dies) noexcept {
  const std::int32_t die = block % dies, turn = block / dies;
  return die * (tiles / dies) + detail::min(die, tiles % dies) + turn;
}

/// A run of steps: of one block among `blocks`, when `total` steps are shared evenly.
struct step_run {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};
TILEFIT_HD constexpr step_run run_of(std::int64_t total, std::int64_t blocks, std::int64_t block) noexcept {
  return {.begin = total * block / blocks, .end = total * (block + 1) / blocks};
}

/// The block whose run holds step `step`. Inverse of run_of.
TILEFIT_HD constexpr std::int64_t block_of(std::int64_t total, std::int64_t blocks, std::int64_t step) noexcept {
  // Largest b with total * b / blocks <= step, in whole numbers.
  return ((step + 1) * blocks - 1) / total;
}

/// Step with which piece number `piece` of `pieces` begins, when the steps of a tile are shared evenly among blocks of
/// its own; piece number `pieces` begins with the end. Requires 0 <= piece <= pieces, steps * pieces < 2^31.
TILEFIT_HD constexpr std::int32_t first_step_of_piece(std::int32_t steps, std::int32_t pieces,
                                                      std::int32_t piece) noexcept {
  return steps * piece / pieces;
}

/// What a block does at one go: `steps` steps of one tile. 32 bytes; travels through shared memory as two 16-byte
/// loads.
struct alignas(16) work_piece {
  std::int32_t expert = 0;
  std::int32_t first_row = 0;   ///< of the sorted rows
  std::int16_t rows = 0;        ///< 1 .. block_m; 0 = there is nothing left
  std::int16_t atoms = 0;       ///< of 16 columns, 1 .. block_n / 16
  std::int32_t first_atom = 0;  ///< columns from 16 * first_atom
  std::int32_t first_step = 0;
  std::int32_t steps = 0;
  std::int32_t first_block = 0;  ///< of those that share the tile
  std::int32_t blocks = 1;       ///< that share the tile; more than 1: sums meet in the workspace
};

/// Rows and columns of an expert, and how they are cut into tiles.
struct expert_cut {
  std::int32_t first_row = 0;  ///< of the sorted rows
  std::int32_t rows = 0;
  std::int32_t row_tiles = 0;   ///< row_tiles(rows, block_m)
  std::int32_t row_step = 1;    ///< of row_tile_height
  std::int32_t atoms = 0;       ///< of 16 columns, all of them
  std::int32_t tile_atoms = 1;  ///< of a tile
};

/// Fills in rows and columns of a tile of an expert: its row tiles fastest. Requires 0 <= tile < row_tiles *
/// ceil(atoms / tile_atoms).
TILEFIT_HD constexpr void place_tile(const expert_cut& cut, std::int32_t tile, work_piece& piece) noexcept {
  const std::int32_t height = row_tile_height(cut.rows, cut.row_tiles, cut.row_step);
  const std::int32_t skipped = tile % cut.row_tiles * height;
  piece.first_row = cut.first_row + skipped;
  piece.rows = static_cast<std::int16_t>(detail::min(cut.rows - skipped, height));
  piece.first_atom = tile / cut.row_tiles * cut.tile_atoms;
  piece.atoms = static_cast<std::int16_t>(detail::min(cut.tile_atoms, cut.atoms - piece.first_atom));
}

/// Time that 16 columns of a row tile take, in proportion to others: widening W, and multiplying `width` tokens.
/// Fitted to the wgmma loop on an H200: a step of 64 K and 64 columns takes about 1.2 * (88 + width) cycles.
TILEFIT_HD constexpr std::int32_t column_cost(std::int32_t width) noexcept { return 88 + width; }

/// The same for all rows of an expert, in row tiles of row_tile_height; the last is as wide as its rows, in steps of
/// width_step. 0 when there are none.
TILEFIT_HD constexpr std::int32_t column_cost(std::int32_t rows, std::int32_t block_m,
                                              std::int32_t width_step) noexcept {
  const std::int32_t tiles = row_tiles(rows, block_m);
  if (tiles == 0) return 0;
  const std::int32_t height = row_tile_height(rows, tiles, width_step);
  const std::int32_t last = rows - (tiles - 1) * height;
  return (tiles - 1) * column_cost(height) + column_cost((last + width_step - 1) / width_step * width_step);
}

/// Atoms of 16 columns to a piece: `most`, a half, a quarter, ... of it, and at least `least`. `all` and `left`: cost
/// of all columns, and of those not yet handed out; `round`: of an atom for every block. Where all pieces are one round
/// of the blocks, the narrowest for which they are; else no wider than what is left for each block.
TILEFIT_HD constexpr std::int32_t piece_atoms(std::int64_t all, std::int64_t left, std::int64_t round,
                                              std::int32_t most, std::int32_t least) noexcept {
  const bool one_round = all <= most * round;
  std::int32_t atoms = most;
  while (atoms / 2 >= least && (one_round ? all <= atoms / 2 * round : left < atoms * round)) atoms /= 2;
  return atoms;
}

/// Piece of the run [at, end) that starts with step `at`, as far as steps decide it.
TILEFIT_HD constexpr work_piece piece_at(std::int64_t at, std::int64_t end, std::int64_t total, std::int64_t blocks,
                                         std::int32_t steps_per_tile) noexcept {
  work_piece piece;
  const std::int64_t tile_begin = at - at % steps_per_tile;
  const std::int64_t tile_end = tile_begin + steps_per_tile;
  piece.first_step = static_cast<std::int32_t>(at - tile_begin);
  piece.steps = static_cast<std::int32_t>(detail::min(tile_end, end) - at);
  if (piece.steps < steps_per_tile) {
    piece.first_block = static_cast<std::int32_t>(block_of(total, blocks, tile_begin));
    piece.blocks = static_cast<std::int32_t>(block_of(total, blocks, tile_end - 1)) - piece.first_block + 1;
  }
  return piece;
}

}  // namespace tilefit::inline v0::kernels
