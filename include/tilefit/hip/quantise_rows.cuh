// L6: rows in FP8, MXFP8 and MXFP4 on an AMD GPU.
// Knows: grids, what a launch needs. Must not know: how rows are quantised (kernels/quantise_rows.cuh).
// The same for CUDA: ../quantise_rows.cuh; on the CPU: ../host/quantise_rows.hpp.
#pragma once

#include <hip/hip_runtime.h>

#include <cstdint>

#include "../kernels/quantise_rows.cuh"
#include "../launch_status.hpp"
#include "../quantise_args.hpp"
#include "launch.cuh"

namespace tilefit::inline v0::hip {

/// Enqueues quantise_args on `stream`. Pointers are device pointers: X and scales aligned to their elements, Y to
/// nothing (rows of X at multiples of 16 bytes and of Y at multiples of 8 are the fast ones). One kernel; no
/// allocation, no synchronisation, capturable. empty: no rows or columns, nothing is enqueued; or why not, with the
/// reason.
[[nodiscard]] inline launch_status quantise_rows(const quantise_args& args, hipStream_t stream) noexcept {
  if (const refusal reason = refuse_quantise(args)) return detail::answer(reason);
  const kernels::quantise_params params = kernels::quantise_params_of(args);
  if (const refusal reason = kernels::refuse_quantise_grid(params)) return detail::answer(reason);
  return detail::enqueue_hip(reinterpret_cast<const void*>(kernels::quantise_kernel_for(args)),
                             kernels::quantise_blocks(params), kernels::quantise_threads, params, stream);
}

}  // namespace tilefit::inline v0::hip
