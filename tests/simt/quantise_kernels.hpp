// The kernels that quantise rows, compiled to be run by the executor, in waves of 32 and of 64 lanes.
#pragma once

#include "tilefit/kernels/quantise_params.hpp"

namespace tilefit_simt {

using quantise_kernel = void (*)(tilefit::kernels::quantise_params);

quantise_kernel quantise_kernel_of(const tilefit::quantise_args& args);

}  // namespace tilefit_simt
