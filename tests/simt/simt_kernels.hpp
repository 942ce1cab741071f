// Kernels that are compiled to be run by the executor: with instrumentation, in files of their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tilefit/dtype.hpp"
#include "tilefit/kernels/ogs_params.hpp"
#include "tilefit/opt_flags.hpp"
#include "tilefit/weight_layout.hpp"

namespace tilefit_simt {

/// A matmul_ogs kernel of the catalogue and what its launch takes.
struct matmul_kernel {
  tilefit::opt_flags flags;
  tilefit::dtype x = tilefit::dtype::bf16;
  std::size_t smem_bytes = 0;
  std::size_t smem_bytes_of_blocks = 0;  ///< where Y has block scales
  int threads = 0;
  int teams = 1;  ///< of a block that meet those of others, each on its own
  tilefit::weight_layout layout = tilefit::weight_layout::mma_m16k64;
  void (*run)(tilefit::kernels::ogs_params) = nullptr;
};

/// Every tile of the generic path, for BF16 and FP16 X.
std::span<const matmul_kernel> generic_kernels();

/// Every tile of the AMD path for gfx950 (all formats of X) and for gfx942 (BF16 and FP16).
std::span<const matmul_kernel> gfx950_kernels();
std::span<const matmul_kernel> gfx942_kernels();

}  // namespace tilefit_simt
