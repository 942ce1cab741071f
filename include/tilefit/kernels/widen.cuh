// L5: a lane's share of an mma_m16k64 atom, from FP4 to the 16-bit floats that matrix instructions take.
// Knows: the word and scale order of weight_layout::mma_m16k64, the bit moves of fp4_widening.hpp.
// Must not know: where atoms lie, which matrix instruction follows.
//
// W becomes a matrix of X's type: each weight is value * scale rounded to it, as a dequantised copy would hold it. BF16
// holds every weight but those that overflow it. FP16 loses bits below 2^-14 and overflows above 65,504.
#pragma once

#include <cstdint>

#include "../detail/bits.hpp"
#include "../detail/config.hpp"
#include "../device/ops.cuh"
#include "../dtype.hpp"
#include "../float_formats.hpp"
#include "../fp4_widening.hpp"
#include "../weight_layout.hpp"

namespace tilefit::inline v0::kernels {

/// Both halves of a word.
TILEFIT_HD constexpr std::uint32_t in_both_halves(std::uint32_t half) noexcept { return half << 16 | half; }

/// Pairs 0..3 of a lane's two K steps in its two words for 32 K (weight_layout.hpp, mma_pair_rotation): E2M1 codes
/// moved to where they are BF16 patterns of value * 2^-126. 16 operations for 16 codes.
TILEFIT_HD constexpr void bf16_pairs(std::uint32_t first, std::uint32_t second, std::uint32_t (&pair)[2][4]) noexcept {
  const std::uint32_t free = detail::select_bits(mma_free_mask, first, second << 2);
  const std::uint32_t word[2] = {first, second};
  for (int step = 0; step < 2; ++step)
    for (int p = 0; p < 4; ++p) {
      const int left = mma_pair_rotation(step, p);
      const std::uint32_t from = p < 3 ? word[step] : free;
      pair[step][p] = (left == 0 ? from : from << left | from >> (32 - left)) & mma_pair_mask;
    }
}

/// The same pair as FP16 patterns of value * 2^-14.
TILEFIT_HD constexpr std::uint32_t fp16_pair(std::uint32_t bf16_pair) noexcept {
  return (bf16_pair & 0x80008000u) | (bf16_pair << 3 & 0x0E000E00u);
}

/// Zero when each of the four scales of `codes` can be folded with the gain of the unscaled patterns into one 16-bit
/// factor: for BF16 those up to 2^0, for FP16 those from 2^-15 to 2^0. Joins with | for several words of scales.
template <dtype X>
TILEFIT_HD constexpr std::uint32_t fold_obstacle(std::uint32_t codes) noexcept {
  return X == dtype::bf16 ? codes & 0x80808080u : (codes ^ 0x70707070u) & 0xF0F0F0F0u;
}

template <dtype X>
TILEFIT_HD constexpr bool can_fold(std::uint32_t codes) noexcept {
  return fold_obstacle<X>(codes) == 0;
}

/// Factors of 32-block `block`: of the even row in the low half, of the odd one in the high half. Requires can_fold.
template <dtype X>
TILEFIT_HD constexpr std::uint32_t folded_factors(std::uint32_t codes, int block) noexcept {
  std::uint32_t two = codes >> (8 * block) & 0x00FF00FFu;
#if defined(__CUDA_ARCH__)
  if (!__builtin_is_constant_evaluated()) two = __byte_perm(codes, 0, block == 0 ? 0x4240u : 0x4341u);
#endif
  if (X == dtype::bf16) return two * (1u << 7) + in_both_halves(126u << 7);
  return (two - in_both_halves(127 - 14 - 15)) * (1u << 10);
}

/// value * scale of a pair without folding: exact products rounded once, for every scale.
template <dtype X>
__device__ __forceinline__ std::uint32_t scaled_pair(std::uint32_t unscaled, std::uint32_t code) noexcept {
  if constexpr (X == dtype::bf16) {
    const std::uint32_t values = device::multiply_pairs<X>(unscaled, in_both_halves(e2m1_bf16_gain));
    return device::multiply_pairs<X>(values, in_both_halves(e8m0_to_bf16(static_cast<std::uint8_t>(code))));
  } else {
    const std::uint32_t values = device::multiply_pairs<X>(unscaled, in_both_halves(e2m1_fp16_gain));
    const float scale = __uint_as_float(code == 0 ? 0x00400000u : code == e8m0_nan ? 0x7FC00000u : code << 23);
    return device::pack_pair<X>(device::low_of_pair<X>(values) * scale, device::low_of_pair<X>(values >> 16) * scale);
  }
}

/// A fragments (lanes.hpp, mma_a_place) of the two K steps of 32-block `block` of an atom, from the lane's two words
/// and its scales: byte 2 r + b of `codes` is of row r of the lane's two, block b of 32 K. Requires can_fold.
template <dtype X>
__device__ __forceinline__ void widen_folded(std::uint32_t first, std::uint32_t second, int block, std::uint32_t codes,
                                             std::uint32_t (&a)[2][4]) noexcept {
  const std::uint32_t factors = folded_factors<X>(codes, block);
  const std::uint32_t factor[2] = {device::low_twice(factors), device::high_twice(factors)};
  bf16_pairs(first, second, a);
#pragma unroll
  for (int step = 0; step < 2; ++step)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (X == dtype::fp16) a[step][i] = fp16_pair(a[step][i]);
      a[step][i] = device::multiply_pairs<X>(a[step][i], factor[i % 2]);
    }
}

/// The same for every scale.
template <dtype X>
__device__ __forceinline__ void widen_exactly(std::uint32_t first, std::uint32_t second, int block, std::uint32_t codes,
                                              std::uint32_t (&a)[2][4]) noexcept {
  const std::uint32_t code[2] = {codes >> (8 * block) & 0xFFu, codes >> (8 * block + 16) & 0xFFu};
  bf16_pairs(first, second, a);
#pragma unroll
  for (int step = 0; step < 2; ++step)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (X == dtype::fp16) a[step][i] = fp16_pair(a[step][i]);
      a[step][i] = scaled_pair<X>(a[step][i], code[i % 2]);
    }
}

}  // namespace tilefit::inline v0::kernels
