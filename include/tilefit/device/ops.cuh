// L4: the raw operations that kernels are written with, for the compiler that reads us.
// Knows: which folder has them: cuda/ for nvcc, hip/ for clang's HIP, simt/ for a compiler that knows no GPU (kernels
// then run on the CPU, lane by lane: simt/executor.hpp).
// Must not know: what the operations do.
#pragma once

#include "cuda/lanes.hpp"
#include "hip/lanes.hpp"

#if defined(__CUDACC__)
#include "cuda/barrier.cuh"
#include "cuda/compiler.cuh"
#include "cuda/copy.cuh"
#include "cuda/launch_control.cuh"
#include "cuda/mma.cuh"
#include "cuda/wave.cuh"
#elif defined(__HIP__)
#include "hip/launch_control.cuh"
#include "hip/memory.cuh"
#include "hip/mfma.cuh"
#include "hip/numbers.cuh"
#include "hip/sync.cuh"
#include "hip/target.cuh"
#include "hip/types.cuh"
#include "hip/wave.cuh"
#else
#include "simt/amd_ops.hpp"
#include "simt/cuda_ops.hpp"
#include "simt/language.hpp"
#include "simt/launch_control.hpp"
#endif
