// L4: how a kernel overlaps with its neighbours on a stream: on AMD GPUs not at all.
// Knows: names that kernels for all GPUs call. Must not know: what any kernel computes.
// The same functions for CUDA: ../cuda/launch_control.cuh.
#pragma once

#include <hip/hip_runtime.h>

namespace tilefit::inline v0::device {

__device__ __forceinline__ void wait_for_previous_grid() noexcept {}
__device__ __forceinline__ void let_next_grid_start() noexcept {}

}  // namespace tilefit::inline v0::device
