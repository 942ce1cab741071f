// How the CUDA kernels cut a ragged matmul into pieces: the arithmetic of kernels/schedule.hpp, and a model of
// ticket_walk.cuh that walks the experts in a plain loop.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include <tilefit/kernels/schedule.hpp>
#include <tilefit/ogs_policy.hpp>

#include "../support/catch.hpp"

using namespace tilefit;

namespace {

using rows_of_experts = std::vector<std::int32_t>;

/// Template arguments of ticket_walk, as hopper_tile.cuh gives them for BF16 X.
struct walk_shape {
  std::int32_t block_m;
  std::int32_t width_step;
  std::int32_t slab_atoms;
  std::int32_t least_atoms;
};

walk_shape shape_of(const opt_flags& tile) {
  const bool narrows = tile.block_m < 64;
  return {.block_m = tile.block_m,
          .width_step = narrows ? 8 : 16,
          .slab_atoms = tile.block_n / 16,
          .least_atoms = tile.block_n / 16 / (narrows ? 2 : 1)};
}

/// Every piece in the order of its ticket, and the width of each expert's.
struct walked {
  std::vector<kernels::work_piece> pieces;
  std::vector<std::int32_t> widths;
};

walked walk(const rows_of_experts& rows, std::int32_t atoms, const walk_shape& shape, std::int64_t blocks) {
  std::int64_t all = 0;
  for (const std::int32_t count : rows) all += kernels::column_cost(count, shape.block_m, shape.width_step);
  std::int64_t left = all;
  std::int32_t first_row = 0;
  walked out;
  for (std::size_t expert = 0; expert < rows.size(); ++expert) {
    const std::int32_t width = kernels::piece_atoms(
        all * atoms, left * atoms, kernels::column_cost(shape.block_m) * blocks, shape.slab_atoms, shape.least_atoms);
    const kernels::expert_cut cut{.first_row = first_row,
                                  .rows = rows[expert],
                                  .row_tiles = kernels::row_tiles(rows[expert], shape.block_m),
                                  .row_step = shape.width_step,
                                  .atoms = atoms,
                                  .tile_atoms = width};
    for (std::int32_t tile = 0; tile < cut.row_tiles * ((atoms + width - 1) / width); ++tile) {
      kernels::work_piece piece{.expert = static_cast<std::int32_t>(expert)};
      kernels::place_tile(cut, tile, piece);
      out.pieces.push_back(piece);
    }
    out.widths.push_back(width);
    left -= kernels::column_cost(rows[expert], shape.block_m, shape.width_step);
    first_row += rows[expert];
  }
  return out;
}

/// Whether the pieces are whole and every row of every expert has every atom of 16 columns exactly once.
bool cover_once(const std::vector<kernels::work_piece>& pieces, const rows_of_experts& rows, std::int32_t atoms,
                const walk_shape& shape) {
  std::vector<std::int32_t> begin(rows.size() + 1, 0);
  for (std::size_t e = 0; e < rows.size(); ++e) begin[e + 1] = begin[e] + rows[e];
  const auto columns = static_cast<std::size_t>(atoms);
  std::vector<char> seen(static_cast<std::size_t>(begin.back()) * columns, 0);
  std::size_t count = 0;
  for (const kernels::work_piece& piece : pieces) {
    const auto expert = static_cast<std::size_t>(piece.expert);
    if (piece.rows < 1 || piece.rows > shape.block_m || piece.atoms < 1 || piece.atoms > shape.slab_atoms) return false;
    if (piece.first_row < begin[expert] || piece.first_row + piece.rows > begin[expert + 1]) return false;
    if (piece.first_atom < 0 || piece.first_atom + piece.atoms > atoms) return false;
    // Copies of W and the epilogue take 64 columns at a time.
    if (piece.first_atom % 4 != 0) return false;
    for (std::int32_t row = piece.first_row; row < piece.first_row + piece.rows; ++row) {
      const auto from = seen.begin() + static_cast<std::ptrdiff_t>(row) * atoms + piece.first_atom;
      if (std::count(from, from + piece.atoms, 0) != piece.atoms) return false;
      std::fill(from, from + piece.atoms, 1);
      count += static_cast<std::size_t>(piece.atoms);
    }
  }
  return count == seen.size();
}

}  // namespace

TEST_CASE("schedule: row tiles", "[schedule]") {
  CHECK(kernels::row_tiles(-1, 8) == 0);
  CHECK(kernels::row_tiles(0, 8) == 0);
  CHECK(kernels::row_tiles(1, 8) == 1);
  CHECK(kernels::row_tiles(8, 8) == 1);
  CHECK(kernels::row_tiles(9, 8) == 2);
  CHECK(kernels::row_tiles(INT32_MAX, 8) == 1 << 28);
  CHECK(kernels::row_tile_height(1, 1, 8) == 8);
  CHECK(kernels::row_tile_height(129, 2, 16) == 80);  // 80 + 49, not 128 + 1
  CHECK(kernels::row_tile_height(257, 2, 16) == 144);
  CHECK(kernels::row_tile_height(INT32_MAX, 1 << 28, 8) == 8);
  for (const auto& [block_m, step] : {std::pair{8, 8}, {16, 8}, {64, 16}, {128, 16}, {128, 32}, {160, 16}, {160, 32}})
    for (std::int32_t rows = 1; rows < 5 * block_m; ++rows) {
      const std::int32_t tiles = kernels::row_tiles(rows, block_m);
      const std::int32_t height = kernels::row_tile_height(rows, tiles, step);
      INFO(rows << " rows in tiles of " << block_m);
      CHECK(height <= block_m);
      CHECK(height % step == 0);
      CHECK((tiles - 1) * height < rows);  // the last tile has rows, and holds what is left
      CHECK(rows - (tiles - 1) * height <= height);
    }
  for (const std::int64_t m : {1, 7, 64, 1000})
    for (const std::int64_t experts : {1, 4, 128}) {
      CHECK(kernels::most_row_tiles(m, experts, 8) >= kernels::row_tiles(static_cast<std::int32_t>(m), 8));
      // Where every expert but one has a single row.
      const std::int64_t others = std::min(experts, m) - 1;
      CHECK(kernels::most_row_tiles(m, experts, 8) >=
            others + kernels::row_tiles(static_cast<std::int32_t>(m - others), 8));
    }
}

TEST_CASE("schedule: blocks that share steps have four each, and a tile no more than split_k", "[schedule]") {
  CHECK(kernels::sharing_blocks(1, 12, 16, 264) == 3);
  CHECK(kernels::sharing_blocks(1, 45, 4, 264) == 4);
  CHECK(kernels::sharing_blocks(100, 45, 4, 264) == 264);
  CHECK(kernels::sharing_blocks(0, 45, 4, 264) == 1);
  CHECK(kernels::sharing_blocks(1, 1, 4, 264) == 1);
  for (const std::int64_t tiles : {1, 2, 45, 1000})
    for (const std::int64_t steps : {1, 3, 4, 12, 45})
      for (const std::int64_t split : {1, 2, 16})
        for (const std::int64_t grid : {1, 132, 264}) {
          const std::int64_t blocks = kernels::sharing_blocks(tiles, steps, split, grid);
          CHECK((blocks >= 1 && blocks <= grid && blocks <= tiles * split));
          CHECK((blocks == 1 || tiles * steps / blocks >= 4));
        }
}

TEST_CASE("schedule: runs share all steps", "[schedule]") {
  for (const std::int64_t total : {1, 7, 45, 1000, 16'200})
    for (const std::int64_t blocks : {1, 2, 5, 132, 264}) {
      if (blocks > total) continue;
      std::int64_t next = 0;
      for (std::int64_t b = 0; b < blocks; ++b) {
        const kernels::step_run run = kernels::run_of(total, blocks, b);
        CHECK(run.begin == next);
        CHECK(run.end > run.begin);
        next = run.end;
        for (std::int64_t step = run.begin; step < run.end; ++step)
          if (kernels::block_of(total, blocks, step) != b) FAIL("step " << step << " is not of block " << b);
      }
      CHECK(next == total);
    }
}

TEST_CASE("Pieces of a tile are its steps once, in shares that differ by one") {
  for (const int steps : {1, 2, 6, 7, 32'768})
    for (int pieces = 1; pieces <= 16 && pieces <= steps; ++pieces) {
      CHECK(kernels::first_step_of_piece(steps, pieces, 0) == 0);
      CHECK(kernels::first_step_of_piece(steps, pieces, pieces) == steps);
      for (int piece = 0; piece < pieces; ++piece) {
        const int share =
            kernels::first_step_of_piece(steps, pieces, piece + 1) - kernels::first_step_of_piece(steps, pieces, piece);
        CHECK((share == steps / pieces || share == steps / pieces + 1));
      }
    }
}

TEST_CASE("schedule: pieces cover their run, and pieces of a tile know each other", "[schedule]") {
  for (const auto& [tiles, steps] : {std::pair{5, 12}, {1, 45}, {45, 1}, {7, 3}, {90, 23}})
    for (const std::int64_t blocks : {1, 2, 7, 45, 132}) {
      const std::int64_t total = std::int64_t{tiles} * steps;
      if (blocks > total) continue;
      std::vector<std::set<std::int32_t>> sharers(static_cast<std::size_t>(tiles));
      std::vector<std::pair<std::int64_t, kernels::work_piece>> pieces;
      for (std::int32_t b = 0; b < blocks; ++b) {
        const kernels::step_run run = kernels::run_of(total, blocks, b);
        std::int64_t at = run.begin;
        int begun_inside = 0;
        while (at < run.end) {
          const kernels::work_piece piece = kernels::piece_at(at, run.end, total, blocks, steps);
          REQUIRE(piece.steps >= 1);
          CHECK(piece.first_step == at % steps);
          CHECK(piece.first_step + piece.steps <= steps);
          begun_inside += piece.first_step > 0 ? 1 : 0;
          sharers[static_cast<std::size_t>(at / steps)].insert(b);
          pieces.emplace_back(at / steps, piece);
          at += piece.steps;
        }
        CHECK(at == run.end);
        CHECK(begun_inside <= 1);  // a block keeps one set of sums for it
      }
      for (const auto& [tile, piece] : pieces) {
        const auto& who = sharers[static_cast<std::size_t>(tile)];
        CHECK(piece.blocks == static_cast<std::int32_t>(who.size()));
        if (piece.blocks > 1) CHECK(piece.first_block == *who.begin());
      }
    }
}

TEST_CASE("schedule: an expert costs its row tiles, the last as wide as its rows", "[schedule]") {
  CHECK(kernels::column_cost(64) == 152);
  CHECK(kernels::column_cost(0, 64, 16) == 0);
  CHECK(kernels::column_cost(1, 64, 16) == kernels::column_cost(16));
  CHECK(kernels::column_cost(16, 64, 16) == kernels::column_cost(16));
  CHECK(kernels::column_cost(17, 64, 16) == kernels::column_cost(32));
  CHECK(kernels::column_cost(64, 64, 16) == kernels::column_cost(64));
  CHECK(kernels::column_cost(65, 64, 16) == kernels::column_cost(64) + kernels::column_cost(16));
  for (const opt_flags& tile : ogs_policy::hopper_tiles) {
    const walk_shape shape = shape_of(tile);
    for (std::int32_t rows = 1; rows < 300; ++rows) {
      const std::int32_t cost = kernels::column_cost(rows, shape.block_m, shape.width_step);
      CHECK(cost >= kernels::column_cost(rows - 1, shape.block_m, shape.width_step));
      CHECK(cost <= kernels::row_tiles(rows, shape.block_m) * kernels::column_cost(shape.block_m));
    }
  }
}

TEST_CASE("schedule: pieces are as narrow as one round allows, or as what is left asks for", "[schedule]") {
  // Two blocks of cost 1 an atom: 16 atoms are one round of 8 each, 8 of 4 each, 17 more than one round.
  CHECK(kernels::piece_atoms(16, 16, 2, 8, 4) == 8);
  CHECK(kernels::piece_atoms(9, 9, 2, 8, 4) == 8);
  CHECK(kernels::piece_atoms(8, 8, 2, 8, 4) == 4);
  CHECK(kernels::piece_atoms(8, 1, 2, 8, 4) == 4);
  CHECK(kernels::piece_atoms(1, 1, 2, 8, 4) == 4);
  CHECK(kernels::piece_atoms(17, 17, 2, 8, 4) == 8);
  CHECK(kernels::piece_atoms(17, 16, 2, 8, 4) == 8);
  CHECK(kernels::piece_atoms(17, 15, 2, 8, 4) == 4);
  CHECK(kernels::piece_atoms(17, 0, 2, 8, 4) == 4);
  CHECK(kernels::piece_atoms(17, 0, 2, 8, 3) == 4);
  CHECK(kernels::piece_atoms(17, 0, 2, 8, 8) == 8);
  CHECK(kernels::piece_atoms(0, 0, 2, 8, 1) == 1);

  for (const std::int32_t most : {8, 16})
    for (const std::int32_t least : {1, 3, 4, 8})
      for (const std::int64_t round : {1, 7, 132})
        for (std::int64_t all = 0; all < 3 * most * round; all += 1 + round / 4)
          for (std::int64_t left = all; left >= 0; left -= 1 + all / 5) {
            const std::int32_t atoms = kernels::piece_atoms(all, left, round, most, least);
            std::set<std::int32_t> widths;
            for (std::int32_t w = most; w >= least; w /= 2) widths.insert(w);
            if (widths.count(atoms) == 0) FAIL(atoms << " atoms of " << most << " down to " << least);
            const bool narrowest = atoms == *widths.begin();
            if (all <= most * round) {
              const bool one_round = narrowest || all <= atoms * round;
              CHECK((one_round && (narrowest || all > atoms / 2 * round)));
            } else {
              const bool share_is_there = narrowest || left >= atoms * round;
              CHECK((share_is_there && (atoms == most || left < 2 * atoms * round)));
            }
          }
}

TEST_CASE("schedule: tickets have every row and column of every expert once", "[schedule]") {
  std::mt19937 random(20'251'121);
  const auto between = [&random](int low, int high) {
    return low + static_cast<int>(random() % static_cast<unsigned>(high - low + 1));
  };
  for (const opt_flags& tile : ogs_policy::hopper_tiles) {
    const walk_shape shape = shape_of(tile);
    for (int trial = 0; trial < 24; ++trial) {
      // Experts of one size, of all sizes, most of them without rows; the last trial has the most of everything.
      const bool last = trial == 23;
      const int experts = last ? 256 : between(1, trial % 2 == 0 ? 256 : 40);
      const int most_rows = last ? 300 : between(0, trial % 3 == 0 ? 300 : 40);
      const int used = trial % 4 == 0 ? 8 : 100;  // of a hundred experts
      rows_of_experts rows;
      for (int e = 0; e < experts; ++e) rows.push_back(between(1, 100) <= used ? between(0, most_rows) : 0);
      const std::int32_t atoms = last ? 450 : 2 * between(1, trial % 2 == 0 ? 60 : 225);
      const std::int64_t blocks = between(1, 264);
      INFO("block_m " << shape.block_m << ", " << experts << " experts of 0 to " << most_rows << " rows, " << atoms
                      << " atoms, " << blocks << " blocks");
      const walked found = walk(rows, atoms, shape, blocks);
      CHECK(cover_once(found.pieces, rows, atoms, shape));
      CHECK(std::is_sorted(found.widths.rbegin(), found.widths.rend()));  // narrower towards the end, never wider
    }
  }
}

TEST_CASE("schedule: one round of narrow pieces where they are few, narrow ones last where they are many",
          "[schedule]") {
  const walk_shape shape = shape_of(ogs_policy::hopper_tiles[0]);
  // 4 experts of 8 rows and 90 atoms are 48 pieces of 8 atoms, 92 of 4.
  const rows_of_experts few(4, 8);
  CHECK(walk(few, 90, shape, 264).pieces.size() == 92);
  CHECK(walk(few, 90, shape, 60).pieces.size() == 48);
  const rows_of_experts many(128, 8);
  const std::vector<std::int32_t> widths = walk(many, 90, shape, 264).widths;
  CHECK(widths.front() == 8);
  CHECK(widths.back() == 4);
}
