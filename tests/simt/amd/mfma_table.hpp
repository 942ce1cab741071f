// The AMD kernels of an architecture as a table.
#pragma once

#include <array>
#include <cstddef>
#include <utility>

#include "simt_kernels.hpp"
#include "tilefit/kernels/matmul_ogs_mfma.cuh"
#include "tilefit/kernels/matmul_ogs_mfma_few.cuh"
#include "tilefit/kernels/mfma_entry.hpp"

namespace tilefit_simt {

using namespace tilefit;

template <class Tile>
constexpr matmul_kernel kernel_of_tile() {
  matmul_kernel kernel{.flags = Tile::flags,
                       .x = Tile::x,
                       .smem_bytes = static_cast<std::size_t>(Tile::plan.total_bytes()),
                       .smem_bytes_of_blocks = static_cast<std::size_t>(Tile::plan.total_bytes()),
                       .threads = Tile::threads,
                       .teams = Tile::row_tiles * Tile::token_tiles,
                       .layout = weight_layout::mfma_m16k128};
  if constexpr (Tile::few_rows)
    kernel.run = kernels::matmul_ogs_mfma_few<Tile>;
  else
    kernel.run = kernels::matmul_ogs_mfma<Tile>;
  return kernel;
}
template <arch_id Arch, dtype X, int Index>
constexpr matmul_kernel mfma_kernel() {
  return kernel_of_tile<kernels::mfma_tile<typename kernels::mfma_catalogue_entry<Arch, X, Index>::type>>();
}

template <arch_id Arch, dtype... X>
constexpr auto mfma_table() {
  constexpr std::size_t tiles = ogs_policy::mfma_tiles(arch_v<Arch>, dtype::bf16).size();
  std::array<matmul_kernel, tiles * sizeof...(X)> table{};
  std::size_t next = 0;
  const auto add = [&]<dtype Type, int... Index>(std::integer_sequence<int, Index...>) {
    ((table[next++] = mfma_kernel<Arch, Type, Index>()), ...);
  };
  (add.template operator()<X>(std::make_integer_sequence<int, static_cast<int>(tiles)>{}), ...);
  return table;
}

}  // namespace tilefit_simt
