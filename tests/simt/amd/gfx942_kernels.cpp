// The kernels of the catalogue for gfx942.
#include "mfma_table.hpp"

using namespace tilefit;

namespace {

const auto table = tilefit_simt::mfma_table<arch_id::gfx942, dtype::bf16, dtype::fp16>();

}  // namespace

std::span<const tilefit_simt::matmul_kernel> tilefit_simt::gfx942_kernels() { return table; }
