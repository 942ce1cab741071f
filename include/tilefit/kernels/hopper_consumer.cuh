// L5: the warps of the Hopper kernel that multiply.
// Knows: the stages, mma.sync and wgmma on widened W, how sums of a split tile meet.
// Must not know: where stages come from, which tile is good.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../detail/math.hpp"
#include "../device/cuda/barrier.cuh"
#include "../device/cuda/compiler.cuh"
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

 public:
  __device__ hopper_consumer(const ogs_params& params, const hopper_storage<Tile>& storage) noexcept
      : params_(params), storage_(storage), k_atoms_(static_cast<int>((params.args.k + 63) / 64)) {}

  __device__ __forceinline__ void run() noexcept {
    for (;;) {
      device::wait(storage_.full(place_.stage), place_.parity);
      work_piece piece = *storage_.piece(place_.stage);
      for (std::int32_t* const value : {&piece.expert, &piece.first_row, &piece.first_atom, &piece.first_step,
                                        &piece.steps, &piece.first_block, &piece.blocks})
        *value = device::uniform(*value);
      piece.rows = static_cast<std::int16_t>(device::uniform(std::int32_t{piece.rows}));
      piece.atoms = static_cast<std::int16_t>(device::uniform(std::int32_t{piece.atoms}));
      if (piece.rows == 0) return;
      if (4 * group() < piece.atoms)
        widths<Tile::next_width(0)>(piece);
      else
        pass(piece);
    }
  }

 private:
  // Worked out where they are needed: registers are scarce.
  __device__ static int warp() noexcept { return static_cast<int>(threadIdx.x) / 32; }
  __device__ static int group() noexcept { return device::hidden(static_cast<int>(threadIdx.x)) / group_threads; }
  __device__ static int thread() noexcept { return static_cast<int>(threadIdx.x) % group_threads; }  // of the group

  static constexpr int group_barrier = 1;  // and the next three

  /// Picks the narrowest width, of those that Tile::next_width lists, that holds the rows.
  template <int Width>
  __device__ __forceinline__ void widths(const work_piece& piece) noexcept {
    if constexpr (Width >= Tile::flags.block_m) {
      multiply<Width>(piece);
    } else {
      if (piece.rows <= Width)
        multiply<Width>(piece);
      else
        widths<Tile::next_width(Width)>(piece);
    }
  }

  /// Lets the stages of a piece go by.
  __device__ void pass(const work_piece& piece) noexcept {
    for (int step = 0; step < piece.steps; ++step) {
      device::wait(storage_.full(place_.stage), place_.parity);
      release(place_.stage);
      place_.advance();
    }
  }

  __device__ __forceinline__ void release(int stage) const noexcept {
    if (thread() % 32 < Tile::arrivals) device::arrive(storage_.empty(stage));
  }

  __device__ __forceinline__ void load(lane_words& words, int stage, int k_atom, int m) const noexcept {
    const std::byte* const atom =
        storage_.w(stage) + warp() / 4 * Tile::w_group_bytes + warp() % 4 * atom_bytes + k_atom * 4 * atom_bytes;
    words.load(atom + lane_.values, atom + lane_.scales);
  }

  template <int Width>
  __device__ __forceinline__ void multiply(const work_piece& piece) noexcept {
    constexpr int blocks = Width / 8;
    constexpr int most = (Width + group_threads - 1) / group_threads;  // rows of a thread
    row_target target[most];
#pragma unroll
    for (int i = 0; i < most; ++i)
      if (const int row = thread() + i * group_threads; row < piece.rows)
        target[i] = target_of(params_.args, piece.first_row + row);
    const int first_n = (piece.first_atom + warp()) * weight_atom::rows;
    const bool mine = Tile::uses_wgmma || warp() < piece.atoms;  // with wgmma pieces are whole groups
    const lane_bias<atoms> bias(params_.args, piece.expert, first_n);

    float sum[atoms][blocks][4] = {};
    if constexpr (Tile::uses_wgmma)
      multiply_wgmma<Width>(*reinterpret_cast<float(*)[blocks * 4]>(&sum));
    else if (mine)
      multiply_mma<Width>(piece, sum);
    else
      pass(piece);

    row_target* const targets = storage_.targets(group(), copy_);
    copy_ ^= 1;
#pragma unroll
    for (int i = 0; i < most; ++i)
      if (const int row = thread() + i * group_threads; row < Width) targets[row] = target[i];
    device::named_barrier(group_barrier + group(), group_threads);

    if constexpr (Tile::can_split)
      if (piece.blocks > 1 && !meet<Tile::flags.block_m * Tile::flags.block_n, Tile::groups, group_threads>(
                                  params_, piece,
                                  {.block = static_cast<int>(blockIdx.x),
                                   .index = group(),
                                   .thread = thread(),
                                   .barrier = group_barrier + group()},
                                  sum))
        return;
    if (mine || (Tile::stores_narrow && params_.store == store_kind::quantised))
      store_atoms<Tile::stores_narrow>(params_, first_n, bias, targets, sum,
                                       {.scales = storage_.y_scales(),
                                        .slab_atoms = Tile::slab_atoms,
                                        .first_atom = device::hidden(warp()),
                                        .barrier = group_barrier + group(),
                                        .threads = group_threads});
    if (params_.present != nullptr && piece.first_atom == 0 && group() == 0)
#pragma unroll
      for (int i = 0; i < most; ++i)
        if (target[i].row >= 0) params_.present[target[i].row] = 1;
  }

  /// K atoms that are loaded and judged together.
  static constexpr int at_once = detail::min(Tile::k_atoms, Tile::flags.block_m < 32 ? 4 : 2);

  template <int Width>
  __device__ __forceinline__ void multiply_mma(const work_piece& piece, float (&sum)[atoms][Width / 8][4]) noexcept {
    // Products of few tokens would wait for each other: those of every other K atom have sums of their own.
    float other[atoms][Width / 8][4] = {};
    int left = k_atoms_ - piece.first_step * Tile::k_atoms;
    for (int step = 0; step < piece.steps; ++step, left -= Tile::k_atoms) {
      if (step > 0) device::wait(storage_.full(place_.stage), place_.parity);
      if (left >= Tile::k_atoms) {
#pragma unroll
        for (int k_atom = 0; k_atom < Tile::k_atoms; k_atom += at_once) multiply_stage<at_once>(k_atom, sum, other);
      } else {
        for (int k_atom = 0; k_atom < left; ++k_atom) multiply_stage<1>(k_atom, sum, other);
      }
      __syncwarp();
      release(place_.stage);
      place_.advance();
    }
    if constexpr (two_sums)
#pragma unroll
      for (int j = 0; j < Width / 8; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) sum[0][j][i] += other[0][j][i];
  }
  static constexpr bool two_sums = Tile::flags.block_m <= 16;

  /// K atoms first .. first + Count - 1 of the stage.
  template <int Count, int Blocks>
  __device__ __forceinline__ void multiply_stage(int first, float (&sum)[atoms][Blocks][4],
                                                 float (&other)[atoms][Blocks][4]) noexcept {
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
        multiply_atoms<Tile::x, true>(words[c], x + static_cast<unsigned>(c * Tile::x_atom_bytes), lane_,
                                      two_sums && c % 2 == 1 ? other : sum);
    } else {
#pragma unroll
      for (int c = 0; c < Count; ++c)
        multiply_atoms<Tile::x, false>(words[c], x + static_cast<unsigned>(c * Tile::x_atom_bytes), lane_,
                                       two_sums && c % 2 == 1 ? other : sum);
    }
  }

  /// Products of widened K, 64 at a time where the sums leave registers for them, else 32 at a time. Words are loaded
  /// ahead of their turn, while products run. Every instruction counts: widening takes more issue slots than there are
  /// to spare.
  template <int Width>
  __device__ __forceinline__ void multiply_wgmma(float (&sum)[Width / 2]) noexcept {
    static_assert(!Tile::can_split, "a piece has all of K");
    constexpr bool whole = Width <= most_whole;
    constexpr int loaded = whole ? detail::min(Tile::k_atoms, 2) : 1;  // K atoms that are loaded and judged together
    lane_words words[loaded];
    load_atoms(words, place_.stage, 0);
    for (int left = k_atoms_; left > 0; left -= Tile::k_atoms) {
      const int stage = place_.stage;
      const std::uint64_t x = device::swizzled_descriptor(device::uniform(device::shared_address(storage_.x(stage))));
      place_.advance();
      device::fence_async_proxy();
#pragma unroll
      for (int first = 0; first < Tile::k_atoms; first += loaded) {
        if (first > 0 && first >= left) break;
        std::uint32_t obstacles = 0;
#pragma unroll
        for (int i = 0; i < loaded; ++i) obstacles |= fold_obstacle<Tile::x>(words[i].codes);
        const bool folded = __all_sync(0xFFFFFFFFu, obstacles == 0) != 0;
#pragma unroll
        for (int i = 0; i < loaded; ++i) {
          if (i > 0 && first + i >= left) break;
          const std::uint64_t x_atom = x + static_cast<unsigned>((first + i) * (Tile::x_atom_bytes / 16));
          if constexpr (whole) {
            multiply_halves<Width, 0, 2>(words[i], x_atom, folded, sum);
          } else {
            multiply_halves<Width, 0, 1>(words[i], x_atom, folded, sum);
            device::wgmma_wait<0>();
            multiply_halves<Width, 1, 1>(words[i], x_atom, folded, sum);
          }
          if (i == loaded - 1) {
            if (first + loaded < Tile::k_atoms) {
              if (first + loaded < left) load_atoms(words, stage, first + loaded);
            } else if (left > Tile::k_atoms) {
              device::wait(storage_.full(place_.stage), place_.parity);
              load_atoms(words, place_.stage, 0);
            }
          }
          device::wgmma_wait<0>();
        }
      }
      release(stage);
    }
  }
  static constexpr int most_whole = Tile::groups == 4 ? 80 : 160;

  template <int Count>
  __device__ __forceinline__ void load_atoms(lane_words (&words)[Count], int stage, int first) const noexcept {
#pragma unroll
    for (int i = 0; i < Count; ++i) load(words[i], stage, first + i, 0);
  }

  /// Enqueues the products of 32-blocks First .. First + Count - 1 of a K atom.
  template <int Width, int First, int Count>
  __device__ __forceinline__ static void multiply_halves(const lane_words& words, std::uint64_t x, bool folded,
                                                         float (&sum)[Width / 2]) noexcept {
    std::uint32_t a[Count][2][4];
#pragma unroll
    for (int i = 0; i < Count; ++i) widen<Tile::x, true>(words, First + i, a[i]);
    if (!folded) [[unlikely]] {
#pragma unroll
      for (int i = 0; i < Count; ++i) widen<Tile::x, false>(words, First + i, a[i]);
    }
    device::wgmma_fence();
#pragma unroll
    for (int i = 0; i < 2 * Count; ++i)
      multiply_tokens<Width>(a[i / 2][i % 2], x + static_cast<unsigned>(2 * (2 * First + i)), sum);
    device::wgmma_commit();
  }

  /// One product of 16 K, or one for each half of the tokens where they are more than 128.
  template <int Width>
  __device__ __forceinline__ static void multiply_tokens(const std::uint32_t (&a)[4], std::uint64_t x,
                                                         float (&sum)[Width / 2]) noexcept {
    if constexpr (Width <= 128) {
      device::wgmma_m64k16<Tile::x, Width>(sum, a, x);
    } else {
      auto& half = reinterpret_cast<float(&)[2][Width / 4]>(sum);
      device::wgmma_m64k16<Tile::x, Width / 2>(half[0], a, x);
      device::wgmma_m64k16<Tile::x, Width / 2>(half[1], a, x + static_cast<unsigned>(Width / 2 * 128 / 16));
    }
  }

  const ogs_params& params_;
  hopper_storage<Tile> storage_;
  lane_offsets lane_;
  int k_atoms_;
  int copy_ = 0;
  ring_place<Tile::flags.num_stages> place_;
};

}  // namespace tilefit::inline v0::kernels
