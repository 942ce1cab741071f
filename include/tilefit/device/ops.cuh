// L4: the raw operations that kernels are written with, for the compiler that reads us.
// Knows: which folder has them: cuda/ for nvcc, simt/ for a compiler that knows no GPU (kernels then run on the CPU,
// lane by lane: simt/executor.hpp).
// Must not know: what the operations do.
#pragma once

#if defined(__CUDACC__)
#include "cuda/barrier.cuh"
#include "cuda/compiler.cuh"
#include "cuda/copy.cuh"
#include "cuda/lanes.hpp"
#include "cuda/launch_control.cuh"
#include "cuda/mma.cuh"
#else
#include "cuda/lanes.hpp"
#include "simt/amd_ops.hpp"
#include "simt/cuda_ops.hpp"
#include "simt/language.hpp"
#endif
