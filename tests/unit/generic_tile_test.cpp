// Geometry of the generic matmul_ogs kernel, on the CPU: who copies and who multiplies what, and what fits where.
#include <set>
#include <utility>

#include <tilefit/arch_table.hpp>
#include <tilefit/dispatch.hpp>
#include <tilefit/kernels/generic_tile.hpp>
#include <tilefit/make_opt_flags.hpp>
#include <tilefit/ogs_policy.hpp>

#include "../support/catch.hpp"

using namespace tilefit;

namespace {

template <int Index>
struct entry {
  static constexpr opt_flags flags = ogs_policy::generic_tiles[Index];
  static constexpr dtype x = dtype::bf16;
  static constexpr bool on_hopper = true;
};

template <class Visitor>
void for_each_tile(Visitor visit) {
  constexpr int count = static_cast<int>(ogs_policy::generic_tiles.size());
  for (int i = 0; i < count; ++i)
    with_index<count>(i, [&]<int Index>() { visit(kernels::generic_tile<entry<Index>>{}); });
}

}  // namespace

TEST_CASE("generic tiles: every 16 bytes of a stage are copied once", "[generic_tile]") {
  for_each_tile([]<class Tile>(Tile) {
    std::set<std::pair<int, int>> w;
    std::set<int> x;
    for (unsigned thread = 0; thread < static_cast<unsigned>(Tile::threads); ++thread) {
      for (int i = 0; i < Tile::w_rounds; ++i)
        if (Tile::w_chunk(thread, i) < Tile::k_atoms * Tile::w_atom_chunks)
          CHECK(w.emplace(Tile::w_group(thread), Tile::w_chunk(thread, i)).second);
      for (int round = 0; round < Tile::x_rounds; ++round)
        for (int i = 0; i < Tile::x_rows; ++i)
          if (Tile::x_atom(thread, round) < Tile::k_atoms)
            CHECK(x.insert((Tile::x_atom(thread, round) * Tile::flags.block_m + Tile::x_row(thread, i)) * 8 +
                           Tile::x_chunk(thread))
                      .second);
    }
    CHECK(static_cast<int>(w.size()) * 16 == Tile::w_groups * Tile::w_group_bytes);
    CHECK(static_cast<int>(x.size()) * 16 == Tile::k_atoms * Tile::x_atom_bytes);
    CHECK(w.rbegin()->first == Tile::w_groups - 1);
  });
}

TEST_CASE("generic tiles: warps share rows of W and tokens of every width", "[generic_tile]") {
  for_each_tile([]<class Tile>(Tile) {
    for (int width = Tile::width_step; width <= Tile::flags.block_m; width += Tile::width_step) {
      std::set<std::pair<int, int>> seen;
      for (unsigned warp = 0; warp < static_cast<unsigned>(Tile::flags.num_warps); ++warp)
        for (int atom = 0; atom < Tile::atoms; ++atom)
          for (int token = 0; token < width / Tile::token_warps; token += 8)
            CHECK(seen.emplace(Tile::first_atom(warp) + atom, Tile::first_token(warp, width) + token).second);
      CHECK(static_cast<int>(seen.size()) == Tile::flags.block_n / 16 * (width / 8));
    }
    std::set<int> bytes;
    for (int atom = 0; atom < Tile::flags.block_n / 16; ++atom) CHECK(bytes.insert(Tile::atom_byte(atom)).second);
    CHECK(*bytes.rbegin() < Tile::w_groups * Tile::w_group_bytes);
  });
}

TEST_CASE("generic tiles: they fit every chip that they serve", "[generic_tile]") {
  for_each_tile([]<class Tile>(Tile) {
    for (const arch_traits& arch : arch_table)
      if (arch.features.has(feature::mma_sync) && !arch.features.has(feature::wgmma)) {
        CHECK(Tile::fits(arch));
        CHECK(blocks_per_sm(arch, Tile::plan.total_bytes(), Tile::threads) >= (Tile::flags.block_m < 128 ? 2 : 1));
      }
    CHECK(Tile::blocks_per_sm >= (Tile::flags.block_m < 128 ? 2 : 1));
    // In flight, beside the stage that is multiplied.
    const int blocks = blocks_per_sm(arch_v<arch_id::sm_120>, Tile::plan.total_bytes(), Tile::threads);
    CHECK(blocks * Tile::plan.stage_bytes * (Tile::stages - 1) >= 40'960);
    CHECK(find_kernel(ogs_policy::generic_tiles, Tile::flags) >= 0);
  });
}

TEST_CASE("generic tiles: what the engine chooses is a kernel as it stands", "[generic_tile]") {
  for (const arch_id id : {arch_id::sm_80, arch_id::sm_86, arch_id::sm_87, arch_id::sm_89, arch_id::sm_100,
                           arch_id::sm_110, arch_id::sm_120, arch_id::sm_121, arch_id::nvidia_generic})
    for (const int experts : {1, 32, 128})
      for (const std::int64_t m : {1, 32, 500, 40'000})
        for (const std::int64_t n : {32, 2880, 5760}) {
          const selection choice = make_opt_flags(
              traits_of(id), {.m = m, .n = n, .k = 2880, .experts = experts, .topk = experts > 1 ? 4 : 1});
          CHECK(choice.status == status_code::ok);
          CHECK(find_kernel(ogs_policy::generic_tiles, choice.flags) >= 0);
        }
}
