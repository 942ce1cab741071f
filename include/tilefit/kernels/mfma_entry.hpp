// L5: the tiles of the AMD kernels as types, and which of them a program compiles.
// Knows: the catalogue of the policy, formats of X for each architecture.
// Must not know: kernels, launches.
#pragma once

#include <span>

#include "../arch.hpp"
#include "../arch_table.hpp"
#include "../dtype.hpp"
#include "../ogs_policy.hpp"
#include "../opt_flags.hpp"

namespace tilefit::inline v0::kernels {

/// A tile of the catalogue as a type. Its name in a code object tells what it is.
template <arch_id Arch, dtype X, int BlockM, int BlockN, int BlockK, int Stages>
struct mfma_entry {
  static constexpr arch_id arch = Arch;
  static constexpr dtype x = X;
  static constexpr opt_flags flags = detail::mfma_tile(BlockM, BlockN, BlockK, Stages, arch_v<Arch>.xcd_count);
};

/// Entry number Index of an architecture's tiles for X.
template <arch_id Arch, dtype X, int Index>
struct mfma_catalogue_entry {
  static constexpr opt_flags flags = ogs_policy::mfma_tiles(arch_v<Arch>, X)[Index];
  using type = mfma_entry<Arch, X, flags.block_m, flags.block_n, flags.block_k, flags.num_stages>;
  static_assert(type::flags == flags);
};

/// True for what there are kernels for: 8- and 4-bit X where matrix instructions take block scales.
constexpr bool has_mfma_kernels(arch_id arch, dtype x) noexcept {
  if (arch == arch_id::gfx950) return x != dtype::fp32;
  return arch == arch_id::gfx942 && (x == dtype::bf16 || x == dtype::fp16);
}

}  // namespace tilefit::inline v0::kernels
