// The generic mma.sync kernels of the catalogue.
#include <array>
#include <utility>

#include "simt_kernels.hpp"
#include "tilefit/arch_table.hpp"
#include "tilefit/kernels/matmul_ogs_mma.cuh"
#include "tilefit/ogs_policy.hpp"

using namespace tilefit;

namespace {

template <int Index, dtype X>
struct entry {
  static constexpr opt_flags flags = ogs_policy::generic_tiles[Index];
  static constexpr dtype x = X;
  static constexpr bool on_hopper = true;
};

template <int Index, dtype X>
constexpr tilefit_simt::matmul_kernel kernel_of() {
  using tile = kernels::generic_tile<entry<Index, X>>;
  static_assert(tile::fits(arch_v<arch_id::sm_120>));
  return {.flags = tile::flags,
          .x = X,
          .smem_bytes = static_cast<std::size_t>(tile::plan.total_bytes()),
          .smem_bytes_of_blocks = static_cast<std::size_t>(tile::plan_of_blocks.total_bytes()),
          .threads = tile::threads,
          .run = kernels::matmul_ogs_mma<tile>};
}

template <int... Index>
constexpr auto all_of(std::integer_sequence<int, Index...>) {
  return std::array{kernel_of<Index, dtype::bf16>()..., kernel_of<Index, dtype::fp16>()...};
}

constexpr auto table = all_of(std::make_integer_sequence<int, static_cast<int>(ogs_policy::generic_tiles.size())>{});

}  // namespace

std::span<const tilefit_simt::matmul_kernel> tilefit_simt::generic_kernels() { return table; }
