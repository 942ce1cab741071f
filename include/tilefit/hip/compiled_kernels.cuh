// L6: the kernels of matmul_ogs that a program has for AMD GPUs.
// Knows: catalogues of tiles, which kernel a tile is.
// Must not know: arguments, workspaces, streams.
#pragma once

#include <hip/hip_runtime.h>

#include <span>
#include <type_traits>

#include "../arch.hpp"
#include "../dispatch.hpp"
#include "../dtype.hpp"
#include "../kernels/matmul_ogs_mfma.cuh"
#include "../kernels/matmul_ogs_mfma_few.cuh"
#include "../kernels/mfma_entry.hpp"
#include "../kernels/mfma_tile.hpp"
#include "../kernels/ogs_params.hpp"
#include "../ogs_policy.hpp"
#include "../opt_flags.hpp"

namespace tilefit::inline v0::hip {

/// The kernels that a program compiles: every tile, every format of X that an architecture has kernels for. A program
/// that wants fewer passes a type of its own with this member to `launch` and its companions.
struct full_catalogue {
  static constexpr dtype formats[] = {dtype::bf16, dtype::fp16, dtype::fp8_e4m3, dtype::mxfp8, dtype::mxfp4};
};

}  // namespace tilefit::inline v0::hip

namespace tilefit::inline v0::detail {

/// A kernel that was found for flags, and what launching it takes. Its LDS is static: no attribute is needed for more
/// than 64 KiB, which runtimes have been seen to ignore or to refuse.
struct hip_kernel {
  const void* run = nullptr;
  int threads = 0;
  int parts = 1;  ///< of its sums, each of which blocks that share a tile bring together on their own
};

template <arch_id Arch, dtype X>
hip_kernel hip_kernel_of(int index) noexcept {
  hip_kernel kernel;
  if constexpr (kernels::has_mfma_kernels(Arch, X)) {
    constexpr int count = static_cast<int>(ogs_policy::mfma_tiles(arch_v<Arch>, X).size());
    with_index<count>(index, [&]<int Index>() {
      using tile = kernels::mfma_tile<typename kernels::mfma_catalogue_entry<Arch, X, Index>::type>;
      kernel.threads = tile::threads;
      kernel.parts = tile::row_tiles * tile::token_tiles;
      if constexpr (tile::few_rows)
        kernel.run = reinterpret_cast<const void*>(&kernels::matmul_ogs_mfma_few<tile>);
      else
        kernel.run = reinterpret_cast<const void*>(&kernels::matmul_ogs_mfma<tile>);
    });
  }
  return kernel;
}

/// The kernel of entry `index` of the tiles for X; none where the catalogue or the architecture has none.
template <class Catalogue>
hip_kernel hip_kernel_for(const arch_traits& arch, dtype x, int index) noexcept {
  hip_kernel kernel;
  const auto of_format = [&]<int Index>() {
    constexpr dtype format = Catalogue::formats[Index];
    if (format != x) return;
    if (arch.id == arch_id::gfx950) kernel = hip_kernel_of<arch_id::gfx950, format>(index);
    if (arch.id == arch_id::gfx942) kernel = hip_kernel_of<arch_id::gfx942, format>(index);
  };
  constexpr int count = static_cast<int>(std::extent_v<decltype(Catalogue::formats)>);
  [&]<int... All>(std::integer_sequence<int, All...>) { (of_format.template operator()<All>(), ...); }
  (std::make_integer_sequence<int, count>{});
  return kernel;
}

}  // namespace tilefit::inline v0::detail
