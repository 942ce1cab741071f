// L5: what the threads of the generic kernel copy, step by step.
// Knows: shared memory by its plan, where rows of X and groups of W lie in memory and belong in a stage.
// Must not know: who finds pieces of work, what is done with a stage.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../detail/config.hpp"
#include "../detail/math.hpp"
#include "../device/cuda/lanes.hpp"
#include "../device/ops.cuh"
#include "../opt_flags.hpp"
#include "../smem_plan.hpp"
#include "epilogue.cuh"
#include "generic_tile.hpp"
#include "ogs_params.hpp"
#include "schedule.hpp"
#include "tile_storage.cuh"

namespace tilefit::inline v0::kernels {

/// The block's shared memory, by its plan.
template <class Tile>
struct generic_storage : tile_storage<Tile> {
  /// Targets of the tile's rows.
  __device__ row_target* targets() const noexcept {
    return reinterpret_cast<row_target*>(this->template at<smem_region::row_indx>());
  }
};

/// Next place of a ring.
template <int Size>
__device__ inline int next_in_ring(int place) noexcept {
  return place + 1 == Size ? 0 : place + 1;
}

/// What a thread copies, step by step.
template <class Tile>
class generic_copier {
  static constexpr int x_rows = Tile::x_rows;

 public:
  __device__ generic_copier(const ogs_params& params, const generic_storage<Tile>& storage, unsigned thread) noexcept
      : params_(params),
        storage_(storage),
        thread_(thread),
        w_to_(device::shared_address(storage.w(0)) +
              static_cast<unsigned>(Tile::w_group(thread) * Tile::w_group_bytes + 16 * Tile::w_chunk(thread, 0))),
        x_to_(device::shared_address(storage.x(0)) +
              static_cast<unsigned>(Tile::x_atom(thread, 0) * Tile::x_atom_bytes) +
              device::swizzled_chunk(static_cast<unsigned>(Tile::x_row(thread, 0)),
                                     static_cast<unsigned>(Tile::x_chunk(thread)))) {
    if constexpr (hinted) policy_ = device::evict_first_policy();
  }

  /// True when the next step begins or prepares another piece of work.
  __device__ bool near_end() const noexcept { return left_ <= 1; }
  /// Slot of the next piece to begin with.
  __device__ int slot() const noexcept { return slot_; }

  /// Lets the row numbers of the next piece be on their way. The piece must be known to all threads.
  __device__ void prepare() noexcept {
    const matmul_args& args = params_.args;
    const unsigned thread = device::hidden(thread_);
    const work_piece piece = *storage_.piece(slot_);
#pragma unroll
    for (int i = 0; i < x_rows; ++i) {
      const int row = Tile::x_row(thread, i);
      source_[i] = -1;
      if (row < piece.rows) {
        source_[i] = piece.first_row + row;
        if (args.gather_indx != nullptr) source_[i] = args.gather_indx[source_[i]];
      }
    }
  }

  /// Lets this thread's copies of one step begin, into `stage`: 0 at the first call, then the next one of the ring each
  /// time. Behind the last piece: a group without copies. `known`: pieces not begun; one less when this begins one.
  __device__ __forceinline__ void step(int stage, int& known) noexcept {
    if (left_ > 1) {
      copy_w();
      copy_x();
      advance(stage);
    } else {
      step_at_border(stage, known);
    }
    device::commit_copies();
  }

 private:
  static constexpr bool hinted = Tile::flags.w_cache == cache_hint::evict_first;

  /// From a stage's bytes to those of the next one, modulo 2^32.
  __device__ static std::uint32_t to_next_stage(int stage, int stage_bytes) noexcept {
    return static_cast<std::uint32_t>(stage + 1 == Tile::stages ? -(Tile::stages - 1) * stage_bytes : stage_bytes);
  }

  /// The first and the last step of a piece.
  __device__ __forceinline__ void step_at_border(int stage, int& known) noexcept {
    const bool starts = left_ == 0;
    if (starts) {
      take();
      --known;
    }
    if (left_ <= 0) return;
    // The last step of a tile, where K is no multiple of block_k.
    if (left_ > 1 || !short_end_) {
      copy_w();
      if (starts) locate();
      copy_x();
    } else {
      copy_last_w();
      if (starts) locate();
      copy_last_x();
    }
    advance(stage);
    if (left_ == 0) prepare();
  }

  __device__ __forceinline__ void advance(int stage) noexcept {
    w_to_ += to_next_stage(stage, Tile::plan[smem_region::w_values].bytes);
    x_to_ += to_next_stage(stage, Tile::plan[smem_region::x_values].bytes);
    --left_;
  }

  /// Begins the next piece: where its W lies.
  __device__ void take() noexcept {
    const matmul_args& args = params_.args;
    const unsigned thread = device::hidden(thread_);
    const work_piece piece = *storage_.piece(slot_);
    slot_ = next_in_ring<Tile::pieces>(slot_);
    left_ = piece.rows > 0 ? piece.steps : -1;
    short_end_ = args.k % Tile::flags.block_k != 0 && piece.first_step + piece.steps == params_.steps;
    // In a slab that lies partly behind n, threads without a group copy the last one there is.
    const int groups = (static_cast<int>(args.n) + device::hidden(63)) / 64;
    const int group = detail::min(piece.first_atom / 4 + Tile::w_group(thread), groups - 1);
    const int k_atoms = (static_cast<int>(args.k) + device::hidden(63)) / 64;
    const int first_atom = piece.first_step * Tile::k_atoms;
    w_from_ = static_cast<const char*>(args.w.data) +
              ((std::int64_t{piece.expert} * groups + group) * k_atoms + first_atom) * Tile::w_atoms_bytes +
              16 * Tile::w_chunk(thread, 0);
    x_skipped_ = 128 * (first_atom + Tile::x_atom(thread, 0)) + 16 * Tile::x_chunk(thread);
  }

  /// Turns rows of X into addresses. Absent rows are not copied: what stays in their place reaches no row of Y.
  __device__ void locate() noexcept {
    present_ = 0;
#pragma unroll
    for (int i = 0; i < x_rows; ++i) {
      // Hidden, or the number of the row would be waited for in every step.
      const std::int32_t row = device::hidden(source_[i]);
      if (row >= 0) present_ |= 1u << i;
      x_from_[i] = static_cast<const char*>(params_.args.x.data) + std::int64_t{row} * (2 * params_.args.x.row_stride) +
                   x_skipped_;
    }
  }

  __device__ void copy_w_chunk(std::uint32_t to, const char* from) const noexcept {
    if constexpr (hinted)
      device::copy16_async_hinted(to, from, policy_);
    else
      device::copy16_async(to, from);
  }

  __device__ void copy_w() noexcept {
    constexpr int chunks = Tile::k_atoms * Tile::w_atom_chunks;
    constexpr int whole_rounds = chunks / Tile::w_threads;
#pragma unroll
    for (int i = 0; i < whole_rounds; ++i)
      copy_w_chunk(w_to_ + static_cast<unsigned>(16 * Tile::w_threads * i), w_from_ + 16 * Tile::w_threads * i);
    if constexpr (whole_rounds < Tile::w_rounds) {
      const bool more = Tile::w_chunk(thread_, whole_rounds) < chunks;
      const std::uint32_t to = w_to_ + static_cast<unsigned>(16 * Tile::w_threads * whole_rounds);
      if constexpr (hinted)
        device::copy16_async_hinted_if(more, to, w_from_ + 16 * Tile::w_threads * whole_rounds, policy_);
      else
        device::copy16_async_if(more, to, w_from_ + 16 * Tile::w_threads * whole_rounds);
    }
    w_from_ += Tile::w_group_bytes;
  }

  __device__ void copy_x() noexcept {
#pragma unroll
    for (int i = 0; i < x_rows; ++i) {
#pragma unroll
      for (int round = 0; round < Tile::x_rounds; ++round)
        if (Tile::k_atoms % Tile::x_atoms_at_once == 0 || Tile::x_atom(thread_, round) < Tile::k_atoms)
          device::copy16_async_if((present_ >> i & 1u) != 0, x_to_ + x_place(i, round),
                                  x_from_[i] + 128 * Tile::x_atoms_at_once * round);
      x_from_[i] += 128 * Tile::k_atoms;
    }
  }

  /// K of the last step of a tile when it is not a whole one.
  __device__ int k_tail() const noexcept { return static_cast<int>(params_.args.k) % Tile::flags.block_k; }

  /// The last step of a tile whose K is no multiple of block_k: only the K atoms that exist.
  __device__ void copy_last_w() const noexcept {
    const int chunks = (k_tail() + 63) / 64 * Tile::w_atom_chunks;
    const char* from = w_from_;
    std::uint32_t to = w_to_;
#pragma unroll 1
    for (int chunk = Tile::w_chunk(thread_, 0); chunk < chunks; chunk += Tile::w_threads) {
      copy_w_chunk(to, from);
      from += 16 * Tile::w_threads;
      to += 16 * Tile::w_threads;
    }
  }

  /// Likewise; half of the last atom may lie behind K and becomes zero (whatever else lay there, times the zeros that W
  /// has, could be NaN).
  __device__ void copy_last_x() const noexcept {
#pragma unroll
    for (int i = 0; i < x_rows; ++i) {
      if ((present_ >> i & 1u) == 0) continue;
      const char* from = x_from_[i];
      std::uint32_t to = x_to_ + x_place(i, 0);
#pragma unroll 1
      for (int k = 64 * Tile::x_atom(thread_, 0); k < k_tail(); k += 64 * Tile::x_atoms_at_once) {
        const bool inside = k + 8 * Tile::x_chunk(thread_) < k_tail();
        device::copy16_async(to, inside ? from : x_from_[i], inside);
        from += 128 * Tile::x_atoms_at_once;
        to += x_place(0, 1);
      }
    }
  }

  /// Bytes from this thread's first chunk in a stage to that of its row i in a round.
  __device__ static constexpr std::uint32_t x_place(int i, int round) noexcept {
    return static_cast<unsigned>(Tile::x_atoms_at_once * Tile::x_atom_bytes * round + 128 * Tile::x_rows_at_once * i);
  }

  const ogs_params& params_;
  generic_storage<Tile> storage_;
  unsigned thread_;
  int slot_ = 0;
  int left_ = 0;  // steps of the piece; -1 behind the last piece
  bool short_end_ = false;
  // Where this thread's first chunks go in the stage of the next step. Carried from step to step in registers of the
  // thread, never worked out as (part of the thread) + (part of the stage): of such a sum ptxas 13.0 makes LDGSTS
  // [R + UR + immediate], desc[UR][R.64] for sm_90 and sm_120 (seen in SASS, where the prologue counts stages in a
  // uniform register), which the hardware refuses as an illegal instruction.
  std::uint32_t w_to_;
  std::uint32_t x_to_;
  const char* w_from_ = nullptr;
  const char* x_from_[x_rows];   // undefined for absent rows
  std::uint32_t present_ = 0;    // bit i: row i is to be copied
  std::int32_t x_skipped_ = 0;   // bytes from the start of a row to this thread's first chunk
  std::int32_t source_[x_rows];  // of the next piece: row of X, -1 = absent
  std::uint64_t policy_ = 0;
};

}  // namespace tilefit::inline v0::kernels
