// L5: matmul_ogs for SM80 and later: cp.async and mma.sync, all warps copy and multiply, a persistent grid.
// Knows: the ring of stages and the ring of pieces of work; who waits for whom.
// Must not know: which tile is good, streams, how arguments are checked.
//
// Y^T = W * X^T: W widened in registers is the left operand, tokens are the columns, as many as the tile really has
// (rounded up to a width that exists). Copies run num_stages - 1 steps ahead of the multiplication, across the borders
// of tiles. A step costs one block barrier: behind it the stage to multiply is there for everybody, and the stage
// before it is free to be filled. Pieces of work are found by the first warp, ahead of the copies, so that the same
// barriers make them known, and row numbers are fetched a step before the copies that need them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../detail/config.hpp"
#include "../detail/math.hpp"
#include "../device/ops.cuh"
#include "epilogue.cuh"
#include "generic_copier.cuh"
#include "generic_tile.hpp"
#include "mma_step.cuh"
#include "ogs_params.hpp"
#include "prefetch_rows.cuh"
#include "schedule.hpp"
#include "split_sums.cuh"
#include "widen.cuh"
#include "work_feed.cuh"

namespace tilefit::inline v0::kernels {

/// A block.
template <class Tile>
class generic_block {
  static constexpr int atoms = Tile::atoms;
  static constexpr int atom_bytes = atom_of(weight_layout::mma_m16k64).bytes;
  static constexpr int stages = Tile::stages;
  using feed = work_feed<Tile::flags.block_m, Tile::flags.block_n / weight_atom::rows, Tile::can_split>;

 public:
  __device__ generic_block(const ogs_params& params, const generic_storage<Tile>& storage, unsigned thread) noexcept
      : params_(params),
        storage_(storage),
        thread_(thread),
        warp_(thread / 32),
        feed_(params),
        copier_(params, storage, thread) {}

  __device__ __forceinline__ void run() noexcept {
    find_pieces(2);
    __syncthreads();
    copier_.prepare();
#pragma unroll 1
    for (int stage = 0; stage < stages - 1; ++stage) {
      if (stage > 0 && copier_.near_end()) {
        find_pieces(2);
        __syncthreads();
      }
      copier_.step(stage, known_);
    }
    find_pieces(3);
    for (;;) {
      await_stage();
      const int rows = storage_.piece(slot_)->rows;
      if (rows == 0) return;
      // While this piece is multiplied, copies begin with one more, and perhaps a short last one and the end; the next
      // one behind those is prepared. Two of them are known already, the third will be by the next barrier.
      find_pieces(3);
      widths<Tile::width_step>(rows);
      slot_ = next_in_ring<Tile::pieces>(slot_);
    }
  }

 private:
  static constexpr int team_barrier = 1;
  static constexpr std::int32_t no_row = INT32_MAX - weight_atom::group_rows;

  /// The first warp sees to it that `count` pieces are known that have not been begun.
  __device__ __forceinline__ void find_pieces(int count) noexcept {
    if (warp_ == 0) {
#pragma unroll 1
      for (; known_ < count; ++known_) {
        const work_piece piece = feed_.next();
        if (thread_ == 0) *storage_.piece((copier_.slot() + known_) % Tile::pieces) = piece;
      }
    }
  }

  /// The stage to multiply is there, the one before it is free.
  __device__ __forceinline__ void await_stage() const noexcept {
    device::wait_copies<stages - 2>();
    __syncthreads();
  }

  /// Picks the narrowest width that holds the rows.
  template <int Width>
  __device__ __forceinline__ void widths(int rows) noexcept {
    if constexpr (Width >= Tile::flags.block_m) {
      multiply<Width>();
    } else {
      if (rows <= Width)
        multiply<Width>();
      else
        widths<Width + Tile::width_step>(rows);
    }
  }

  /// The piece is read where it is needed: registers are scarce while multiplying.
  template <int Width>
  __device__ __forceinline__ void multiply() noexcept {
    const row_target target = find_target();
    // Where sums leave few registers, the bias is fetched when it is needed.
    constexpr bool early_bias = Tile::atoms * (Width / Tile::token_warps / 8) < 16;
    lane_bias<atoms> bias(params_.args, storage_.piece(slot_)->expert,
                          early_bias ? first_row(*storage_.piece(slot_)) : no_row);
    float sum[atoms][Width / Tile::token_warps / 8][4] = {};
    const int token = Tile::first_token(warp_, Width);
    int steps = storage_.piece(slot_)->steps;
    int left = static_cast<int>((params_.args.k + 63) / 64) - storage_.piece(slot_)->first_step * Tile::k_atoms;
    // Nobody reads the targets of the tile before any more: all have passed a barrier since.
    if (steps == 1) {
      keep_target<Width>(target);
      __syncthreads();
    }
    for (;;) {
      copier_.step(stage_ == 0 ? stages - 1 : stage_ - 1, known_);
      multiply_stage(left, token, sum);
      stage_ = next_in_ring<stages>(stage_);
      if (--steps == 0) break;
      left -= Tile::k_atoms;
      if (steps == 1) keep_target<Width>(target);
      await_stage();
    }

    const work_piece piece = *storage_.piece(slot_);
    if constexpr (Tile::can_split)
      if (piece.blocks > 1 &&
          !meet<Tile::flags.block_m * Tile::flags.block_n, 1, Tile::threads>(
              params_, piece,
              {.block = static_cast<int>(blockIdx.x), .thread = static_cast<int>(thread_), .barrier = team_barrier},
              sum))
        return;
    const std::int32_t n = first_row(piece);
    if constexpr (!early_bias) bias = lane_bias<atoms>(params_.args, piece.expert, n);
    store_atoms<Tile::stores_narrow>(params_, n, bias, storage_.targets() + token, sum,
                                     {.scales = storage_.y_scales() + token * Tile::slab_atoms,
                                      .slab_atoms = Tile::slab_atoms,
                                      .first_atom = Tile::first_atom(warp_),
                                      .barrier = team_barrier,
                                      .threads = Tile::threads});
  }

  /// First of this warp's rows of W.
  __device__ __forceinline__ std::int32_t first_row(const work_piece& piece) const noexcept {
    return weight_atom::rows * (piece.first_atom + Tile::first_atom(warp_));
  }

  /// The last warps find out where rows go: the first one finds pieces.
  __device__ __forceinline__ int target_row() const noexcept {
    return Tile::threads - 1 - static_cast<int>(device::hidden(thread_));
  }
  __device__ __forceinline__ row_target find_target() const noexcept {
    const work_piece piece = *storage_.piece(slot_);
    const int row = target_row();
    row_target target;
    if (row < piece.rows) target = target_of(params_.args, piece.first_row + row);
    return target;
  }
  template <int Width>
  __device__ __forceinline__ void keep_target(const row_target& target) const noexcept {
    if (const int row = target_row(); row < Width) storage_.targets()[row] = target;
    if (params_.present != nullptr && storage_.piece(slot_)->first_atom == 0 && target.row >= 0)
      params_.present[target.row] = 1;
  }

  /// The stage's K atoms, at most `left`. Those of a whole stage go together; the last few of K, and those whose scales
  /// cannot be folded, one by one.
  template <int Blocks>
  __device__ __forceinline__ void multiply_stage(int left, int token, float (&sum)[atoms][Blocks][4]) const noexcept {
    const std::uint32_t x = device::shared_address(storage_.x(stage_)) + static_cast<unsigned>(128 * token);
    const std::byte* const w = storage_.w(stage_) + Tile::atom_byte(Tile::first_atom(warp_));
    int done = 0;
    if (left >= Tile::k_atoms) {
      lane_words words[Tile::k_atoms][atoms];
      bool mine = true;
#pragma unroll
      for (int c = 0; c < Tile::k_atoms; ++c) mine = load(words[c], w + c * Tile::w_atoms_bytes) && mine;
      if (__all_sync(0xFFFFFFFFu, mine) != 0) {
#pragma unroll
        for (int c = 0; c < Tile::k_atoms; ++c)
          multiply_atoms<Tile::x, true>(words[c], x + static_cast<unsigned>(c * Tile::x_atom_bytes), lane_, sum);
        done = Tile::k_atoms;
      }
    }
    const int here = detail::min(left, Tile::k_atoms);
#pragma unroll 1
    for (; done < here; ++done) {
      lane_words words[atoms];
      static_cast<void>(load(words, w + done * Tile::w_atoms_bytes));
      multiply_atoms<Tile::x, false>(words, x + static_cast<unsigned>(done * Tile::x_atom_bytes), lane_, sum);
    }
  }

  /// True when this lane's scales can be folded.
  __device__ __forceinline__ bool load(lane_words (&words)[atoms], const std::byte* w) const noexcept {
    bool folds = true;
#pragma unroll
    for (int m = 0; m < atoms; ++m) {
      words[m].load(w + m * atom_bytes + lane_.values, w + m * atom_bytes + lane_.scales);
      folds = folds && can_fold<Tile::x>(words[m].codes);
    }
    return folds;
  }

  const ogs_params& params_;
  generic_storage<Tile> storage_;
  lane_offsets lane_;
  unsigned thread_;
  unsigned warp_;
  feed feed_;
  generic_copier<Tile> copier_;
  int known_ = 0;  // pieces that have been found and not begun
  int stage_ = 0;  // to multiply
  int slot_ = 0;   // of the piece to multiply
};

/// One block. Dynamic shared memory: Tile::plan.total_bytes(), grid: any number of blocks; `meet` needs no two of them
/// to run at the same time.
template <class Tile>
__global__ void __launch_bounds__(Tile::threads, Tile::blocks_per_sm)
    matmul_ogs_mma(const __grid_constant__ ogs_params params) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  constexpr bool wanted = Tile::on_hopper;
#else
  constexpr bool wanted = true;
#endif
  if constexpr (wanted) {
    prefetch_rows(params);
    device::let_next_grid_start();
    device::wait_for_previous_grid();
    generic_block<Tile>(params, {{device::dynamic_shared_memory()}}, threadIdx.x).run();
  }
}

}  // namespace tilefit::inline v0::kernels
