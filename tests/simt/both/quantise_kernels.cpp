#include "quantise_kernels.hpp"

#include "tilefit/kernels/quantise_rows.cuh"

tilefit_simt::quantise_kernel tilefit_simt::quantise_kernel_of(const tilefit::quantise_args& args) {
  return tilefit::kernels::quantise_kernel_for(args);
}
