// L4: the lanes of a wave side by side.
// Knows: who a thread is, values that all lanes share, values of other lanes. Must not know: what is computed.
// The same functions for CUDA: ../cuda/wave.cuh.
#pragma once

#include <hip/hip_runtime.h>

#include <cstdint>

#include "../../detail/config.hpp"
#include "lanes.hpp"

namespace tilefit::inline v0::device {

inline constexpr int wave_lanes = mfma_wave_lanes;

__device__ __forceinline__ unsigned thread_of_block() noexcept { return __builtin_amdgcn_workitem_id_x(); }
__device__ __forceinline__ unsigned block_of_grid() noexcept { return __builtin_amdgcn_workgroup_id_x(); }
__device__ __forceinline__ unsigned lane_of_wave() noexcept { return thread_of_block() % wave_lanes; }

/// The first active lane's value, in a scalar register. v_readfirstlane_b32.
__device__ __forceinline__ std::int32_t uniform(std::int32_t value) noexcept {
  return __builtin_amdgcn_readfirstlane(value);
}
__device__ __forceinline__ std::uint32_t uniform(std::uint32_t value) noexcept {
  return static_cast<std::uint32_t>(__builtin_amdgcn_readfirstlane(static_cast<std::int32_t>(value)));
}

/// First lane for which `mine` is true; it is for one at least. v_cmp, s_ff1.
__device__ __forceinline__ int first_lane_with(bool mine) noexcept {
  return __builtin_ctzll(__builtin_amdgcn_ballot_w64(mine));
}

/// The value of lane `lane`, which is the same number in all lanes. v_readlane_b32.
__device__ __forceinline__ std::int32_t value_of_lane(std::int32_t value, int lane) noexcept {
  return __builtin_amdgcn_readlane(value, lane);
}

/// The value of lane (this one - distance); for the first lanes some value. ds_bpermute_b32.
__device__ __forceinline__ std::int32_t value_from_below(std::int32_t value, int distance) noexcept {
  return __builtin_amdgcn_ds_bpermute(4 * (static_cast<int>(lane_of_wave()) - distance), value);
}

/// The value of lane (this one ^ Mask). ds_swizzle_b32; across the halves of a wave ds_bpermute_b32.
template <int Mask>
__device__ __forceinline__ std::int32_t value_of_neighbour(std::int32_t value) noexcept {
  static_assert(Mask > 0 && Mask < wave_lanes);
  if constexpr (Mask < 32)
    return __builtin_amdgcn_ds_swizzle(value, Mask << 10 | 0x1F);
  else
    return __builtin_amdgcn_ds_bpermute(4 * static_cast<int>(lane_of_wave() ^ Mask), value);
}

/// Sum over the 16 lanes of a DPP row, in all of them: v_add_f32 with row_ror 8, 4, 2, 1.
__device__ __forceinline__ float sum_of_16_lanes(float value) noexcept {
  constexpr int row_ror = 0x120, all = 0xF;
  const auto bits = [](float of) { return __builtin_bit_cast(int, of); };
  const auto number = [](int of) { return __builtin_bit_cast(float, of); };
  value += number(__builtin_amdgcn_update_dpp(0, bits(value), row_ror + 8, all, all, true));
  value += number(__builtin_amdgcn_update_dpp(0, bits(value), row_ror + 4, all, all, true));
  value += number(__builtin_amdgcn_update_dpp(0, bits(value), row_ror + 2, all, all, true));
  value += number(__builtin_amdgcn_update_dpp(0, bits(value), row_ror + 1, all, all, true));
  return value;
}

}  // namespace tilefit::inline v0::device
