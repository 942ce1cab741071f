// L5: a warp's part of one K atom with mma.sync.
// Knows: where X rows (128-byte swizzle) and W atoms (mma_m16k64) lie in shared memory.
// Must not know: how they got there, what becomes of the sums.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../detail/config.hpp"
#include "../device/cuda/lanes.hpp"
#include "../device/ops.cuh"
#include "../dtype.hpp"
#include "widen.cuh"

namespace tilefit::inline v0::kernels {

/// A lane's words and scales of one atom in shared memory.
struct lane_words {
  uint4 words;
  std::uint32_t codes;

  /// `values` and `scales`: this lane's in the atom.
  __device__ __forceinline__ void load(const std::byte* values, const std::byte* scales) noexcept {
    words = *reinterpret_cast<const uint4*>(values);
    codes = *reinterpret_cast<const std::uint32_t*>(scales);
  }
};

/// Where a lane reads in an atom, and in 64 K of X rows that lie with the 128-byte swizzle.
struct lane_offsets {
  std::int32_t values = static_cast<std::int32_t>(16 * (threadIdx.x % 32));
  std::int32_t scales = static_cast<std::int32_t>(512 + threadIdx.x % 32 / 4 * 4);
  std::uint32_t x[2];  ///< ldmatrix address of K 0..31 and 32..63 of tokens 0..7
  std::uint32_t x16;   ///< ldmatrix address of K 0..15 of tokens 0..15; those of 16 and 32 K further on: flip bit 5, 6

  __device__ __forceinline__ lane_offsets() noexcept {
    const unsigned lane = threadIdx.x % 32;
    for (unsigned half = 0; half < 2; ++half) x[half] = device::swizzled_chunk(lane % 8, 4 * half + lane / 8);
    x16 = device::swizzled_chunk(lane / 16 * 8 + lane % 8, lane / 8 % 2);
  }
};

/// A fragments of 32-block `half` of an atom.
template <dtype X, bool Folded>
__device__ __forceinline__ void widen(const lane_words& w, int half, std::uint32_t (&a)[2][4]) noexcept {
  const std::uint32_t first = half == 0 ? w.words.x : w.words.z;
  const std::uint32_t second = half == 0 ? w.words.y : w.words.w;
  if constexpr (Folded)
    widen_folded<X>(first, second, half, w.codes, a);
  else
    widen_exactly<X>(first, second, half, w.codes, a);
}

/// sum[m] += W atom m [16 rows, 64 k] * X [8 * Blocks tokens, 64 k]^T, as mma_c_place lays it out. `x`: shared address
/// of the first token's 128 bytes of this K atom, a multiple of 1,024. All lanes of a warp call.
/// Folded requires can_fold of all of them.
template <dtype X, bool Folded, int Atoms, int Blocks>
__device__ __forceinline__ void multiply_atoms(const lane_words (&w)[Atoms], std::uint32_t x, const lane_offsets& lane,
                                               float (&sum)[Atoms][Blocks][4]) noexcept {
  if constexpr (Blocks % 2 == 0 && Atoms * Blocks >= 32) {
    // The sums leave few registers: X of 16 K at a time, a load for two blocks of tokens.
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      std::uint32_t b[Blocks / 2][4];
      const std::uint32_t from = (x + lane.x16) ^ static_cast<unsigned>(32 * step);
#pragma unroll
      for (int j = 0; j < Blocks / 2; ++j) device::load_matrices(from + static_cast<unsigned>(2048 * j), b[j]);
#pragma unroll
      for (int m = 0; m < Atoms; ++m) {
        std::uint32_t a[2][4];
        widen<X, Folded>(w[m], step / 2, a);
#pragma unroll
        for (int j = 0; j < Blocks; ++j)
          device::mma_m16n8k16<X>(sum[m][j], a[step % 2], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
      }
    }
  } else {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      std::uint32_t b[Blocks][4];
#pragma unroll
      for (int j = 0; j < Blocks; ++j) device::load_matrices(x + lane.x[half] + static_cast<unsigned>(1024 * j), b[j]);
#pragma unroll
      for (int m = 0; m < Atoms; ++m) {
        std::uint32_t a[2][4];
        widen<X, Folded>(w[m], half, a);
#pragma unroll
        for (int step = 0; step < 2; ++step)
#pragma unroll
          for (int j = 0; j < Blocks; ++j)
            device::mma_m16n8k16<X>(sum[m][j], a[step], b[j][2 * step], b[j][2 * step + 1]);
      }
    }
  }
}

}  // namespace tilefit::inline v0::kernels
