// L4: the lanes of a warp side by side.
// Knows: who a thread is, values of other lanes. Must not know: what is computed.
// The same functions for AMD GPUs: ../hip/wave.cuh.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../../detail/config.hpp"

namespace tilefit::inline v0::device {

inline constexpr int wave_lanes = 32;

__device__ __forceinline__ unsigned thread_of_block() noexcept { return threadIdx.x; }
__device__ __forceinline__ unsigned lane_of_wave() noexcept { return threadIdx.x % 32; }
__device__ __forceinline__ unsigned block_of_grid() noexcept { return blockIdx.x; }

/// All threads of the block meet, and see what the others did to shared memory before.
__device__ __forceinline__ void meet_block() noexcept { __syncthreads(); }

/// First lane for which `mine` is true; it is for one at least. All lanes of a warp call.
__device__ __forceinline__ int first_lane_with(bool mine) noexcept {
  return __ffs(static_cast<int>(__ballot_sync(0xFFFFFFFFu, mine))) - 1;
}

/// The value of lane `lane`, which is the same number in all lanes.
__device__ __forceinline__ std::int32_t value_of_lane(std::int32_t value, int lane) noexcept {
  return __shfl_sync(0xFFFFFFFFu, value, lane);
}

/// The value of lane (this one - distance); for the first lanes some value.
__device__ __forceinline__ std::int32_t value_from_below(std::int32_t value, int distance) noexcept {
  return __shfl_up_sync(0xFFFFFFFFu, value, static_cast<unsigned>(distance));
}

/// The value of lane (this one ^ Mask).
template <int Mask>
__device__ __forceinline__ std::int32_t value_of_neighbour(std::int32_t value) noexcept {
  static_assert(Mask > 0 && Mask < 32);
  return __shfl_xor_sync(0xFFFFFFFFu, value, Mask);
}

/// An array of shared memory of its own, known by its number.
template <std::size_t Bytes, int Number = 0, std::size_t Alignment = 1024>
__device__ __forceinline__ std::byte* shared_array() noexcept {
  __shared__ alignas(Alignment) std::byte bytes[Bytes];
  return bytes;
}

}  // namespace tilefit::inline v0::device
