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
using lane_mask = std::uint64_t;  ///< a bit to a lane

__device__ __forceinline__ unsigned thread_of_block() noexcept { return __builtin_amdgcn_workitem_id_x(); }
__device__ __forceinline__ unsigned threads_of_block() noexcept { return __builtin_amdgcn_workgroup_size_x(); }
__device__ __forceinline__ unsigned block_of_grid() noexcept { return __builtin_amdgcn_workgroup_id_x(); }
__device__ __forceinline__ unsigned block_y_of_grid() noexcept { return __builtin_amdgcn_workgroup_id_y(); }
__device__ __forceinline__ unsigned block_z_of_grid() noexcept { return __builtin_amdgcn_workgroup_id_z(); }
/// All blocks have the same number of threads.
__device__ __forceinline__ unsigned blocks_of_grid() noexcept {
  return __builtin_amdgcn_grid_size_x() / threads_of_block();
}
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

/// Lanes whose values are the same as this one's in the lower `Bits` bits; values that differ must do so there. A
/// v_cmp and three scalar or vector operations to a bit.
template <int Bits>
__device__ __forceinline__ lane_mask lanes_alike(std::int32_t value) noexcept {
  static_assert(Bits > 0 && Bits <= 32);
  lane_mask alike = ~lane_mask{0};
#pragma unroll
  for (int bit = 0; bit < Bits; ++bit) {
    const bool mine = (value >> bit & 1) != 0;
    const lane_mask set = __builtin_amdgcn_ballot_w64(mine);
    alike &= mine ? set : ~set;
  }
  return alike;
}
/// How many lanes of a mask there are, and how many below this one. v_bcnt_u32_b32; v_mbcnt.
__device__ __forceinline__ int count_lanes(lane_mask lanes) noexcept { return __builtin_popcountll(lanes); }
__device__ __forceinline__ int count_lanes_below(lane_mask lanes) noexcept {
  const std::uint32_t low = __builtin_amdgcn_mbcnt_lo(static_cast<std::uint32_t>(lanes), 0);
  return static_cast<int>(__builtin_amdgcn_mbcnt_hi(static_cast<std::uint32_t>(lanes >> 32), low));
}

/// The value of the lane that is `By` lanes lower in the same row of 16, as a ring. DPP: row_ror.
template <int By>
__device__ __forceinline__ std::uint32_t value_of_row(std::uint32_t value) noexcept {
  constexpr int row_ror = 0x120, all = 0xF;
  return static_cast<std::uint32_t>(
      __builtin_amdgcn_update_dpp(0, static_cast<int>(value), row_ror + By, all, all, true));
}

/// combine(a, b) over all lanes of a wave, in all of them: rows of 16 by DPP, the four rows as scalars.
template <class Combine>
__device__ __forceinline__ std::uint32_t combine_lanes(std::uint32_t value, Combine combine) noexcept {
  value = combine(value, value_of_row<8>(value));
  value = combine(value, value_of_row<4>(value));
  value = combine(value, value_of_row<2>(value));
  value = combine(value, value_of_row<1>(value));
  const auto row = [value](int lane) {
    return static_cast<std::uint32_t>(__builtin_amdgcn_readlane(static_cast<int>(value), lane));
  };
  return combine(combine(row(0), row(16)), combine(row(32), row(48)));
}
__device__ __forceinline__ std::uint32_t sum_of_lanes(std::uint32_t value) noexcept {
  return combine_lanes(value, [](std::uint32_t a, std::uint32_t b) { return a + b; });
}
__device__ __forceinline__ std::uint32_t largest_of_lanes(std::uint32_t value) noexcept {
  return combine_lanes(value, [](std::uint32_t a, std::uint32_t b) { return a < b ? b : a; });
}
__device__ __forceinline__ std::uint32_t smallest_of_lanes(std::uint32_t value) noexcept {
  return combine_lanes(value, [](std::uint32_t a, std::uint32_t b) { return a < b ? a : b; });
}

/// Sum over the 16 lanes of a DPP row, in all of them: v_add_f32 with row_ror 8, 4, 2, 1.
__device__ __forceinline__ float sum_of_16_lanes(float value) noexcept {
  const auto bits = [](float of) { return __builtin_bit_cast(std::uint32_t, of); };
  const auto number = [](std::uint32_t of) { return __builtin_bit_cast(float, of); };
  value += number(value_of_row<8>(bits(value)));
  value += number(value_of_row<4>(bits(value)));
  value += number(value_of_row<2>(bits(value)));
  value += number(value_of_row<1>(bits(value)));
  return value;
}

}  // namespace tilefit::inline v0::device
