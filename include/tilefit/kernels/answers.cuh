// L5: what a launch answers when the runtime of the GPU at hand has spoken.
// Knows: error numbers, and whose they are.
// Must not know: kernels, arguments.
#pragma once

#include "../detail/config.hpp"
#include "../device/ops.cuh"
#include "../launch_status.hpp"

namespace tilefit::inline v0::detail {

/// The answer for a cudaError_t or hipError_t; 0 is success. Inlined: a program may have code for both vendors.
TILEFIT_ALWAYS_INLINE constexpr gpu::launch_status answer_of_native(int native_error) noexcept {
  return answer_of_runtime(native_error, device::runtime_error_subject);
}

}  // namespace tilefit::inline v0::detail
