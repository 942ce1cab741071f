// The kernels of the catalogue for gfx950.
#include "mfma_table.hpp"

using namespace tilefit;

namespace {

const auto table =
    tilefit_simt::mfma_table<arch_id::gfx950, dtype::bf16, dtype::fp16, dtype::fp8_e4m3, dtype::mxfp8, dtype::mxfp4>();

}  // namespace

std::span<const tilefit_simt::matmul_kernel> tilefit_simt::gfx950_kernels() { return table; }
