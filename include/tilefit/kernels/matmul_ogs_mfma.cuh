// L5: matmul_ogs for AMD's matrix cores and many rows: X through LDS, a block to a tile, four waves side by side along
// W. Knows: the two stages of X, the ring of packed weights, who waits for whom. Must not know: which tile is good,
// streams, how arguments are checked.
//
// X goes straight from memory into LDS, swizzled on its way by the lanes' addresses. W goes to registers: no two waves
// of a block need the same rows. Both are one step ahead (W at most `ring` units), and a step costs one barrier: behind
// it the stage to multiply is there for all waves, and the other one may be filled. What lies behind the end of K is
// asked for outside its buffer: it brings zeros and costs no traffic, and the number of loads under way is known while
// compiling. Two blocks share a CU, so that one multiplies while the other waits, starts or stores.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../detail/config.hpp"
#include "../detail/math.hpp"
#include "../device/hip/memory.cuh"
#include "../device/hip/mfma.cuh"
#include "../device/hip/sync.cuh"
#include "../device/hip/wave.cuh"
#include "mfma_epilogue.cuh"
#include "mfma_operands.cuh"
#include "mfma_tile.hpp"
#include "mfma_work.cuh"
#include "ogs_params.hpp"

namespace tilefit::inline v0::kernels {

template <class Tile>
class many_rows_block {
  static_assert(!Tile::few_rows);
  using accumulators = device::mfma_accumulators<Tile::tile>;
  static constexpr int token_tiles = Tile::token_tiles;
  static constexpr int ring_units = detail::min(Tile::step_units, 4);
  static constexpr bool block_scales = has_block_scales(Tile::x);

  struct slot {
    packed_weights<Tile> w;
    std::uint32_t x_scale[token_tiles];
  };
  static constexpr int slot_loads = 2 * Tile::row_tiles + (block_scales ? token_tiles : 0);

 public:
  __device__ __forceinline__ many_rows_block(const ogs_params& params, const work_piece& piece) noexcept
      : params_(params),
        piece_(piece),
        lane_(device::lane_of_wave()),
        wave_(device::uniform(device::thread_of_block() / 64)),
        units_((static_cast<std::int32_t>(params.args.k) + Tile::unit_k - 1) / Tile::unit_k),
        w_(weights_from<Tile>(params.args, piece.expert, first_atom())),
        x_(values_of_x<Tile>(params.args)),
        x_scales_(scales_of_x(params.args)) {}

  __device__ __forceinline__ void run(std::byte* even_stage, std::byte* odd_stage) noexcept {
    find_rows();
    begin_copy(even_stage, 0);
#pragma unroll
    for (int u = 0; u < ring_units; ++u) load(ring_[u], 0, u);
    accumulators sum[Tile::row_tiles][token_tiles] = {};
    end_copy(even_stage);
    for (std::int32_t step = 0;;) {
      multiply_step(even_stage, odd_stage, step, sum);
      if (++step == params_.steps) break;
      multiply_step(odd_stage, even_stage, step, sum);
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
    std::int32_t token_source[token_tiles];
    if constexpr (block_scales) {
#pragma unroll
      for (int t = 0; t < token_tiles; ++t)
        token_source[t] = source_of(params_.args, piece_, 32 * t + static_cast<std::int32_t>(lane_ % 32));
    }
#pragma unroll
    for (unsigned i = 0; i < Tile::x_copies; ++i)
      copied_byte_[i] = byte_of_row<Tile>(params_.args, source[i]) + 16 * copied_chunk(i);
    if constexpr (block_scales) {
#pragma unroll
      for (int t = 0; t < token_tiles; ++t) scales_byte_[t] = scales_of_row(params_.args, token_source[t]) + lane_ / 32;
    }
  }

  /// Which 16 bytes of its row a lane copies: those that belong where LDS-direct loads put them.
  __device__ __forceinline__ unsigned copied_chunk(unsigned copy) const noexcept {
    return device::swizzled_place(Tile::x_copied_row(wave_, copy, lane_), lane_ % 16);
  }

  /// Asks for X of a step.
  __device__ __forceinline__ void begin_copy(std::byte* stage, std::int32_t step) noexcept {
    const auto k_bytes = static_cast<std::int32_t>(params_.args.k) * Tile::x_bits / 8;
    const std::int32_t left = k_bytes - step * Tile::x_row_bytes;
#pragma unroll
    for (unsigned i = 0; i < Tile::x_copies; ++i) {
      const bool inside = static_cast<std::int32_t>(16 * copied_chunk(i)) < left;
      const std::uint32_t from = inside ? copied_byte_[i] : device::buffer::outside;
      const auto at = static_cast<std::uint32_t>(step) * Tile::x_row_bytes;
      if constexpr (Tile::lds_direct)
        x_.load_chunk_to_lds(copied_rows(stage, i), from, at);
      else
        copied_[i] = x_.load_chunk(from, at);
    }
    device::keep_order();
  }

  /// Without LDS-direct loads X has come to registers, and goes on from there.
  __device__ __forceinline__ void end_copy(std::byte* stage) const noexcept {
    if constexpr (!Tile::lds_direct) {
#pragma unroll
      for (unsigned i = 0; i < Tile::x_copies; ++i) device::write_chunk(copied_rows(stage, i) + 16 * lane_, copied_[i]);
    }
  }

  /// Four rows of a stage.
  __device__ __forceinline__ std::byte* copied_rows(std::byte* stage, unsigned copy) const noexcept {
    return stage + 4 * Tile::x_row_bytes * (Tile::x_copies * wave_ + copy);
  }

  /// Asks for W, and the scales of X, of the unit number `ahead` after unit `from` (even).
  __device__ __forceinline__ void load(slot& to, std::int32_t from, int ahead) const noexcept {
    const std::int32_t unit = from + ahead;
    const std::uint32_t shift = unit < units_ ? 0 : device::buffer::outside;
    to.w.load(w_, lane_, from / 2 + ahead / 2, ahead % 2, shift);
    if constexpr (block_scales) {
      const std::int32_t blocks_left = static_cast<std::int32_t>(params_.args.k / 32) - 2 * unit;
      const bool inside = static_cast<std::int32_t>(lane_ / 32) < blocks_left;
#pragma unroll
      for (int t = 0; t < token_tiles; ++t)
        to.x_scale[t] = x_scales_.load_byte(inside ? scales_byte_[t] : device::buffer::outside,
                                            static_cast<std::uint32_t>(2 * unit));
    } else {
#pragma unroll
      for (int t = 0; t < token_tiles; ++t) to.x_scale[t] = device::neutral_scales;
    }
  }

  /// Multiplies the step that lies in `stage`, while the next one is on its way to `other`.
  __device__ __forceinline__ void multiply_step(const std::byte* stage, std::byte* other, std::int32_t step,
                                                accumulators (&sum)[Tile::row_tiles][token_tiles]) noexcept {
    if constexpr (Tile::lds_direct) device::wait_loads<ring_units * slot_loads>();
    device::meet_block();
    begin_copy(other, step + 1);
    // Chunk c of a row lies at place c ^ (row % 16): the parts of c that come from the unit, the lane and the chunk
    // have no bit in common, and rows of a tile differ by a multiple of 16 from each other.
    const unsigned row = lane_ % 32, group = lane_ / 32;
    const unsigned lane_byte =
        Tile::x_row_bytes * row + 16 * device::swizzled_place(row, Tile::x_chunk_byte(group, 0) / 16);
#pragma unroll
    for (unsigned u = 0; u < Tile::step_units; ++u) {
      slot& now = ring_[u % ring_units];
      slot later;
      load(later, step * Tile::step_units, static_cast<int>(u) + ring_units);
      device::keep_loads_and_products();
      multiply_unit(
          now.w,
          [&](int t, int i) {
            const unsigned chunk_byte = u * Tile::x_unit_bytes + Tile::x_chunk_byte(0, static_cast<unsigned>(i));
            return device::read_chunk(stage + (lane_byte ^ chunk_byte) + 32 * Tile::x_row_bytes * t);
          },
          [&](int t) { return now.x_scale[t]; }, sum);
      now = later;
    }
    end_copy(other);
  }

  __device__ __forceinline__ void store(const accumulators (&sum)[Tile::row_tiles][token_tiles]) const noexcept {
    row_target target[token_tiles];
#pragma unroll
    for (int t = 0; t < token_tiles; ++t)
      target[t] = target_in(params_, piece_, 32 * t + static_cast<std::int32_t>(lane_ % 32), wave_ == 0 && lane_ < 32);
    const quad_store output(params_, piece_.expert, whole_scale_of_x<Tile>(params_.args));
    const std::int32_t first = 16 * piece_.first_atom + static_cast<std::int32_t>(64 * wave_ + 4 * (lane_ / 32));
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
            output.template store<Kind, Act>(
                target[t], n,
                device::f32x4{sum[m][t][4 * q], sum[m][t][4 * q + 1], sum[m][t][4 * q + 2], sum[m][t][4 * q + 3]},
                bias);
        }
    });
  }

  const ogs_params& params_;
  const work_piece& piece_;
  unsigned lane_;
  std::uint32_t wave_;
  std::int32_t units_;
  device::buffer w_;
  device::buffer x_;
  device::buffer x_scales_;
  std::uint32_t copied_byte_[Tile::x_copies];
  std::uint32_t scales_byte_[token_tiles];
  slot ring_[ring_units];
  device::u32x4 copied_[Tile::lds_direct ? 1 : Tile::x_copies];  // X on its way to LDS
};

/// A block to a tile; the grid may be larger than there are tiles. The stages are arrays of their own, so that the
/// compiler knows which of them a load into LDS does not touch.
template <class Tile>
__global__ void __attribute__((amdgpu_flat_work_group_size(Tile::threads, Tile::threads),
                               amdgpu_waves_per_eu(Tile::waves_per_simd))) matmul_ogs_mfma(const ogs_params params) {
  __shared__ alignas(1024) std::byte even_stage[Tile::x_stage_bytes];
  __shared__ alignas(1024) std::byte odd_stage[Tile::x_stage_bytes];
  const work_piece piece = work_of_block<Tile>(params);
  if (piece.rows == 0) return;
  many_rows_block<Tile>(params, piece).run(even_stage, odd_stage);
}

}  // namespace tilefit::inline v0::kernels
