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
      if (Tile::shares_k ? group() < piece.atoms : 4 * group() < piece.first_atom % 4 + piece.atoms)
        widths<Tile::width_step>(piece);
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

  /// Picks the narrowest width that holds the rows: quarters of block_m, as far as they are multiples of 8.
  template <int Width>
  __device__ __forceinline__ void widths(const work_piece& piece) noexcept {
    if constexpr (Width >= Tile::flags.block_m) {
      multiply<Width>(piece);
    } else {
      if (piece.rows <= Width)
        multiply<Width>(piece);
      else
        widths<Width + Tile::width_step>(piece);
    }
  }

  /// Columns of a piece that are this warp's and its group's.
  struct columns {
    std::int32_t atom = 0;  ///< whose sums the warp stores
    bool mine = true;       ///< it is the piece's
    int first = 0;          ///< atom of the group in a stage, and how many; where the group shares K
    int count = 0;
  };
  __device__ columns columns_of(const work_piece& piece) const noexcept {
    // Atoms lie in a stage by groups of four as they do in W: a piece may begin and end within a group.
    const int skipped = piece.first_atom % 4;
    if constexpr (Tile::shares_k) {
      const int half = (piece.atoms + 1) / 2, before = group() * half;
      const int count = detail::min(half, piece.atoms - before);
      return {.atom = piece.first_atom + before + warp() % 4,
              .mine = warp() % 4 < count,
              .first = skipped + before,
              .count = count};
    } else {
      // With wgmma pieces are whole groups.
      const int place = Tile::uses_wgmma ? warp() : warp() - skipped;
      return {.atom = piece.first_atom + place, .mine = Tile::uses_wgmma || (place >= 0 && place < piece.atoms)};
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

  __device__ void release(int stage) const noexcept {
    if (thread() % 32 == 0) device::arrive(storage_.empty(stage));
  }

  __device__ void load(lane_words& words, int stage, int k_atom, int m) const noexcept {
    const std::byte* const atom =
        storage_.w(stage) + warp() / 4 * Tile::w_group_bytes + warp() % 4 * atom_bytes + k_atom * 4 * atom_bytes;
    words.load(atom + lane_.values, atom + lane_.scales);
  }

  template <int Width>
  __device__ __forceinline__ void multiply(const work_piece& piece) noexcept {
    constexpr int blocks = Width / 8;
    row_target target;
    if (thread() < piece.rows) target = target_of(params_.args, piece.first_row + thread());
    const columns own = columns_of(piece);
    const int first_n = own.atom * weight_atom::rows;
    const bool mine = own.mine;
    const lane_bias<atoms> bias(params_.args, piece.expert, first_n);

    float sum[atoms][blocks][4] = {};
    if constexpr (Tile::uses_wgmma)
      multiply_wgmma<Width>(piece, *reinterpret_cast<float(*)[blocks * 4]>(&sum));
    else if constexpr (Tile::shares_k)
      multiply_shared(piece, own.first, own.count, sum[0][0]);
    else if (mine)
      multiply_mma<Width>(piece, sum);
    else
      pass(piece);

    row_target* const targets = storage_.targets(group(), copy_);
    copy_ ^= 1;
    if (thread() < Width) targets[thread()] = target;
    device::named_barrier(group_barrier + group(), group_threads);

    if constexpr (Tile::can_split)
      if (piece.blocks > 1 &&
          !meet<Tile::flags.block_m * Tile::flags.block_n, Tile::groups, group_threads>(
              params_, piece, {.index = group(), .thread = thread(), .barrier = group_barrier + group()}, sum))
        return;
    if (mine) store_atoms(params_, first_n, bias, targets, sum);
    if (params_.present != nullptr && piece.first_atom == 0 && group() == 0 && target.row >= 0)
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

  /// Columns first .. first + count - 1 of a piece, which are the group's, K shared among its warps: of every stage,
  /// one K atom. `sum`: of the atom that is the warp's own behind that.
  __device__ void multiply_shared(const work_piece& piece, int first, int count, float (&sum)[4]) noexcept {
    const int k_atom = warp() % 4;
    float part[2][2][1][4] = {};
    int left = k_atoms_ - piece.first_step * Tile::k_atoms;
    for (int step = 0; step < piece.steps; ++step, left -= Tile::k_atoms) {
      if (step > 0) device::wait(storage_.full(place_.stage), place_.parity);
      if (k_atom < left) {
        const std::uint32_t x =
            device::shared_address(storage_.x(place_.stage)) + static_cast<unsigned>(k_atom * Tile::x_atom_bytes);
        const std::byte* const w = storage_.w(place_.stage) + k_atom * Tile::w_atoms_bytes;
        std::uint32_t b[2][1][4];
#pragma unroll
        for (int half = 0; half < 2; ++half) device::load_matrices(x + lane_.x[half], b[half][0]);
#pragma unroll
        for (int pair = 0; pair < 2; ++pair) {
          if (2 * pair >= count) continue;
          lane_words words[2];
          std::uint32_t obstacles = 0;
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            // Of an odd number the last is multiplied twice.
            const int atom = first + detail::min(2 * pair + i, count - 1);
            const std::byte* const at = w + atom / 4 * Tile::w_group_bytes + atom % 4 * atom_bytes;
            words[i].load(at + lane_.values, at + lane_.scales);
            obstacles |= fold_obstacle<Tile::x>(words[i].codes);
          }
          if (__all_sync(0xFFFFFFFFu, obstacles == 0) != 0)
            multiply_pair<true>(words, b, part[pair]);
          else
            multiply_pair<false>(words, b, part[pair]);
        }
      }
      __syncwarp();
      release(place_.stage);
      place_.advance();
    }
    // Everybody has read the sums of the piece before.
    device::named_barrier(group_barrier + group(), group_threads);
#pragma unroll
    for (int atom = 0; atom < 4; ++atom) {
      const float(&mine)[4] = part[atom / 2][atom % 2][0];
      *storage_.k_sums(group(), atom, warp() % 4) = make_float4(mine[0], mine[1], mine[2], mine[3]);
    }
    device::named_barrier(group_barrier + group(), group_threads);
#pragma unroll
    for (int other = 0; other < 4; ++other) {
      const float4 theirs = *storage_.k_sums(group(), warp() % 4, other);
      sum[0] += theirs.x;
      sum[1] += theirs.y;
      sum[2] += theirs.z;
      sum[3] += theirs.w;
    }
  }

  template <bool Folded>
  __device__ __forceinline__ static void multiply_pair(const lane_words (&words)[2], const std::uint32_t (&b)[2][1][4],
                                                       float (&sum)[2][1][4]) noexcept {
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        std::uint32_t a[2][4];
        widen<Tile::x, Folded>(words[i], half, a);
#pragma unroll
        for (int step = 0; step < 2; ++step)
          device::mma_m16n8k16<Tile::x>(sum[i][0], a[step], b[half][0][2 * step], b[half][0][2 * step + 1]);
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

  /// Products of widened K, 64 at a time and with the next stage's words ahead of its turn where the sums leave
  /// registers for them, else 32 at a time. Every instruction counts: widening takes more issue slots than there are
  /// to spare.
  template <int Width>
  __device__ __forceinline__ void multiply_wgmma(const work_piece& piece, float (&sum)[Width / 2]) noexcept {
    constexpr bool ahead = Width <= most_ahead;
    constexpr int loaded = ahead ? Tile::k_atoms : 1;  // K atoms that are loaded and judged together
    int left = k_atoms_ - piece.first_step * Tile::k_atoms;
    lane_words words[loaded];
    if (ahead) load_atoms(words, place_.stage, 0);
    for (int step = 0; step < piece.steps; ++step, left -= Tile::k_atoms) {
      if (!ahead && step > 0) device::wait(storage_.full(place_.stage), place_.parity);
      const int stage = place_.stage;
      const std::uint64_t x = device::swizzled_descriptor(device::uniform(device::shared_address(storage_.x(stage))));
      place_.advance();
      device::fence_async_proxy();
#pragma unroll
      for (int k_atom = 0; k_atom < Tile::k_atoms; k_atom += loaded) {
        if (k_atom > 0 && k_atom >= left) break;
        if (!ahead) load_atoms(words, stage, k_atom);
        std::uint32_t obstacles = 0;
#pragma unroll
        for (int i = 0; i < loaded; ++i) obstacles |= fold_obstacle<Tile::x>(words[i].codes);
        const bool folded = __all_sync(0xFFFFFFFFu, obstacles == 0) != 0;
#pragma unroll
        for (int i = 0; i < loaded; ++i) {
          if (i > 0 && i >= left) break;
          const std::uint64_t x_atom = x + static_cast<unsigned>((k_atom + i) * (Tile::x_atom_bytes / 16));
          if constexpr (ahead) {
            multiply_halves<Width, 0, 2>(words[i], x_atom, folded, sum);
            if (i == loaded - 1 && step + 1 < piece.steps) {
              device::wait(storage_.full(place_.stage), place_.parity);
              load_atoms(words, place_.stage, 0);
            }
            device::wgmma_wait<0>();
          } else {
            multiply_halves<Width, 0, 1>(words[i], x_atom, folded, sum);
            device::wgmma_wait<0>();
            multiply_halves<Width, 1, 1>(words[i], x_atom, folded, sum);
            device::wgmma_wait<0>();
          }
        }
      }
      release(stage);
    }
  }
  static constexpr int most_ahead = 80;

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
      device::wgmma_m64k16<Tile::x, Width>(sum, a[i / 2][i % 2], x + static_cast<unsigned>(2 * (2 * First + i)));
    device::wgmma_commit();
  }

  const ogs_params& params_;
  hopper_storage<Tile> storage_;
  lane_offsets lane_;
  int k_atoms_;
  int copy_ = 0;
  ring_place<Tile::flags.num_stages> place_;
};

}  // namespace tilefit::inline v0::kernels
