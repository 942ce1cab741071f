// L5: brings the sums of a tile together that several blocks have shared along K.
// Knows: the workspace of a split launch (ogs_params: partials, arrivals). Must not know: how sums came about, or where
// they go.
#pragma once

#include <cstdint>

#include "../detail/config.hpp"
#include "../device/ops.cuh"
#include "ogs_params.hpp"
#include "schedule.hpp"

namespace tilefit::inline v0::kernels {

/// Warps of a block that bring their sums to the meeting as one; on AMD GPUs a single wave.
struct warp_team {
  int block = 0;    ///< of those that share tiles
  int index = 0;    ///< of the block's teams
  int thread = 0;   ///< of the team
  int barrier = 0;  ///< named barrier that is theirs; a wave needs none
};

/// Called by all threads of a team with their sums of a piece that has `blocks` > 1. True for the team that came last:
/// its `sum` is then the whole, added up in the order of K whoever came last. SlotFloats: sums of a block.
template <int SlotFloats, int Teams, int TeamThreads, int Atoms, int Blocks>
__device__ __forceinline__ bool meet(const ogs_params& params, const work_piece& piece, const warp_team& team,
                                     float (&sum)[Atoms][Blocks][4]) noexcept {
  const auto part = [&](int block, int slot) {
    return params.partials + (std::int64_t{2} * block + slot) * SlotFloats + team.index * (SlotFloats / Teams) +
           4 * team.thread;
  };
  // A block has at most one piece that starts in the middle of a tile (slot 0) and one that starts with it (slot 1).
  float* const mine = part(team.block, piece.first_step == 0 ? 1 : 0);
#pragma unroll
  for (int m = 0; m < Atoms; ++m)
#pragma unroll
    for (int j = 0; j < Blocks; ++j)
      *reinterpret_cast<float4*>(mine + (m * Blocks + j) * 4 * TeamThreads) =
          make_float4(sum[m][j][0], sum[m][j][1], sum[m][j][2], sum[m][j][3]);
  // One thread's release covers what the barrier made it see, and its acquire what others read behind the next one.
  device::meet_team<TeamThreads>(team.barrier);
  const auto others = static_cast<unsigned>(piece.blocks - 1);
  const bool last = team.thread == 0 &&
                    device::count_arrival(params.arrivals + Teams * piece.first_block + team.index, others) == others;
  if (!device::any_of_team<TeamThreads>(team.barrier, last)) return false;
  for (int b = 0; b < piece.blocks; ++b) {
    const float* const other = part(piece.first_block + b, b == 0 ? 1 : 0);
#pragma unroll
    for (int m = 0; m < Atoms; ++m)
#pragma unroll
      for (int j = 0; j < Blocks; ++j) {
        const float4 value =
            device::load_past_l1(reinterpret_cast<const float4*>(other + (m * Blocks + j) * 4 * TeamThreads));
        sum[m][j][0] = b == 0 ? value.x : sum[m][j][0] + value.x;
        sum[m][j][1] = b == 0 ? value.y : sum[m][j][1] + value.y;
        sum[m][j][2] = b == 0 ? value.z : sum[m][j][2] + value.z;
        sum[m][j][3] = b == 0 ? value.w : sum[m][j][3] + value.w;
      }
  }
  return true;
}

}  // namespace tilefit::inline v0::kernels
