// AMD's matrix kernels: lane layouts, and that W and X meet: a lane's weights and its X are of the same K.
#include <array>
#include <cstddef>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include <tilefit/device/hip/lanes.hpp>
#include <tilefit/kernels/mfma_tile.hpp>
#include <tilefit/kernels/schedule.hpp>
#include <tilefit/weight_layout.hpp>

#include "../support/catch.hpp"

using namespace tilefit;

namespace {

template <int M, int N, int K, int Stages, dtype X>
struct entry {
  static constexpr opt_flags flags{
      .block_m = M, .block_n = N, .block_k = K, .num_warps = 4, .num_stages = Stages, .xcd_swizzle = 8};
  static constexpr dtype x = X;
  static constexpr arch_id arch = arch_id::gfx950;
};
template <int M, int N, int K, int Stages, dtype X>
using tile_of = kernels::mfma_tile<entry<M, N, K, Stages, X>>;

/// Every lane's weights of a unit, element by element, against its X.
template <class Tile>
void check_k() {
  constexpr std::int64_t k = 256, n = 64;
  constexpr int tile = Tile::tile;
  for (unsigned lane = 0; lane < 64; ++lane)
    for (int m = 0; m < 64 / tile; ++m)
      for (int unit = 0; unit < 2 * Tile::units_of_atom; ++unit) {
        const unsigned group = lane / tile;
        const int row = tile * m + static_cast<int>(lane % tile);
        const std::int64_t atom = std::int64_t{unit / Tile::units_of_atom} * Tile::group_step_bytes;
        const int of_atom = unit % Tile::units_of_atom;
        const std::int64_t first = atom + m * Tile::row_tile_bytes;
        const std::int64_t values = first + of_atom * Tile::unit_values_bytes + Tile::w_values_byte(lane);
        const std::int64_t scale = first + of_atom * Tile::unit_scales_bytes + Tile::w_scale_byte(lane);
        for (int element = 0; element < 32; ++element) {
          int of_unit = 0;  // K of the weight
          if constexpr (Tile::scaled) {
            of_unit = device::mfma_scaled_k(4, tile, static_cast<int>(lane), element);
            // X: its chunks in a row are the operand's elements in a row.
            const int x_element = device::mfma_scaled_k(Tile::x_bits, tile, static_cast<int>(lane), element);
            constexpr int of_chunk = 128 / Tile::x_bits;
            const auto chunk = static_cast<unsigned>(element / of_chunk);
            CHECK(static_cast<int>(Tile::x_chunk_k(group, chunk)) + element % of_chunk == x_element);
          } else {
            // Eight K of every group to an instruction, in any order that both operands share.
            of_unit = static_cast<int>(Tile::x_chunk_k(group, static_cast<unsigned>(element / 8))) + element % 8;
          }
          const std::int64_t col = unit * Tile::unit_k + of_unit;
          const weight_position at = value_position(weight_layout::mfma_m16k128, n, k, row, col);
          CHECK(at.byte == values + element / 2);
          CHECK(at.bit[0] == element % 2 * 4);
          CHECK(scale_offset(weight_layout::mfma_m16k128, n, k, row, col) == scale);
        }
        if (Tile::scaled)
          CHECK(device::mfma_scale_lane(tile, row % tile, static_cast<int>(group)) == static_cast<int>(lane));
      }
}

}  // namespace

TEST_CASE("Accumulators cover a tile once, four neighbouring rows at a time") {
  for (const int tile : {16, 32}) {
    std::set<std::pair<int, int>> seen;
    for (int lane = 0; lane < 64; ++lane)
      for (int e = 0; e < device::mfma_sums(tile); ++e) {
        const device::matrix_place at = device::mfma_c_place(tile, lane, e);
        CHECK(at.column == lane % tile);
        CHECK(at.row == device::mfma_c_place(tile, lane, e - e % 4).row + e % 4);
        CHECK((at.row >= 0 && at.row < tile));
        seen.insert({at.row, at.column});
      }
    CHECK(seen.size() == static_cast<std::size_t>(tile * tile));
  }
}

TEST_CASE("Operands cover K once") {
  for (const int tile : {16, 32}) {
    std::set<int> k16, k8, k4;
    for (int lane = 0; lane < 64; lane += tile) {
      for (int e = 0; e < 8; ++e) k16.insert(device::mfma_16bit_k(tile, lane, e));
      for (int e = 0; e < 32; ++e) {
        k8.insert(device::mfma_scaled_k(8, tile, lane, e));
        k4.insert(device::mfma_scaled_k(4, tile, lane, e));
      }
    }
    CHECK(k16.size() == static_cast<std::size_t>(512 / tile));
    CHECK(*k16.rbegin() == 512 / tile - 1);
    CHECK(k8.size() == static_cast<std::size_t>(2048 / tile));
    CHECK(*k8.rbegin() == 2048 / tile - 1);
    CHECK(k4 == k8);
  }
}

TEST_CASE("A lane's weights and its X are of the same K") {
  check_k<tile_of<16, 32, 512, 3, dtype::bf16>>();
  check_k<tile_of<16, 64, 512, 3, dtype::mxfp8>>();
  check_k<tile_of<32, 64, 512, 2, dtype::mxfp4>>();
  check_k<tile_of<64, 256, 128, 2, dtype::fp16>>();
  check_k<tile_of<128, 256, 256, 2, dtype::fp8_e4m3>>();
  check_k<tile_of<128, 256, 512, 2, dtype::mxfp4>>();
}

TEST_CASE("Copies fill a stage of X once, and reads of a chunk meet in no bank") {
  using tile = tile_of<128, 256, 128, 2, dtype::bf16>;
  std::set<std::pair<unsigned, unsigned>> filled;
  for (unsigned wave = 0; wave < 4; ++wave)
    for (unsigned copy = 0; copy < tile::x_copies; ++copy)
      for (unsigned lane = 0; lane < 64; ++lane) {
        const unsigned row = tile::x_copied_row(wave, copy, lane);
        // Where LDS-direct loads put it is place lane % 16 of that row.
        CHECK(1024 * (tile::x_copies * wave + copy) + 16 * lane == 256 * row + 16 * (lane % 16));
        filled.insert({row, device::swizzled_place(row, lane % 16)});
      }
  CHECK(filled.size() == 128 * 16);
  // 16 lanes that are served together: whichever they are, as long as their rows differ modulo 16.
  const std::array<std::array<unsigned, 16>, 2> served = {
      {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
       {0, 1, 2, 3, 12, 13, 14, 15, 20, 21, 22, 23, 24, 25, 26, 27}}};
  for (const auto& lanes : served)
    for (unsigned chunk = 0; chunk < 16; ++chunk) {
      std::set<unsigned> banks;
      for (const unsigned lane : lanes) banks.insert(device::swizzled_place(lane, chunk));
      CHECK(banks.size() == 16);
    }
}

TEST_CASE("Dies get runs of neighbouring tiles, each tile once") {
  for (const std::int32_t dies : {1, 2, 8})
    for (std::int32_t tiles = 1; tiles < 70; ++tiles) {
      std::vector<std::int32_t> of_die(static_cast<std::size_t>(dies), -1);
      std::set<std::int32_t> seen;
      for (std::int32_t block = 0; block < tiles; ++block) {
        const std::int32_t tile = kernels::tile_of_block(block, tiles, dies);
        CHECK((tile >= 0 && tile < tiles));
        seen.insert(tile);
        std::int32_t& before = of_die[static_cast<std::size_t>(block % dies)];
        if (before >= 0) CHECK(tile == before + 1);
        before = tile;
      }
      CHECK(seen.size() == static_cast<std::size_t>(tiles));
    }
}
