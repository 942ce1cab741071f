// L5: one unit of K for a wave of the AMD kernels: W as it comes from memory, made ready, multiplied.
// Knows: which instructions a format of X takes.
// Must not know: where X comes from, steps, pieces of work.
#pragma once

#include <cstdint>

#include "../device/hip/lanes.hpp"
#include "../device/ops.cuh"
#include "../dtype.hpp"
#include "mfma_tile.hpp"

namespace tilefit::inline v0::kernels {

/// A lane's packed weights of a unit: 32 K of a row in each row tile.
template <class Tile>
struct packed_weights {
  device::u32x4 codes[Tile::row_tiles];
  std::uint32_t scale_words[Tile::row_tiles];  ///< of four lanes: a byte on its way would be extended as soon as it is
                                               ///< there, and so waited for too early

  /// Unit `unit` of the 128 K number `atom`. `shift`: 0, or what brings an offset outside.
  __device__ __forceinline__ void load(const device::buffer& w, unsigned lane, std::int32_t atom, int unit,
                                       std::uint32_t shift) noexcept {
    const std::uint32_t at = device::uniform(static_cast<std::uint32_t>(atom) * Tile::group_step_bytes);
#pragma unroll
    for (int m = 0; m < Tile::row_tiles; ++m) {
      const int first = m * Tile::row_tile_bytes;
      codes[m] = w.load_chunk(Tile::w_values_byte(lane) + shift, at,
                              static_cast<std::uint32_t>(first + unit * Tile::unit_values_bytes));
      scale_words[m] = w.load_word((Tile::w_scale_byte(lane) & ~3u) + shift, at,
                                   static_cast<std::uint32_t>(first + unit * Tile::unit_scales_bytes));
    }
  }

  /// E8M0 scale of a row tile, in byte 0; behind it zeros where W is widened.
  __device__ __forceinline__ std::uint32_t scale(int m, unsigned lane) const noexcept {
    if constexpr (Tile::scaled)
      return scale_words[m] >> (lane % 4 * 8);
    else
      return device::bit_field(scale_words[m], lane % 4 * 8, 8);
  }
};

/// A lane's X of a unit for one token tile: chunks as Tile::x_chunk_byte has them, and the block scale in byte 0.
template <class Tile>
struct token_chunks {
  device::u32x4 chunks[Tile::x_chunks];
  std::uint32_t scale;
};

/// sum[row tile][token tile] += W * X for chunk `Chunk` of the unit's chunks (16-bit X: 8 K of every lane group) or for
/// the whole unit (8- and 4-bit X). `x(t, i)`: chunk i of token tile t. `scale_of_x(t)`.
template <class Tile, class Chunk, class Scale>
__device__ __forceinline__ void multiply_unit(
    const packed_weights<Tile>& w, unsigned lane, const Chunk& x, const Scale& scale_of_x,
    device::mfma_accumulators<Tile::tile> (&sum)[Tile::row_tiles][Tile::token_tiles]) noexcept {
  if constexpr (!Tile::scaled) {
#pragma unroll
    for (int i = 0; i < Tile::x_chunks; ++i) {
      device::u32x4 wide[Tile::row_tiles];
#pragma unroll
      for (int m = 0; m < Tile::row_tiles; ++m) wide[m] = device::fp4_widener<Tile::x>(w.scale(m, lane))(w.codes[m][i]);
#pragma unroll
      for (int t = 0; t < Tile::token_tiles; ++t) {
        const device::u32x4 right = x(t, i);
#pragma unroll
        for (int m = 0; m < Tile::row_tiles; ++m)
          device::multiply_16bit<Tile::tile, Tile::x>(sum[m][t], wide[m], right);
      }
    }
  } else {
#pragma unroll
    for (int t = 0; t < Tile::token_tiles; ++t) {
      const device::u32x4 low = x(t, 0);
      device::u32x4 high = {};
      if constexpr (Tile::x_chunks == 2) high = x(t, 1);
      const device::u32x8 right = device::joined(low, high);
      const std::uint32_t scale = scale_of_x(t);
#pragma unroll
      for (int m = 0; m < Tile::row_tiles; ++m)
        device::multiply_scaled<Tile::tile, Tile::x_bits, 0, 0>(sum[m][t], w.codes[m], w.scale(m, lane), right, scale);
    }
  }
}

}  // namespace tilefit::inline v0::kernels
