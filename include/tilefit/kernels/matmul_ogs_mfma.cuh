// L5: matmul_ogs for AMD's matrix cores and many rows: X through LDS, a block to a tile, four waves side by side along
// W. Knows: the two stages of X, the ring of packed weights, who waits for whom. Must not know: which tile is good,
// streams, how arguments are checked.
//
// X goes straight from memory into LDS, swizzled on its way by the lanes' addresses. W goes to registers: no two waves
// of a block need the same rows. X is one step ahead and W three units, and a step costs one barrier: behind
// it the stage to multiply is there for all waves, and the other one may be filled. What lies behind the end of K is
// asked for outside its buffer: it brings zeros and costs no traffic, and the number of loads under way is known while
// compiling. Two blocks share a CU, so that one multiplies while the other waits, starts or stores.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../detail/config.hpp"
#include "../detail/math.hpp"
#include "../device/ops.cuh"
#include "mfma_epilogue.cuh"
#include "mfma_operands.cuh"
#include "mfma_quantise.cuh"
#include "mfma_tile.hpp"
#include "mfma_work.cuh"
#include "ogs_params.hpp"

namespace tilefit::inline v0::kernels {

template <class Tile>
class many_rows_block {
  static_assert(!Tile::few_rows);
  using accumulators = device::mfma_accumulators<Tile::tile>;
  static constexpr int token_tiles = Tile::token_tiles;
  /// Units of W that are held: the one that is multiplied, and three on their way. Both steps of a round of the main
  /// loop use them in turn, without a copy from one to another, which would have to wait for what it copies.
  static constexpr int ring_units = 4;
  /// One step of X in LDS.
  struct stage {
    std::byte* values;
    std::byte* scales;
  };

 public:
  __device__ __forceinline__ many_rows_block(const ogs_params& params, const work_piece& piece) noexcept
      : params_(params),
        piece_(piece),
        lane_(device::lane_of_wave()),
        wave_(device::uniform(device::thread_of_block() / 64)),
        k_atoms_(k_atoms_of(params.args)),
        w_(weights_from<Tile>(params.args, piece.expert, first_atom())),
        x_(values_of_x<Tile>(params.args)),
        x_scales_(scales_of_x(params.args)) {}

  __device__ __forceinline__ void run(const stage& even, const stage& odd) noexcept {
    find_rows();
    begin_copy(even, 0);
#pragma unroll
    for (int u = 0; u < ring_units - 1; ++u) load(ring_[u], 0, u);
    accumulators sum[Tile::row_tiles][token_tiles] = {};
    end_copy(even);
    for (std::int32_t step = 0;;) {
      multiply_step<0>(even, odd, step, sum);
      if (++step == params_.steps) break;
      multiply_step<Tile::step_units>(odd, even, step, sum);
      if (++step == params_.steps) break;
    }
    store(sum);
  }

 private:
  /// First of this wave's four atoms of 16 rows; behind the last row of W those before it, which are not stored.
  __device__ __forceinline__ std::int32_t first_atom() const noexcept {
    const std::int32_t last_group = (params_.atoms - 1) / 4 * 4;
    return detail::min(piece_.first_atom + static_cast<std::int32_t>(4 * wave_), last_group);
  }

  __device__ __forceinline__ void find_rows() noexcept {
    std::int32_t source[Tile::x_copies];
#pragma unroll
    for (unsigned i = 0; i < Tile::x_copies; ++i)
      source[i] = source_of(params_.args, piece_, static_cast<std::int32_t>(Tile::x_copied_row(wave_, i, lane_)));
    std::int32_t scale_source[Tile::scale_parts];
    if constexpr (Tile::scaled_blocks) {
#pragma unroll
      for (int i = 0; i < Tile::scale_parts; ++i)
        scale_source[i] = source_of(params_.args, piece_, 64 * i + static_cast<std::int32_t>(lane_));
    }
#pragma unroll
    for (unsigned i = 0; i < Tile::x_copies; ++i)
      copied_byte_[i] = byte_of_row<Tile>(params_.args, source[i]) + 16 * copied_chunk(i);
    if constexpr (Tile::scaled_blocks) {
#pragma unroll
      for (int i = 0; i < Tile::scale_parts; ++i) scales_byte_[i] = scales_of_row(params_.args, scale_source[i]);
    }
  }

  /// Which 16 bytes of its row a lane copies: those that belong where LDS-direct loads put them.
  __device__ __forceinline__ unsigned copied_chunk(unsigned copy) const noexcept {
    return device::swizzled_place(Tile::x_copied_row(wave_, copy, lane_), lane_ % 16);
  }

  /// Asks for X of a step.
  __device__ __forceinline__ void begin_copy(const stage& to, std::int32_t step) noexcept {
    // Without the word that it is the same in all lanes, the compiler may count steps in a vector register and then go
    // through the lanes one by one.
    const std::uint32_t at = device::uniform(static_cast<std::uint32_t>(step) * Tile::x_row_bytes);
    const std::uint32_t first_block = device::uniform(static_cast<std::uint32_t>(step) * Tile::step_blocks);
    const auto k_bytes = static_cast<std::int32_t>(params_.args.k) * Tile::x_bits / 8;
    const std::int32_t left = k_bytes - step * Tile::x_row_bytes;
#pragma unroll
    for (unsigned i = 0; i < Tile::x_copies; ++i) {
      const bool inside = static_cast<std::int32_t>(16 * copied_chunk(i)) < left;
      const std::uint32_t from = inside ? copied_byte_[i] : device::buffer::outside;
      if constexpr (Tile::lds_direct)
        x_.load_chunk_to_lds(copied_rows(to, i), from, at);
      else
        copied_[i] = x_.load_chunk(from, at);
    }
    if constexpr (Tile::scaled_blocks) {
      const std::int32_t blocks_left = static_cast<std::int32_t>(params_.args.k / 32) - step * Tile::step_blocks;
#pragma unroll
      for (unsigned i = 0; i < Tile::scale_copies; ++i) {
        const unsigned block = Tile::scale_copied_block(wave_, i);
        const std::uint32_t row = scales_byte_[Tile::scale_copied_row(i) / 64];
        x_scales_.load_byte_to_lds(to.scales + 4 * Tile::scale_copied_word(wave_, i),
                                   static_cast<std::int32_t>(block) < blocks_left ? row : device::buffer::outside,
                                   first_block + block);
      }
    }
    device::keep_order();
  }

  /// Without LDS-direct loads X has come to registers, and goes on from there.
  __device__ __forceinline__ void end_copy(const stage& to) const noexcept {
    if constexpr (!Tile::lds_direct) {
#pragma unroll
      for (unsigned i = 0; i < Tile::x_copies; ++i) device::write_chunk(copied_rows(to, i) + 16 * lane_, copied_[i]);
    }
  }

  /// Four rows of a stage.
  __device__ __forceinline__ std::byte* copied_rows(const stage& to, unsigned copy) const noexcept {
    return to.values + 4 * Tile::x_row_bytes * (Tile::x_copies * wave_ + copy);
  }

  /// Asks for W of the unit number `ahead` after unit `from` (even). Behind the end of K it is the last W again: X is
  /// zero there.
  __device__ __forceinline__ void load(packed_weights<Tile>& to, std::int32_t from, int ahead) const noexcept {
    to.load(w_, lane_, detail::min(from / 2 + ahead / 2, k_atoms_ - 1), ahead % 2, 0);
  }

  /// Multiplies the step that lies in `now`, while the next one is on its way to `next`. `FirstUnit`: of the step, in a
  /// round of the main loop.
  template <unsigned FirstUnit>
  __device__ __forceinline__ void multiply_step(const stage& now, const stage& next, std::int32_t step,
                                                accumulators (&sum)[Tile::row_tiles][token_tiles]) noexcept {
    if constexpr (Tile::lds_direct)
      device::wait_loads<detail::min(Tile::step_units, ring_units - 1) * 2 * Tile::row_tiles>();
    device::meet_block();
    begin_copy(next, step + 1);
    // Chunk c of a row lies at place c ^ (row % 16): the parts of c that come from the unit, the lane and the chunk
    // have no bit in common, and rows of a tile differ by a multiple of 16 from each other.
    const unsigned row = lane_ % 32, group = lane_ / 32;
    const unsigned lane_byte =
        Tile::x_row_bytes * row + 16 * device::swizzled_place(row, Tile::x_chunk_byte(group, 0) / 16);
    const unsigned scale_byte = 4 * row + 4 * Tile::flags.block_m * group;
#pragma unroll
    for (unsigned u = 0; u < Tile::step_units; ++u) {
      const packed_weights<Tile>& w = ring_[(FirstUnit + u) % ring_units];
      load(ring_[(FirstUnit + u + ring_units - 1) % ring_units], step * Tile::step_units,
           static_cast<int>(u) + ring_units - 1);
      // Widening may begin early. A scale that is only moved to its place may not: it would be waited for.
      device::keep_loads_and_products<!Tile::scaled>();
      multiply_unit(
          w, lane_,
          [&](int t, int i) {
            const unsigned chunk_byte = u * Tile::x_unit_bytes + Tile::x_chunk_byte(0, static_cast<unsigned>(i));
            return device::read_chunk(now.values + (lane_byte ^ chunk_byte) + 32 * Tile::x_row_bytes * t);
          },
          [&](int t) {
            if constexpr (Tile::scaled_blocks)
              return device::read_word(now.scales + scale_byte + 8 * Tile::flags.block_m * u + 128 * t);
            else
              return device::neutral_scales;
          },
          sum);
    }
    end_copy(next);
  }

  __device__ __forceinline__ void store(const accumulators (&sum)[Tile::row_tiles][token_tiles]) const noexcept {
    token_target target[token_tiles];
#pragma unroll
    for (int t = 0; t < token_tiles; ++t)
      target[t] =
          target_in<Tile>(params_, piece_, 32 * t + static_cast<std::int32_t>(lane_ % 32), wave_ == 0 && lane_ < 32);
    const quad_store output(params_, piece_.expert);
    const std::int32_t first = 16 * piece_.first_atom + static_cast<std::int32_t>(64 * wave_ + 4 * (lane_ / 32));
    const auto sums_of = [&](int t, int quad) __attribute__((always_inline)) {
      const accumulators& from = sum[quad / 4][t];
      const int q = 4 * (quad % 4);
      return device::f32x4{from[q], from[q + 1], from[q + 2], from[q + 3]};
    };
    if (params_.store == store_kind::quantised) {
      const quantised_store<2> narrow(params_);
      return output.choose_activation([&]<activation Act>() __attribute__((always_inline)) {
        constexpr int quads = columns_of_block<Act> / 8;
#pragma unroll
        for (int block = 0; block < 8 / quads; ++block) {
          const std::int32_t n = first + columns_of_block<Act> * block;
          if (n - static_cast<std::int32_t>(4 * (lane_ / 32)) >= params_.args.n) continue;
          device::f32x4 bias[quads];
#pragma unroll
          for (int i = 0; i < quads; ++i) bias[i] = output.bias(n + 8 * i);
#pragma unroll
          for (int t = 0; t < token_tiles; ++t)
            narrow.template store<Act, quads>(
                target[t].row, n, [&](int i) __attribute__((always_inline)) {
                  return output.template finish<Act>(target[t], sums_of(t, quads * block + i), bias[i]);
                });
        }
      });
    }
    output.choose([&]<store_kind Kind, activation Act>() __attribute__((always_inline)) {
#pragma unroll
      for (int m = 0; m < Tile::row_tiles; ++m)
#pragma unroll
        for (int q = 0; q < 4; ++q) {
          const std::int32_t n = first + 32 * m + 8 * q;
          if (n >= params_.args.n) continue;
          const device::f32x4 bias = output.bias(n);
#pragma unroll
          for (int t = 0; t < token_tiles; ++t)
            output.template store<Kind, Act>(target[t], n, sums_of(t, 4 * m + q), bias);
        }
    });
  }

  const ogs_params& params_;
  const work_piece& piece_;
  unsigned lane_;
  std::uint32_t wave_;
  std::int32_t k_atoms_;
  device::buffer w_;
  device::buffer x_;
  device::buffer x_scales_;
  std::uint32_t copied_byte_[Tile::x_copies];
  std::uint32_t scales_byte_[Tile::scale_parts];
  packed_weights<Tile> ring_[ring_units];
  device::u32x4 copied_[Tile::lds_direct ? 1 : Tile::x_copies];  // X on its way to LDS
};

/// A block to a tile; the grid may be larger than there are tiles. The stages are arrays of their own, so that the
/// compiler knows which of them a load into LDS does not touch.
template <class Tile>
__global__ void __attribute__((amdgpu_flat_work_group_size(Tile::threads, Tile::threads),
                               amdgpu_waves_per_eu(Tile::waves_per_simd))) matmul_ogs_mfma(const ogs_params params) {
  if constexpr (device::compiles_for(Tile::arch)) {
    std::byte* const even_stage = device::shared_array<Tile::x_stage_bytes, 0, 1024>();
    std::byte* const odd_stage = device::shared_array<Tile::x_stage_bytes, 1, 1024>();
    std::byte* const even_scales = device::shared_array<Tile::scale_stage_bytes, 2, 16>();
    std::byte* const odd_scales = device::shared_array<Tile::scale_stage_bytes, 3, 16>();
    const block_work work = work_of_block<Tile>(params);
    if (work.piece.rows == 0) return;
    many_rows_block<Tile>(params, work.piece).run({even_stage, even_scales}, {odd_stage, odd_scales});
  }
}

}  // namespace tilefit::inline v0::kernels
