// L4: how a kernel and its launch overlap with their neighbours on a stream.
// Knows: programmatic dependent launch (PTX ISA, "Parallel Synchronization and Communication Instructions:
// griddepcontrol"; CUDA C++ Programming Guide, "Programmatic Dependent Launch and Synchronization").
// Must not know: what any kernel computes.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "../../detail/config.hpp"
#include "../launch_options.hpp"

namespace tilefit::inline v0::device {

/// Returns when the grids that this one depends on have ended and their writes are visible. A kernel calls it in every
/// block, before it reads what a predecessor may have written and before it writes what a predecessor may still read:
/// then a chain of overlapped kernels keeps the order of the stream. At once in a launch without overlap, and below
/// compute capability 9.0.
/// Loads through `__ldg` or `const __restrict__` may be moved up past it by the compiler: kernels that overlap use
/// neither.
__device__ inline void wait_for_previous_grid() noexcept {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// Lets a dependent grid start as soon as every block of this one has called it or ended. Safe at any place, the first
/// line included, because the dependent grid waits for the end of this one before it touches memory; it only takes up
/// room on the chip early. Nothing below compute capability 9.0.
__device__ inline void let_next_grid_start() noexcept {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace tilefit::inline v0::device

namespace tilefit::inline v0::cuda {

using gpu::launch_options;

struct launch_geometry {
  dim3 grid = {1, 1, 1};
  dim3 block = {1, 1, 1};
  std::size_t dynamic_smem_bytes = 0;
};

/// True when the current device can overlap kernels.
[[nodiscard]] inline bool device_can_overlap() noexcept {
  int device = 0, major = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess && major >= 9;
}

/// Enqueues kernel(arguments...). No allocation, no synchronisation, capturable.
template <class... Parameters>
[[nodiscard]] inline cudaError_t launch_kernel(void (*kernel)(Parameters...), const launch_geometry& geometry,
                                               cudaStream_t stream, const launch_options& options,
                                               const std::type_identity_t<Parameters>&... arguments) noexcept {
  cudaLaunchAttribute overlap = {};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = geometry.grid;
  config.blockDim = geometry.block;
  config.dynamicSmemBytes = geometry.dynamic_smem_bytes;
  config.stream = stream;
  config.attrs = &overlap;
  config.numAttrs = options.overlap && device_can_overlap() ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

}  // namespace tilefit::inline v0::cuda

namespace tilefit::inline v0::device {

// What launches that are written once for all GPUs call. The same for AMD's: ../hip/launch_control.cuh.
using stream_handle = cudaStream_t;
using cuda::launch_geometry;
using cuda::launch_kernel;
inline constexpr std::string_view runtime_error_subject = "error of the CUDA runtime";

/// Most blocks along x (CUDA C++ Programming Guide, "Compute Capabilities").
TILEFIT_ALWAYS_INLINE constexpr std::int64_t most_blocks(int) noexcept { return INT32_MAX; }

[[nodiscard]] inline cudaError_t enqueue_zeros(void* to, std::size_t bytes, cudaStream_t stream) noexcept {
  return cudaMemsetAsync(to, 0, bytes, stream);
}

}  // namespace tilefit::inline v0::device
