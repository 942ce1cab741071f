// L5: one wave (warp) chooses the experts of one token.
// Knows: how `choose_experts` (routing.hpp) orders logits, and lanes. Must not know: blocks, where results go.
// Expert e belongs to lane e % wave_lanes. Logits are compared as unsigned keys, so the order does not depend on how
// the compiler treats NaN, signed zeros or subnormals.
#pragma once

#include <cstdint>

#include "../../detail/bits.hpp"
#include "../../device/ops.cuh"
#include "../../dtype.hpp"
#include "../../float_formats.hpp"
#include "../routing_args.hpp"

namespace tilefit::inline v0::detail {

inline constexpr std::uint32_t no_logit_key = 0;   ///< no expert here, or one that is chosen already
inline constexpr std::uint32_t nan_logit_key = 1;  ///< below every number; -infinity is 0x007F'FFFF

/// A key that orders like the logits: NaN below everything, -0 equal to +0.
TILEFIT_HD constexpr std::uint32_t key_of_logit(float logit) noexcept {
  if (magnitude(logit) > float_infinity) return nan_logit_key;
  const std::uint32_t bits = magnitude(logit) == 0 ? 0u : bits_of_float(logit);
  return (bits >> 31) != 0 ? ~bits : bits | 0x8000'0000u;
}

/// The logit of a key (-0 comes back as +0).
TILEFIT_HD constexpr float logit_of_key(std::uint32_t key) noexcept {
  if (key == nan_logit_key) return float_of_signed(float_quiet_nan);
  return float_of_bits((key >> 31) != 0 ? key ^ 0x8000'0000u : ~key);
}

/// Keys of the experts of this lane: keys[i] is expert lane + wave_lanes * i. PerLane * wave_lanes >= experts.
template <int PerLane>
__device__ inline void load_logit_keys(const gpu::router_logits& logits, std::int64_t token, int experts, int lane,
                                       std::uint32_t (&keys)[PerLane]) noexcept {
  constexpr int lanes = device::wave_lanes;
  const std::int64_t first = token * logits.row_stride + lane;
  const int left = experts - lane;
  const auto read = [&](auto load) {
    float values[PerLane];
#pragma unroll
    for (int i = 0; i < PerLane; ++i) values[i] = lanes * i < left ? load(first + lanes * i) : 0.0f;
#pragma unroll
    for (int i = 0; i < PerLane; ++i) keys[i] = lanes * i < left ? key_of_logit(values[i]) : no_logit_key;
  };
  switch (logits.type) {
    case dtype::bf16:
      read([&](std::int64_t at) { return bf16_to_float(static_cast<const std::uint16_t*>(logits.data)[at]); });
      break;
    case dtype::fp16:
      read([&](std::int64_t at) {
        return device::low_of_pair<dtype::fp16>(static_cast<const std::uint16_t*>(logits.data)[at]);
      });
      break;
    default: read([&](std::int64_t at) { return static_cast<const float*>(logits.data)[at]; });
  }
}

template <int Mask>
__device__ inline float value_of_neighbour(float value) noexcept {
  return float_of_signed(device::value_of_neighbour<Mask>(signed_bits(value)));
}

/// What lane j of a wave knows about choice j.
struct chosen_expert {
  int expert = 0;
  float weight = 0.0f;
};

/// Highest key of this lane; of equal ones that of the lowest expert.
struct lane_best {
  std::uint32_t key = no_logit_key;
  int expert = 0;
};
template <int PerLane>
__device__ inline lane_best best_of_lane(const std::uint32_t (&keys)[PerLane], int lane) noexcept {
  lane_best best{keys[0], lane};
#pragma unroll
  for (int i = 1; i < PerLane; ++i)
    if (keys[i] > best.key) best = {keys[i], lane + device::wave_lanes * i};
  return best;
}

/// Choice j, in the order of `choose_experts`, into lane j < topk, with its softmax weight in fp32. Every lane of the
/// wave takes part. Uses up the keys.
/// The weights are a function of the chosen logits alone: the same ones in every kernel, for every number of tokens.
/// Against arithmetic in double they are off by a few units of 2^-24 of the sum (device::exp: about 1 unit in the
/// last place; the sum: at most five additions deep).
template <int PerLane>
__device__ inline chosen_expert choose_by_wave(std::uint32_t (&keys)[PerLane], int topk, int lane) noexcept {
  chosen_expert mine;
  std::uint32_t my_key = nan_logit_key;
  lane_best best = best_of_lane(keys, lane);
  for (int j = 0; j < topk; ++j) {
    const std::uint32_t highest = device::largest_of_lanes(best.key);
    const auto candidate = static_cast<std::uint32_t>(best.key == highest ? best.expert : most_routed_experts);
    const auto expert = static_cast<int>(device::smallest_of_lanes(candidate));
    if (lane == j) {
      mine.expert = expert;
      my_key = highest;
    }
    if (best.expert == expert) {  // in the one lane that holds it
#pragma unroll
      for (int i = 0; i < PerLane; ++i)
        if (lane + device::wave_lanes * i == expert) keys[i] = no_logit_key;
      best = best_of_lane(keys, lane);
    }
  }

  const auto top_key = static_cast<std::uint32_t>(device::value_of_lane(static_cast<std::int32_t>(my_key), 0));
  const float top = logit_of_key(top_key);
  float part = 0.0f;  // NaN among numbers, and lanes without a choice
  if (lane < topk && my_key != nan_logit_key) part = my_key == top_key ? 1.0f : device::exp(logit_of_key(my_key) - top);
  // Choices are in the first 32 lanes, which is all that a larger wave adds up.
  float sum = part;
  sum += value_of_neighbour<16>(sum);
  sum += value_of_neighbour<8>(sum);
  sum += value_of_neighbour<4>(sum);
  sum += value_of_neighbour<2>(sum);
  sum += value_of_neighbour<1>(sum);
  mine.weight = top_key == nan_logit_key ? top : part / sum;
  return mine;
}

}  // namespace tilefit::inline v0::detail
