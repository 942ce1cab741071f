// The launch interface of matmul_ogs with the catalogue that the command line asks for: the device's, or the generic
// kernels in the shared memory of the smallest device that they serve.
// Knows: launch.cuh. Must not know: cases, timing.
#pragma once

#include <cstddef>
#include <span>

#include "tilefit/launch.cuh"

namespace tilefit_gpu::ogs {

using namespace tilefit;

/// Set once, before anything is launched.
inline bool generic = false;

inline std::span<const opt_flags> catalogue() {
  return generic ? tilefit::cuda::device_catalogue<tilefit::cuda::generic_kernels>()
                 : tilefit::cuda::device_catalogue<>();
}
inline selection choose(const matmul_args& args) {
  return generic ? tilefit::cuda::choose<tilefit::cuda::generic_kernels>(args) : tilefit::cuda::choose<>(args);
}
inline tilefit::cuda::launch_status can_launch(const matmul_args& args, const opt_flags& flags) {
  return generic ? tilefit::cuda::can_launch<tilefit::cuda::generic_kernels>(args, flags)
                 : tilefit::cuda::can_launch<>(args, flags);
}
inline std::size_t workspace_bytes(const matmul_args& args, const opt_flags& flags) {
  return generic ? tilefit::cuda::workspace_bytes<tilefit::cuda::generic_kernels>(args, flags)
                 : tilefit::cuda::workspace_bytes<>(args, flags);
}
inline tilefit::cuda::launch_status launch(const matmul_args& args, const opt_flags& flags, cudaStream_t stream) {
  return generic ? tilefit::cuda::launch<tilefit::cuda::generic_kernels>(args, flags, stream)
                 : tilefit::cuda::launch<>(args, flags, stream);
}

}  // namespace tilefit_gpu::ogs
