// L4: how kernels are enqueued through the HIP runtime.
// Knows: grids, streams, the runtime's limits. Must not know: what any kernel computes.
// The same functions for CUDA: ../cuda/launch_control.cuh. Kernels do not overlap here.
#pragma once

#include <hip/hip_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "../../detail/config.hpp"
#include "../launch_options.hpp"

namespace tilefit::inline v0::device {

__device__ __forceinline__ void wait_for_previous_grid() noexcept {}
__device__ __forceinline__ void let_next_grid_start() noexcept {}

using stream_handle = hipStream_t;
inline constexpr std::string_view runtime_error_subject = "error of the HIP runtime";

/// Most blocks along x: HIP counts threads of a grid in 32 bits.
TILEFIT_ALWAYS_INLINE constexpr std::int64_t most_blocks(int threads) noexcept { return INT32_MAX / threads; }

struct launch_geometry {
  dim3 grid = dim3(1);
  dim3 block = dim3(1);
};

/// Enqueues kernel(arguments...). No allocation, no synchronisation, capturable. A refused launch is told by the answer
/// alone.
template <class... Parameters>
[[nodiscard]] hipError_t launch_kernel(void (*kernel)(Parameters...), const launch_geometry& geometry,
                                       hipStream_t stream, const gpu::launch_options&,
                                       std::type_identity_t<Parameters>... arguments) noexcept {
  void* parameters[] = {&arguments...};
  const hipError_t error =
      hipLaunchKernel(reinterpret_cast<const void*>(kernel), geometry.grid, geometry.block, parameters, 0, stream);
  if (error != hipSuccess) (void)hipGetLastError();
  return error;
}

[[nodiscard]] inline hipError_t enqueue_zeros(void* to, std::size_t bytes, hipStream_t stream) noexcept {
  return hipMemsetAsync(to, 0, bytes, stream);
}

}  // namespace tilefit::inline v0::device
