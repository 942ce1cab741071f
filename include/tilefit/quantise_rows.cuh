// L6: rows in FP8, MXFP8 and MXFP4 on a CUDA device.
// Knows: grids, what a launch needs. Must not know: how rows are quantised (kernels/quantise_rows.cuh).
// The same for AMD GPUs: hip/quantise_rows.cuh; on the CPU: host/quantise_rows.hpp.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "device/cuda/launch_control.cuh"
#include "kernels/quantise_rows.cuh"
#include "launch_status.hpp"
#include "quantise_args.hpp"

namespace tilefit::inline v0::cuda {

/// Enqueues quantise_args on `stream`. Pointers are device pointers: X and scales aligned to their elements, Y to
/// nothing (rows of X at multiples of 16 bytes and of Y at multiples of 8 are the fast ones). One kernel; no
/// allocation, no synchronisation, capturable. empty: no rows or columns, nothing is enqueued; or why not, with the
/// reason.
[[nodiscard]] inline launch_status quantise_rows(const quantise_args& args, cudaStream_t stream,
                                                 const launch_options& options = {}) noexcept {
  if (const refusal reason = refuse_quantise(args)) return detail::answer(reason);
  const kernels::quantise_params params = kernels::quantise_params_of(args);
  if (const refusal reason = kernels::refuse_quantise_grid(params)) return detail::answer(reason);
  return detail::answer_of_runtime(launch_kernel(
      kernels::quantise_kernel_for(args),
      {.grid = dim3(static_cast<unsigned>(kernels::quantise_blocks(params))), .block = dim3(kernels::quantise_threads)},
      stream, options, params));
}

}  // namespace tilefit::inline v0::cuda
