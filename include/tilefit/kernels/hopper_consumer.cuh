// L5: the warps of the Hopper kernel that multiply.
// Knows: the stages, mma.sync and wgmma on widened W, how sums of a split tile meet.
// Must not know: where stages come from, which tile is good.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../detail/math.hpp"
#include "../device/cuda/barrier.cuh"
#include "../device/cuda/lanes.hpp"
#include "../device/cuda/wgmma.cuh"
#include "epilogue.cuh"
#include "hopper_tile.cuh"
#include "mma_step.cuh"
#include "ogs_params.hpp"
#include "schedule.hpp"
#include "split_sums.cuh"
#include "widen.cuh"

namespace tilefit::inline v0::kernels {

/// A warpgroup that multiplies.
template <class Tile>
class hopper_consumer {
  static constexpr int atoms = Tile::atoms;
  static constexpr int group_threads = 128;
  static constexpr int atom_bytes = atom_of(weight_layout::mma_m16k64).bytes;
  /// Widened operands of wgmma: two in turn where few warps must keep the tensor cores busy.
  static constexpr int buffers = Tile::groups == 2 ? 2 : 1;

 public:
  __device__ hopper_consumer(const ogs_params& params, const hopper_storage<Tile>& storage) noexcept
      : params_(params),
        storage_(storage),
        group_(static_cast<int>(threadIdx.x) / group_threads),
        thread_(static_cast<int>(threadIdx.x) % group_threads),
        k_atoms_(static_cast<int>((params.args.k + 63) / 64)) {
#pragma unroll
    for (int m = 0; m < atoms; ++m) {
      const int atom = static_cast<int>(threadIdx.x) / 32 * atoms + m;
      atom_[m] = atom / 4 * Tile::w_group_bytes + atom % 4 * atom_bytes;
    }
  }

  __device__ void run() noexcept {
    for (;;) {
      device::wait(storage_.full(place_.stage), place_.parity);
      const work_piece piece = *storage_.piece(place_.stage);
      if (piece.rows == 0) return;
      widths<Tile::width_step>(piece);
    }
  }

 private:
  static constexpr int group_barrier = 1;  // and the next

  /// Picks the narrowest width that holds the rows: quarters of block_m, as far as they are multiples of 8.
  template <int Width>
  __device__ void widths(const work_piece& piece) noexcept {
    if constexpr (Width >= Tile::flags.block_m) {
      multiply<Width>(piece);
    } else {
      if (piece.rows <= Width)
        multiply<Width>(piece);
      else
        widths<Width + Tile::width_step>(piece);
    }
  }

  __device__ void release(int stage) const noexcept {
    if (thread_ % 32 == 0) device::arrive(storage_.empty(stage));
  }

  __device__ void load(lane_words& words, int stage, int k_atom, int m) const noexcept {
    const std::byte* const atom = storage_.w(stage) + atom_[m] + k_atom * 4 * atom_bytes;
    words.load(atom + lane_.values, atom + lane_.scales);
  }

  template <int Width>
  __device__ void multiply(const work_piece& piece) noexcept {
    constexpr int blocks = Width / 8;
    row_target target;
    if (thread_ < piece.rows) target = target_of(params_.args, piece.first_row + thread_);
    // The atoms of a warp follow each other.
    const int first_n =
        piece.slab * Tile::flags.block_n + static_cast<int>(threadIdx.x) / 32 * atoms * weight_atom::rows;
    const lane_bias<atoms> bias(params_.args, piece.expert, first_n);

    float sum[atoms][blocks][4] = {};
    if constexpr (Tile::uses_wgmma)
      multiply_wgmma<Width>(piece, *reinterpret_cast<float(*)[atoms][blocks * 4]>(&sum));
    else
      multiply_mma<Width>(piece, sum);

    row_target* const targets = storage_.targets(group_, copy_);
    copy_ ^= 1;
    if (thread_ < Width) targets[thread_] = target;
    device::named_barrier(group_barrier + group_, group_threads);

    if constexpr (Tile::can_split)
      if (piece.blocks > 1 &&
          !meet<Tile::flags.block_m * Tile::flags.block_n, Tile::groups, group_threads>(
              params_, piece, {.index = group_, .thread = thread_, .barrier = group_barrier + group_}, sum))
        return;
    store_atoms(params_, first_n, bias, targets, sum);
    if (params_.present != nullptr && piece.slab == 0 && group_ == 0 && target.row >= 0)
      params_.present[target.row] = 1;
  }

  /// K atoms that are loaded and judged together.
  static constexpr int at_once = detail::min(Tile::k_atoms, Tile::flags.block_m < 32 ? 4 : 2);

  template <int Width>
  __device__ void multiply_mma(const work_piece& piece, float (&sum)[atoms][Width / 8][4]) noexcept {
    int left = k_atoms_ - piece.first_step * Tile::k_atoms;
    for (int step = 0; step < piece.steps; ++step, left -= Tile::k_atoms) {
      if (step > 0) device::wait(storage_.full(place_.stage), place_.parity);
      if (left >= Tile::k_atoms) {
#pragma unroll
        for (int k_atom = 0; k_atom < Tile::k_atoms; k_atom += at_once) multiply_stage<at_once>(k_atom, sum);
      } else {
        for (int k_atom = 0; k_atom < left; ++k_atom) multiply_stage<1>(k_atom, sum);
      }
      __syncwarp();
      release(place_.stage);
      place_.advance();
    }
  }

  /// K atoms first .. first + Count - 1 of the stage.
  template <int Count, int Blocks>
  __device__ void multiply_stage(int first, float (&sum)[atoms][Blocks][4]) noexcept {
    lane_words words[Count][atoms];
    bool mine = true;
#pragma unroll
    for (int c = 0; c < Count; ++c)
#pragma unroll
      for (int m = 0; m < atoms; ++m) {
        load(words[c][m], place_.stage, first + c, m);
        mine = mine && can_fold<Tile::x>(words[c][m].codes);
      }
    const std::uint32_t x =
        device::shared_address(storage_.x(place_.stage)) + static_cast<unsigned>(first * Tile::x_atom_bytes);
    if (__all_sync(0xFFFFFFFFu, mine) != 0) {
#pragma unroll
      for (int c = 0; c < Count; ++c)
        multiply_atoms<Tile::x, true>(words[c], x + static_cast<unsigned>(c * Tile::x_atom_bytes), lane_, sum);
    } else {
#pragma unroll
      for (int c = 0; c < Count; ++c)
        multiply_atoms<Tile::x, false>(words[c], x + static_cast<unsigned>(c * Tile::x_atom_bytes), lane_, sum);
    }
  }

  /// One group of wgmma for every 32 K of 16 rows; while it runs, the next are widened into other registers.
  template <int Width>
  __device__ void multiply_wgmma(const work_piece& piece, float (&sum)[atoms][Width / 2]) noexcept {
    int before = -1;  // stage whose last group may still be under way
    int left = k_atoms_ - piece.first_step * Tile::k_atoms;
    std::uint32_t a[buffers][2][4];
    for (int step = 0; step < piece.steps; ++step, left -= Tile::k_atoms) {
      const int stage = place_.stage;
      if (step > 0) device::wait(storage_.full(stage), place_.parity);
      device::fence_async_proxy();
      const std::uint32_t x = device::shared_address(storage_.x(stage));
#pragma unroll
      for (int k_atom = 0; k_atom < Tile::k_atoms; ++k_atom) {
        if (k_atom > 0 && k_atom >= left) break;
        multiply_wgmma_atom<Width>(stage, k_atom,
                                   device::swizzled_descriptor(x + static_cast<unsigned>(k_atom * Tile::x_atom_bytes)),
                                   a, sum, before);
      }
      if constexpr (buffers == 1) release(stage);
      place_.advance();
    }
    device::wgmma_wait<0>();
    if constexpr (buffers == 2) release(before);
  }

  template <int Width, int Buffers>
  __device__ void multiply_wgmma_atom(int stage, int k_atom, std::uint64_t descriptor,
                                      std::uint32_t (&a)[Buffers][2][4], float (&sum)[atoms][Width / 2],
                                      int& before) noexcept {
    lane_words words[atoms];
    bool mine = true;
#pragma unroll
    for (int m = 0; m < atoms; ++m) {
      load(words[m], stage, k_atom, m);
      mine = mine && can_fold<Tile::x>(words[m].codes);
    }
    const bool folded = __all_sync(0xFFFFFFFFu, mine) != 0;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int m = 0; m < atoms; ++m) {
        const int buffer = (half * atoms + m) % Buffers;
        const std::uint32_t first = half == 0 ? words[m].words.x : words[m].words.z;
        const std::uint32_t second = half == 0 ? words[m].words.y : words[m].words.w;
        widen_folded<Tile::x>(first, second, half, words[m].codes, a[buffer]);
        if (!folded) [[unlikely]]
          widen_exactly<Tile::x>(first, second, half, words[m].codes, a[buffer]);
        device::wgmma_fence();
#pragma unroll
        for (int step = 0; step < 2; ++step)
          device::wgmma_m64k16<Tile::x, Width>(sum[m], a[buffer][step],
                                               descriptor + static_cast<unsigned>(2 * (2 * half + step)));
        device::wgmma_commit();
        device::wgmma_wait<Buffers - 1>();
        if (Buffers == 2 && half == 0 && m == 0) {
          if (before >= 0 && before != stage) release(before);
          before = stage;
        }
      }
    }
  }

  const ogs_params& params_;
  hopper_storage<Tile> storage_;
  lane_offsets lane_;
  int group_;
  int thread_;  // of the group
  int k_atoms_;
  int atom_[atoms];  // bytes from the start of W in a stage to this warp's atoms
  int copy_ = 0;
  ring_place<Tile::flags.num_stages> place_;
};

}  // namespace tilefit::inline v0::kernels
