// Lane layouts and schedules of the CUDA kernels, on the CPU.
#include <array>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include <tilefit/device/cuda/lanes.hpp>
#include <tilefit/dispatch.hpp>
#include <tilefit/kernels/schedule.hpp>
#include <tilefit/ogs_policy.hpp>
#include <tilefit/weight_layout.hpp>

#include "../support/catch.hpp"

using namespace tilefit;

TEST_CASE("lanes: fragments cover their matrices once", "[cuda_lanes]") {
  using device::element_place;
  const auto places = [](auto place, int elements) {
    std::set<std::pair<int, int>> seen;
    for (int lane = 0; lane < 32; ++lane)
      for (int e = 0; e < elements; ++e) {
        const element_place at = place(lane, e);
        CHECK(seen.emplace(at.row, at.column).second);
      }
    return seen;
  };
  const auto a = places([](int l, int e) { return device::mma_a_place(l, e); }, 8);
  CHECK(a.size() == 16 * 16);
  CHECK(a.rbegin()->first == 15);
  CHECK(places([](int l, int e) { return device::mma_b_place(l, e); }, 4).size() == 16 * 8);
  CHECK(places([](int l, int e) { return device::mma_c_place(l, e); }, 4).size() == 16 * 8);
  CHECK(places([](int l, int e) { return device::ldmatrix_place(l, e); }, 2).size() == 8 * 8);
}

TEST_CASE("lanes: ldmatrix of rows of X is the B fragment", "[cuda_lanes]") {
  // A matrix holds 8 tokens (rows) x 8 K; matrices 0 and 1 of a K step of 16 are elements 0, 1 and 2, 3 of B[k, token].
  for (int lane = 0; lane < 32; ++lane)
    for (int e = 0; e < 4; ++e) {
      const device::element_place in_matrix = device::ldmatrix_place(lane, e % 2);
      const device::element_place b = device::mma_b_place(lane, e);
      CHECK(b.column == in_matrix.row);
      CHECK(b.row == in_matrix.column + 8 * (e / 2));
    }
}

TEST_CASE("lanes: the weight layout's slots are the A fragment", "[cuda_lanes]") {
  for (int row = 0; row < 16; ++row)
    for (int col = 0; col < 16; ++col) {
      const mma_slot slot = mma_slot_of(row, col);
      CHECK(device::mma_a_place(slot.lane, slot.element) ==
            device::element_place{.row = row / 2 + 8 * (row % 2), .column = col});
    }
}

TEST_CASE("lanes: the swizzle moves chunks inside their row, eight lanes to eight places", "[cuda_lanes]") {
  for (std::uint32_t chunk = 0; chunk < 8; ++chunk) {
    std::set<std::uint32_t> banks;
    for (std::uint32_t row = 0; row < 8; ++row) {
      const std::uint32_t at = device::swizzled_chunk(row, chunk);
      CHECK(at / 128 == row);
      CHECK(at % 16 == 0);
      banks.insert(at % 128);
      CHECK(device::swizzled_chunk(row + 8, chunk) == at + 1024);
    }
    CHECK(banks.size() == 8);
  }
  CHECK(device::swizzled_descriptor(0x2400) == (std::uint64_t{0x240} | 1ull << 16 | 64ull << 32 | 1ull << 62));
}

TEST_CASE("schedule: runs share all steps, and pieces of a tile know each other", "[cuda_lanes]") {
  for (const std::int64_t total : {1, 7, 45, 1000, 16'200})
    for (const std::int64_t blocks : {1, 2, 5, 132, 264}) {
      if (blocks > total) continue;
      std::int64_t next = 0;
      for (std::int64_t b = 0; b < blocks; ++b) {
        const kernels::step_run run = kernels::run_of(total, blocks, b);
        CHECK(run.begin == next);
        CHECK(run.end > run.begin);
        next = run.end;
        CHECK(kernels::block_of(total, blocks, run.begin) == b);
        CHECK(kernels::block_of(total, blocks, run.end - 1) == b);
      }
      CHECK(next == total);
    }
  // 12 steps a tile, 5 tiles, 7 blocks: every piece names the blocks that have a part of its tile.
  constexpr std::int64_t total = 60, blocks = 7;
  constexpr std::int32_t steps = 12;
  std::vector<std::set<std::int32_t>> sharers(5);
  std::vector<std::pair<std::int64_t, kernels::work_piece>> pieces;
  for (std::int32_t b = 0; b < blocks; ++b) {
    const kernels::step_run run = kernels::run_of(total, blocks, b);
    for (std::int64_t at = run.begin; at < run.end;) {
      const kernels::work_piece piece = kernels::piece_at(at, run.end, total, blocks, steps);
      CHECK(piece.first_step == at % steps);
      sharers[static_cast<std::size_t>(at / steps)].insert(b);
      pieces.emplace_back(at / steps, piece);
      at += piece.steps;
    }
  }
  for (const auto& [tile, piece] : pieces) {
    const auto& who = sharers[static_cast<std::size_t>(tile)];
    CHECK(piece.blocks == static_cast<std::int32_t>(who.size()));
    if (piece.blocks > 1) CHECK(piece.first_block == *who.begin());
  }
}

TEST_CASE("schedule: row tiles", "[cuda_lanes]") {
  CHECK(kernels::row_tiles(0, 8) == 0);
  CHECK(kernels::row_tiles(1, 8) == 1);
  CHECK(kernels::row_tiles(8, 8) == 1);
  CHECK(kernels::row_tiles(9, 8) == 2);
  for (const std::int64_t m : {1, 7, 64, 1000})
    for (const std::int64_t experts : {1, 4, 128})
      CHECK(kernels::most_row_tiles(m, experts, 8) >= kernels::row_tiles(static_cast<std::int32_t>(m), 8));
}

TEST_CASE("dispatch: flags find their kernel, whatever is decided at run time", "[cuda_lanes]") {
  constexpr auto tiles = ogs_policy::hopper_tiles;
  for (std::size_t i = 0; i < tiles.size(); ++i) {
    opt_flags flags = tiles[i];
    CHECK(find_kernel(tiles, flags) == static_cast<int>(i));
    flags.split_k = 1;
    flags.idle_sms = 12;
    CHECK(find_kernel(tiles, flags) == static_cast<int>(i));
    flags.block_k /= 2;
    CHECK(find_kernel(tiles, flags) == -1);
  }
  int visited = -1;
  with_index<5>(3, [&]<int Index>() { visited = Index; });
  CHECK(visited == 3);
  with_index<5>(7, [&]<int>() { visited = -2; });
  CHECK(visited == 3);
}
