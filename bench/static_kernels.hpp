// The kernels that a code object should have, as the static report needs them: tiles, plans, bytes under way.
// Knows: catalogues, kernels' geometry, how a kernel's mangled name tells its tile.
// Must not know: instructions, tools.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <tilefit/arch.hpp>
#include <tilefit/dtype.hpp>
#include <tilefit/opt_flags.hpp>

namespace tilefit::inline v0::bench {

struct planned_kernel {
  arch_id arch{};
  dtype x = dtype::bf16;
  opt_flags flags;
  int index = 0;  ///< in the architecture's catalogue for X
  bool few_rows = false;
  int smem_bytes = 0;
  /// AMD, few rows: bytes of packed W that the blocks of a CU have asked for (kernels::mfma_tile::bytes_in_flight), and
  /// bytes of packed W of a wave for each 2 * block_m * block_n * 128 flops of its matrix instructions. Otherwise 0.
  int bytes_in_flight = 0;
  int w_bytes_of_128_k = 0;

  std::string tile_text() const;  ///< "64 x 256 x 128"
};

/// Kernels of gfx950 and gfx942, or the generic ones of an NVIDIA architecture.
std::vector<planned_kernel> planned_kernels(const arch_traits& arch);

/// True when `mangled` is the name of that kernel.
bool is_kernel(const planned_kernel& kernel, std::string_view mangled);

}  // namespace tilefit::inline v0::bench
