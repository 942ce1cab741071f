// Lane layouts of the CUDA kernels, and how flags find one, on the CPU.
#include <array>
#include <cstdint>
#include <set>
#include <utility>

#include <tilefit/device/cuda/lanes.hpp>
#include <tilefit/dispatch.hpp>
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
