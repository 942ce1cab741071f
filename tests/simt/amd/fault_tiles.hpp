// Kernels of the AMD catalogue whose tiles have a wrong map of lanes each.
#pragma once

#include <span>

#include "simt_kernels.hpp"

namespace tilefit_simt {

struct wrong_kernel {
  const char* mistake;
  matmul_kernel kernel;
};
std::span<const wrong_kernel> wrong_kernels();

}  // namespace tilefit_simt
