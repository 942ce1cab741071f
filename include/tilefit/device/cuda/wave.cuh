// L4: the lanes of a warp side by side.
// Knows: who a thread is, values of other lanes, where lanes meet. Must not know: what is computed.
// The same functions for AMD GPUs: ../hip/wave.cuh and ../hip/sync.cuh. All lanes of a warp call those that look at
// other lanes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../../detail/config.hpp"

namespace tilefit::inline v0::device {

inline constexpr int wave_lanes = 32;
using lane_mask = std::uint32_t;  ///< a bit to a lane

__device__ __forceinline__ unsigned thread_of_block() noexcept { return threadIdx.x; }
__device__ __forceinline__ unsigned threads_of_block() noexcept { return blockDim.x; }
__device__ __forceinline__ unsigned lane_of_wave() noexcept { return threadIdx.x % 32; }
__device__ __forceinline__ unsigned block_of_grid() noexcept { return blockIdx.x; }
__device__ __forceinline__ unsigned block_y_of_grid() noexcept { return blockIdx.y; }
__device__ __forceinline__ unsigned block_z_of_grid() noexcept { return blockIdx.z; }
__device__ __forceinline__ unsigned blocks_of_grid() noexcept { return gridDim.x; }

/// All threads of the block meet, and see what the others did to shared memory before.
__device__ __forceinline__ void meet_block() noexcept { __syncthreads(); }
/// The same for the lanes of a warp.
__device__ __forceinline__ void meet_wave() noexcept { __syncwarp(); }

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

/// Lanes whose values are the same as this one's in the lower `Bits` bits; values that differ must do so there.
template <int Bits>
__device__ __forceinline__ lane_mask lanes_alike(std::int32_t value) noexcept {
  static_assert(Bits > 0 && Bits <= 32);
  return __match_any_sync(0xFFFFFFFFu, value);
}
/// How many lanes of a mask there are, and how many below this one.
__device__ __forceinline__ int count_lanes(lane_mask lanes) noexcept { return __popc(lanes); }
__device__ __forceinline__ int count_lanes_below(lane_mask lanes) noexcept {
  return __popc(lanes & ((1u << lane_of_wave()) - 1u));
}

/// Over all lanes, in all of them. SM80 and later.
__device__ __forceinline__ std::uint32_t sum_of_lanes(std::uint32_t value) noexcept {
  return __reduce_add_sync(0xFFFFFFFFu, value);
}
__device__ __forceinline__ std::uint32_t largest_of_lanes(std::uint32_t value) noexcept {
  return __reduce_max_sync(0xFFFFFFFFu, value);
}
__device__ __forceinline__ std::uint32_t smallest_of_lanes(std::uint32_t value) noexcept {
  return __reduce_min_sync(0xFFFFFFFFu, value);
}

/// An array of shared memory of its own, known by its number.
template <std::size_t Bytes, int Number = 0, std::size_t Alignment = 1024>
__device__ __forceinline__ std::byte* shared_array() noexcept {
  __shared__ alignas(Alignment) std::byte bytes[Bytes];
  return bytes;
}
/// Adds to a number in shared memory that other threads add to as well. Orders nothing.
__device__ __forceinline__ void add_to_shared(std::int32_t* sum, std::int32_t value) noexcept { atomicAdd(sum, value); }

}  // namespace tilefit::inline v0::device
