// L5: matmul_ogs for AMD's matrix cores and few rows: the waves of a block share K, a block to a tile or to a piece of
// its K.
// Knows: the ring of pieces under way, the meeting of sums in LDS and, where blocks share a tile, in the workspace.
// Must not know: which tile is good, streams, how arguments are checked.
//
// Every wave has all columns of the tile and every fourth 128 of K; W and X go from memory to registers, num_stages
// pieces ahead, and no wave waits for another until the end. W is read once, in whole runs of 64 bytes and more. A
// piece that lies behind the end of K is asked for outside its buffer: it brings zeros, costs no traffic, and the
// number of loads under way stays one that the compiler can count.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../detail/config.hpp"
#include "../device/ops.cuh"
#include "mfma_epilogue.cuh"
#include "mfma_operands.cuh"
#include "mfma_quantise.cuh"
#include "mfma_tile.hpp"
#include "mfma_work.cuh"
#include "ogs_params.hpp"
#include "split_sums.cuh"

namespace tilefit::inline v0::kernels {

template <class Tile>
class few_rows_block {
  static_assert(Tile::few_rows);
  using accumulators = device::mfma_accumulators<Tile::tile>;

  struct slot {
    packed_weights<Tile> w;
    token_chunks<Tile> x[Tile::token_tiles];
  };

 public:
  __device__ __forceinline__ few_rows_block(const ogs_params& params, const block_work& work,
                                            std::byte* partial_sums) noexcept
      : params_(params),
        piece_(work.piece),
        number_(work.number),
        partial_sums_(partial_sums),
        lane_(device::lane_of_wave()),
        wave_(device::uniform(device::thread_of_block() / 64)),
        end_(detail::min(static_cast<std::int32_t>(params.args.k),
                         (piece_.first_step + piece_.steps) * Tile::flags.block_k)),
        next_(piece_.first_step * waves + static_cast<std::int32_t>(wave_)),
        w_(weights_from<Tile>(params.args, piece_.expert, piece_.first_atom)),
        x_(values_of_x<Tile>(params.args)),
        x_scales_(scales_of_x(params.args)) {}

  __device__ __forceinline__ void run() noexcept {
    accumulators sum[Tile::row_tiles][Tile::token_tiles] = {};
    multiply(sum);
    share(sum);
    store();
  }

 private:
  static constexpr int waves = Tile::waves;

  __device__ __forceinline__ void multiply(accumulators (&sum)[Tile::row_tiles][Tile::token_tiles]) noexcept {
    std::int32_t source[Tile::token_tiles];
#pragma unroll
    for (int t = 0; t < Tile::token_tiles; ++t)
      source[t] = source_of(params_.args, piece_, 16 * t + static_cast<std::int32_t>(lane_ % 16));
    slot ring[Tile::stages];
    device::keep_order();
#pragma unroll
    for (int s = 0; s < Tile::stages; ++s) load_weights(ring[s], next_ + waves * s);
    device::keep_order();
#pragma unroll
    for (int t = 0; t < Tile::token_tiles; ++t) {
      row_byte_[t] = byte_of_row<Tile>(params_.args, source[t]);
      if constexpr (has_block_scales(Tile::x)) row_scales_[t] = scales_of_row(params_.args, source[t]);
    }
#pragma unroll
    for (int s = 0; s < Tile::stages; ++s) {
      load_tokens(ring[s], next_ + waves * s);
      device::keep_order();
    }

    next_ += waves * Tile::stages;
    const std::int32_t rounds = (piece_.steps + Tile::stages - 1) / Tile::stages;
    if (rounds > 1) {
      // This round stands for itself: its loads were asked for in another order, and the compiler would make every
      // round of the loop wait for the worse of both.
      multiply_round<true>(ring, sum);
#pragma unroll 1
      for (std::int32_t round = 2; round < rounds; ++round) multiply_round<true>(ring, sum);
    }
    multiply_round<false>(ring, sum);
  }

  /// Multiplies the pieces of the ring, and asks for new ones in their place when it is not the last time.
  template <bool More>
  __device__ __forceinline__ void multiply_round(slot (&ring)[Tile::stages],
                                                 accumulators (&sum)[Tile::row_tiles][Tile::token_tiles]) noexcept {
#pragma unroll
    for (int s = 0; s < Tile::stages; ++s) {
      multiply_unit(
          ring[s].w, lane_, [&](int t, int i) { return ring[s].x[t].chunks[i]; },
          [&](int t) { return ring[s].x[t].scale; }, sum);
      if constexpr (More) {
        // So that new words come to where the old ones were: a product that slid behind the loads would need them
        // elsewhere, and the copy back would wait for all of them in every round.
#pragma unroll
        for (int m = 0; m < Tile::row_tiles; ++m)
#pragma unroll
          for (int t = 0; t < Tile::token_tiles; ++t) device::keep_products_before(sum[m][t]);
        device::keep_order();
        load_weights(ring[s], next_);
        load_tokens(ring[s], next_);
        next_ += waves;
        device::keep_order();
      }
    }
  }

  __device__ __forceinline__ void load_weights(slot& to, std::int32_t atom) const noexcept {
    const std::uint32_t shift = atom * Tile::unit_k < end_ ? 0 : device::buffer::outside;
    to.w.load(w_, lane_, atom, 0, shift);
  }

  __device__ __forceinline__ void load_tokens(slot& to, std::int32_t atom) const noexcept {
    const std::int32_t left = end_ - atom * Tile::unit_k;
    const unsigned group = lane_ / 16;
#pragma unroll
    for (int t = 0; t < Tile::token_tiles; ++t) {
#pragma unroll
      for (unsigned i = 0; i < Tile::x_chunks; ++i) {
        const bool inside = static_cast<std::int32_t>(Tile::x_chunk_k(group, i)) < left;
        to.x[t].chunks[i] = x_.load_chunk(
            inside ? row_byte_[t] + Tile::x_chunk_byte(group, 0) : device::buffer::outside,
            device::uniform(static_cast<std::uint32_t>(atom) * Tile::x_unit_bytes), Tile::x_chunk_byte(0, i));
      }
      if constexpr (has_block_scales(Tile::x)) {
        const bool inside = static_cast<std::int32_t>(32 * group) < left;
        to.x[t].scale = x_scales_.load_byte(inside ? row_scales_[t] + group : device::buffer::outside,
                                            device::uniform(static_cast<std::uint32_t>(atom) * (Tile::unit_k / 32)));
      } else {
        to.x[t].scale = device::neutral_scales;
      }
    }
  }

  /// Place of a lane's four sums of a part (a row tile's sums of a token tile) that wave `wave` has.
  __device__ __forceinline__ std::byte* part(unsigned wave, unsigned index) const noexcept {
    return partial_sums_ + 1024 * (wave * (Tile::row_tiles * Tile::token_tiles) + index) + 16 * lane_;
  }

  __device__ __forceinline__ void share(const accumulators (&sum)[Tile::row_tiles][Tile::token_tiles]) const noexcept {
#pragma unroll
    for (int m = 0; m < Tile::row_tiles; ++m)
#pragma unroll
      for (int t = 0; t < Tile::token_tiles; ++t)
        device::write_chunk(part(wave_, static_cast<unsigned>(m * Tile::token_tiles + t)),
                            device::bits_as<device::u32x4>(sum[m][t]));
    device::meet_block();
  }

  /// Part `index`, added up in the order of waves.
  __device__ __forceinline__ device::f32x4 sum_of(unsigned index) const noexcept {
    device::f32x4 sum = device::bits_as<device::f32x4>(device::read_chunk(part(0, index)));
#pragma unroll
    for (unsigned w = 1; w < waves; ++w) sum += device::bits_as<device::f32x4>(device::read_chunk(part(w, index)));
    return sum;
  }

  /// Every wave stores each fourth part, or each fourth block of 32 columns of Y for 16 tokens. Where blocks share the
  /// tile, the one that comes last with a part stores it, added up in the order of K.
  __device__ __forceinline__ void store() const noexcept {
    const quad_store output(params_, piece_.expert);
    if (params_.store == store_kind::quantised)
      return output.choose_activation([&]<activation Act>()
                                          __attribute__((always_inline)) { store_quantised<Act>(output); });
    for (unsigned index = wave_; index < Tile::row_tiles * Tile::token_tiles; index += waves) {
      const auto first = static_cast<std::int32_t>(16 * (index / Tile::token_tiles));
      const auto token = static_cast<std::int32_t>(16 * (index % Tile::token_tiles) + lane_ % 16);
      const std::int32_t n = 16 * piece_.first_atom + first + static_cast<std::int32_t>(4 * (lane_ / 16));
      device::f32x4 sum = sum_of(index);
      if constexpr (Tile::can_split)
        if (piece_.blocks > 1 && !meet_others(index, sum)) continue;
      const token_target target = target_in<Tile>(params_, piece_, token, first == 0 && lane_ < 16);
      if (n >= params_.args.n) continue;
      const device::f32x4 bias = output.bias(n);
      output.choose([&]<store_kind Kind, activation Act>()
                        __attribute__((always_inline)) { output.template store<Kind, Act>(target, n, sum, bias); });
    }
  }

  __device__ __forceinline__ bool meet_others(unsigned index, device::f32x4& sum) const noexcept {
    float four[1][1][4] = {{{sum[0], sum[1], sum[2], sum[3]}}};
    const bool last = meet<Tile::flags.block_m * Tile::flags.block_n, Tile::row_tiles * Tile::token_tiles, 64>(
        params_, piece_, {.block = number_, .index = static_cast<int>(index), .thread = static_cast<int>(lane_)}, four);
    sum = {four[0][0][0], four[0][0][1], four[0][0][2], four[0][0][3]};
    return last;
  }

  template <activation Act>
  __device__ __forceinline__ void store_quantised(const quad_store& output) const noexcept {
    constexpr int quads = detail::min(columns_of_block<Act> / 16, Tile::row_tiles);
    const quantised_store<4> narrow(params_);
    for (unsigned index = wave_; index < Tile::row_tiles / quads * Tile::token_tiles; index += waves) {
      const unsigned block = index / Tile::token_tiles, tile = index % Tile::token_tiles;
      const auto token = static_cast<std::int32_t>(16 * tile + lane_ % 16);
      const std::int32_t first = 16 * (piece_.first_atom + static_cast<std::int32_t>(quads * block));
      const token_target target = target_in<Tile>(params_, piece_, token, block == 0 && lane_ < 16);
      if (first >= params_.args.n) continue;
      const std::int32_t n = first + static_cast<std::int32_t>(4 * (lane_ / 16));
      narrow.template store<Act, quads>(
          target.row, n, [&](int i) __attribute__((always_inline)) {
            const unsigned part_index = (quads * block + static_cast<unsigned>(i)) * Tile::token_tiles + tile;
            return output.template finish<Act>(target, sum_of(part_index), output.bias(n + 16 * i));
          });
    }
  }

  const ogs_params& params_;
  const work_piece& piece_;
  std::int32_t number_;
  std::byte* partial_sums_;
  unsigned lane_;
  std::uint32_t wave_;
  std::int32_t end_;   // of the piece, in K
  std::int32_t next_;  // atom of 128 K to be loaded
  device::buffer w_;
  device::buffer x_;
  device::buffer x_scales_;
  std::uint32_t row_byte_[Tile::token_tiles];
  std::uint32_t row_scales_[Tile::token_tiles];
};

/// A block to a tile; the grid may be larger than there are tiles.
template <class Tile>
__global__ void __attribute__((amdgpu_flat_work_group_size(Tile::threads, Tile::threads),
                               amdgpu_waves_per_eu(Tile::waves_per_simd)))
matmul_ogs_mfma_few(const ogs_params params) {
  if constexpr (device::compiles_for(Tile::arch)) {
    std::byte* const partial_sums = device::shared_array<Tile::plan.total_bytes(), 0, 128>();
    const block_work work = work_of_block<Tile>(params);
    if (work.piece.rows == 0) return;
    few_rows_block<Tile>(params, work, partial_sums).run();
  }
}

}  // namespace tilefit::inline v0::kernels
