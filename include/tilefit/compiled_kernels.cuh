// L6: the kernels of matmul_ogs that a program has, for the device at hand.
// Knows: catalogues of tiles, which kernel a tile is, what code there is for a device and what is missing.
// Must not know: arguments, workspaces, streams.
#pragma once

#include <cuda_runtime.h>

#include <atomic>
#include <cstdint>
#include <span>
#include <string_view>

#include "arch.hpp"
#include "arch_table.hpp"
#include "detail/math.hpp"
#include "dispatch.hpp"
#include "dtype.hpp"
#include "kernels/generic_tile.hpp"
#include "kernels/hopper_tile.cuh"
#include "kernels/matmul_ogs_hopper.cuh"
#include "kernels/matmul_ogs_mma.cuh"
#include "kernels/ogs_params.hpp"
#include "matmul_problem.hpp"
#include "ogs_policy.hpp"
#include "opt_flags.hpp"
#include "runtime.cuh"
#include "smem_plan.hpp"
#include "tuned.hpp"

namespace tilefit::inline v0::cuda {

/// The kernels that a program compiles: every tile, bf16 and fp16 X. A program that wants fewer passes a type of its
/// own with these members to `launch` and its companions; `choose` then chooses among them. Code for sm_90a has the
/// Hopper tiles, all other code the generic ones; those with fewer rows come first. Optional member `tuned`, a span of
/// tuned_row: measured choices that win over predicted ones (tuned.hpp).
struct full_catalogue {
  static constexpr std::span<const opt_flags> hopper_tiles = ogs_policy::hopper_tiles;
  static constexpr std::span<const opt_flags> generic_tiles = ogs_policy::generic_tiles;
  static constexpr bool bf16 = true;
  static constexpr bool fp16 = true;
};

/// The generic tiles alone, for sm_90a too. Optional member `within`: no more of an SM is used than this architecture
/// has, so that a larger device shows how a smaller one's tiles work.
struct generic_kernels {
  static constexpr std::span<const opt_flags> hopper_tiles = {};
  static constexpr std::span<const opt_flags> generic_tiles = ogs_policy::generic_tiles;
  static constexpr bool bf16 = true;
  static constexpr bool fp16 = true;
  static constexpr arch_id within = arch_id::sm_120;
};

}  // namespace tilefit::inline v0::cuda

namespace tilefit::inline v0::detail {

/// Entries of a catalogue as types: g++ 12 crashes on flags as a dependent template argument.
template <class Catalogue, int Index, dtype X>
struct hopper_entry {
  static constexpr opt_flags flags = Catalogue::hopper_tiles[Index];
  static constexpr dtype x = X;
};
template <class Catalogue, int Index, dtype X>
struct generic_entry {
  static constexpr opt_flags flags = Catalogue::generic_tiles[Index];
  static constexpr dtype x = X;
  /// Code for sm_90a has its own kernels, unless the catalogue leaves them out.
  static constexpr bool on_hopper = Catalogue::hopper_tiles.empty();
};

/// A kernel that was found for flags, and what launching it takes.
struct compiled_kernel {
  using function = void (*)(kernels::ogs_params);
  function run = nullptr;
  int smem_bytes = 0;
  int threads = 0;
  int blocks_per_sm = 1;
  int groups = 2;  ///< that count arrivals each for themselves
};

template <class Tile>
constexpr compiled_kernel describe(compiled_kernel::function run, dtype y) noexcept {
  return {.run = run,
          .smem_bytes = static_cast<int>((has_block_scales(y) ? Tile::plan_of_blocks : Tile::plan).total_bytes()),
          .threads = Tile::threads,
          .blocks_per_sm = Tile::blocks_per_sm,
          .groups = Tile::groups};
}

/// Tiles of a catalogue that run on an architecture, as `arch_for` gives it.
template <class Catalogue>
constexpr std::span<const opt_flags> tiles_for(const arch_traits& arch) noexcept {
  if (arch.features.has(feature::wgmma)) return Catalogue::hopper_tiles;
  return arch.features.has(feature::mma_sync) ? Catalogue::generic_tiles : std::span<const opt_flags>{};
}

template <class Catalogue, dtype X>
compiled_kernel kernel_of(const arch_traits& arch, int index, dtype y) noexcept {
  compiled_kernel kernel;
  if (arch.features.has(feature::wgmma))
    with_index<static_cast<int>(Catalogue::hopper_tiles.size())>(index, [&]<int Index>() {
      using tile = kernels::hopper_tile<hopper_entry<Catalogue, Index, X>>;
      kernel = describe<tile>(kernels::matmul_ogs_hopper<tile>, y);
    });
  else
    with_index<static_cast<int>(Catalogue::generic_tiles.size())>(index, [&]<int Index>() {
      using tile = kernels::generic_tile<generic_entry<Catalogue, Index, X>>;
      kernel = describe<tile>(kernels::matmul_ogs_mma<tile>, y);
    });
  const int fitting = blocks_per_sm(arch, kernel.smem_bytes, kernel.threads);
  kernel.blocks_per_sm = max(min(fitting, kernel.blocks_per_sm), 1);
  return kernel;
}

/// False when the program's code for this device is known to lack sm_90a's instructions: it was compiled for sm_90.
inline bool has_hopper_code(int device) noexcept {
  constexpr int most_devices = 64;
  static std::atomic<std::int8_t> kept[most_devices];  // 0 = unknown, 1 = it is there, 2 = it is not
  const bool keeps = device >= 0 && device < most_devices;
  if (keeps)
    if (const std::int8_t known = kept[device].load(std::memory_order_relaxed); known != 0) return known == 1;
  cudaFuncAttributes facts = {};
  if (cudaFuncGetAttributes(&facts, kernels::tells_hopper_code<>) != cudaSuccess) {
    (void)cudaGetLastError();  // the launch will say what is wrong
    return true;
  }
  const bool there = facts.sharedSizeBytes < kernels::without_hopper_bytes;
  if (keeps) kept[device].store(there ? 1 : 2, std::memory_order_relaxed);
  return there;
}

/// What the kernels of a catalogue take a device for.
template <class Catalogue>
arch_traits arch_for(const cuda::device_facts& device) noexcept {
  arch_traits arch = device.arch;
  if (arch.features.has(feature::wgmma) && (Catalogue::hopper_tiles.empty() || !has_hopper_code(device.device)))
    arch.features.bits &= ~static_cast<std::uint32_t>(feature::wgmma);
  if constexpr (requires { Catalogue::within; }) {
    constexpr arch_traits most = traits_of(Catalogue::within);
    arch.smem_block_bytes = min(arch.smem_block_bytes, most.smem_block_bytes);
    arch.smem_sm_bytes = min(arch.smem_sm_bytes, most.smem_sm_bytes);
    arch.threads_per_sm = min(arch.threads_per_sm, most.threads_per_sm);
    arch.blocks_per_sm = min(arch.blocks_per_sm, most.blocks_per_sm);
  }
  return arch;
}

/// ogs_policy with the tiles that are compiled.
template <class Catalogue>
struct compiled_tiles : ogs_policy {
  /// Those that run on an architecture.
  constexpr std::span<const opt_flags> candidates(const arch_traits& arch,
                                                  const matmul_problem& problem) const noexcept {
    return storing(tiles_for<Catalogue>(arch), problem.formats.y);
  }
};

/// The same, with the measured choices that a catalogue may bring along.
template <class Catalogue>
constexpr auto policy_of_catalogue() noexcept {
  if constexpr (requires { Catalogue::tuned; })
    return tuned_policy<compiled_tiles<Catalogue>>{{}, Catalogue::tuned};
  else
    return compiled_tiles<Catalogue>{};
}

/// What to compile with, so that a program has code for a device.
constexpr std::string_view missing_code(const arch_traits& arch) noexcept {
  switch (arch.compute_capability) {
    case 80: return "compile with -gencode arch=compute_80,code=sm_80";
    case 86: return "compile with -gencode arch=compute_86,code=sm_86";
    case 87: return "compile with -gencode arch=compute_87,code=sm_87";
    case 89: return "compile with -gencode arch=compute_89,code=sm_89";
    case 90: return "compile with -gencode arch=compute_90a,code=sm_90a";
    case 100: return "compile with -gencode arch=compute_100,code=sm_100";
    case 103: return "compile with -gencode arch=compute_103,code=sm_103";
    case 110: return "compile with -gencode arch=compute_110,code=sm_110";
    case 120: return "compile with -gencode arch=compute_120,code=sm_120";
    case 121: return "compile with -gencode arch=compute_121,code=sm_121";
    default: return "compile with -gencode arch=compute_80,code=compute_80, which the driver translates";
  }
}

}  // namespace tilefit::inline v0::detail
