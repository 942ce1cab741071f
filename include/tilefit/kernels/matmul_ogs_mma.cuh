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
#include <type_traits>

#include "../detail/config.hpp"
#include "../device/cuda/compiler.cuh"
#include "../device/cuda/copy.cuh"
#include "../device/cuda/lanes.hpp"
#include "../device/cuda/launch_control.cuh"
#include "../smem_plan.hpp"
#include "epilogue.cuh"
#include "generic_tile.hpp"
#include "mma_step.cuh"
#include "ogs_params.hpp"
#include "prefetch_rows.cuh"
#include "schedule.hpp"
#include "split_sums.cuh"
#include "widen.cuh"
#include "work_feed.cuh"

namespace tilefit::inline v0::kernels {

/// The block's shared memory, by its plan.
template <class Tile>
struct generic_storage {
  std::byte* base;

  __device__ std::byte* x(int stage) const noexcept {
    return base + Tile::plan[smem_region::x_values].offset + Tile::plan[smem_region::x_values].bytes * stage;
  }
  __device__ std::byte* w(int stage) const noexcept {
    return base + Tile::plan[smem_region::w_values].offset + Tile::plan[smem_region::w_values].bytes * stage;
  }
  __device__ work_piece* piece(int slot) const noexcept {
    return reinterpret_cast<work_piece*>(base + Tile::plan[smem_region::work_pieces].offset) + slot;
  }
  /// Targets of the tile's rows.
  __device__ row_target* targets() const noexcept {
    return reinterpret_cast<row_target*>(base + Tile::plan[smem_region::row_indx].offset);
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
  static constexpr std::uint32_t absent = ~0u;

 public:
  __device__ generic_copier(const ogs_params& params, const generic_storage<Tile>& storage, unsigned thread) noexcept
      : params_(params), storage_(storage), thread_(thread) {
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

  /// Lets this thread's copies of one step begin, into `stage`. Behind the last piece: a group without copies.
  /// True when a piece was begun.
  __device__ bool step(int stage) noexcept {
    const bool starts = left_ == 0;
    // Where registers are scarce, addresses are worked out again for every step.
    const unsigned thread = Tile::scarce ? device::hidden(thread_) : thread_;
    if (starts) take();
    if (left_ > 0) {
      // The last step of a tile, where K is no multiple of block_k.
      const bool whole = left_ > 1 || !short_end_;
      const std::uint32_t w_to =
          device::shared_address(storage_.w(stage)) +
          static_cast<unsigned>(Tile::w_group(thread) * Tile::w_group_bytes + 16 * Tile::w_chunk(thread, 0));
      if (whole)
        copy_w(w_to);
      else
        copy_last_w(w_to);
      if (starts) locate();
      const std::uint32_t x_to = device::shared_address(storage_.x(stage)) +
                                 static_cast<unsigned>(Tile::x_atom(thread, 0) * Tile::x_atom_bytes) +
                                 device::swizzled_chunk(static_cast<unsigned>(Tile::x_row(thread, 0)),
                                                        static_cast<unsigned>(Tile::x_chunk(thread)));
      if (whole)
        copy_x(x_to);
      else
        copy_last_x(x_to);
      if (--left_ == 0) prepare();
    }
    device::commit_copies();
    return starts;
  }

 private:
  static constexpr bool hinted = Tile::flags.w_cache == cache_hint::evict_first;

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
    x_from_ = static_cast<const char*>(args.x.data) + std::int64_t{128} * (first_atom + Tile::x_atom(thread, 0)) +
              16 * Tile::x_chunk(thread);
  }

  /// Turns rows of X into offsets. Absent rows are not copied: what stays in their place reaches no row of Y.
  __device__ void locate() noexcept {
    const auto row_chunks = static_cast<std::uint32_t>(params_.args.x.row_stride / 8);
#pragma unroll
    for (int i = 0; i < x_rows; ++i)
      offset_[i] = source_[i] >= 0 ? static_cast<std::uint32_t>(source_[i]) * row_chunks : absent;
  }

  __device__ void copy_w_chunk(std::uint32_t to, const char* from) const noexcept {
    if constexpr (hinted)
      device::copy16_async_hinted(to, from, policy_);
    else
      device::copy16_async(to, from);
  }

  __device__ void copy_w(std::uint32_t to) noexcept {
    constexpr int chunks = Tile::k_atoms * Tile::w_atom_chunks;
    constexpr int whole_rounds = chunks / Tile::w_threads;
#pragma unroll
    for (int i = 0; i < whole_rounds; ++i)
      copy_w_chunk(to + static_cast<unsigned>(16 * Tile::w_threads * i), w_from_ + 16 * Tile::w_threads * i);
    if (whole_rounds < Tile::w_rounds && Tile::w_chunk(thread_, whole_rounds) < chunks)
      copy_w_chunk(to + static_cast<unsigned>(16 * Tile::w_threads * whole_rounds),
                   w_from_ + 16 * Tile::w_threads * whole_rounds);
    w_from_ += Tile::w_group_bytes;
  }

  __device__ void copy_x(std::uint32_t to) noexcept {
#pragma unroll
    for (int i = 0; i < x_rows; ++i) {
      if (offset_[i] == absent) continue;
      const char* const from = x_from_ + std::uint64_t{offset_[i]} * 16;
#pragma unroll
      for (int round = 0; round < Tile::x_rounds; ++round)
        if (Tile::k_atoms % Tile::x_atoms_at_once == 0 || Tile::x_atom(thread_, round) < Tile::k_atoms)
          device::copy16_async(to + x_place(i, round), from + 128 * Tile::x_atoms_at_once * round);
    }
    x_from_ += 128 * Tile::k_atoms;
  }

  /// K of the last step of a tile when it is not a whole one.
  __device__ int k_tail() const noexcept { return static_cast<int>(params_.args.k) % Tile::flags.block_k; }

  /// The last step of a tile whose K is no multiple of block_k: only the K atoms that exist.
  __device__ void copy_last_w(std::uint32_t to) const noexcept {
    const int chunks = (k_tail() + 63) / 64 * Tile::w_atom_chunks;
#pragma unroll 1
    for (int i = 0; Tile::w_chunk(thread_, i) < chunks; ++i)
      copy_w_chunk(to + static_cast<unsigned>(16 * Tile::w_threads * i), w_from_ + 16 * Tile::w_threads * i);
  }

  /// Likewise; half of the last atom may lie behind K and becomes zero (whatever else lay there, times the zeros that W
  /// has, could be NaN).
  __device__ void copy_last_x(std::uint32_t to) const noexcept {
#pragma unroll
    for (int i = 0; i < x_rows; ++i) {
      if (offset_[i] == absent) continue;
      const char* const from = x_from_ + std::uint64_t{offset_[i]} * 16;
#pragma unroll 1
      for (int round = 0; 64 * Tile::x_atom(thread_, round) < k_tail(); ++round) {
        const bool inside = 64 * Tile::x_atom(thread_, round) + 8 * Tile::x_chunk(thread_) < k_tail();
        device::copy16_async(to + x_place(i, round), inside ? from + 128 * Tile::x_atoms_at_once * round : x_from_,
                             inside);
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
  const char* w_from_ = nullptr;
  const char* x_from_ = nullptr;
  std::int32_t source_[x_rows];   // of the next piece: row of X, -1 = absent
  std::uint32_t offset_[x_rows];  // of a row of X, in chunks of 16 bytes
  std::uint64_t policy_ = 0;
};

/// A block.
template <class Tile>
class generic_block {
  static constexpr int atoms = Tile::atoms;
  static constexpr int atom_bytes = atom_of(weight_layout::mma_m16k64).bytes;
  static constexpr int stages = Tile::stages;
  using feed = work_feed<Tile::can_split>;

 public:
  __device__ generic_block(const ogs_params& params, const generic_storage<Tile>& storage, unsigned thread) noexcept
      : params_(params),
        storage_(storage),
        thread_(thread),
        warp_(thread / 32),
        walk_(params),
        feed_(params, walk_.walk),
        copier_(params, storage, thread) {}

  __device__ void run() noexcept {
    find_pieces(2);
    __syncthreads();
    copier_.prepare();
#pragma unroll 1
    for (int stage = 0; stage < stages - 1; ++stage) {
      if (stage > 0 && copier_.near_end()) {
        find_pieces(2);
        __syncthreads();
      }
      copy(stage);
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

  /// A walk that lives as long as the block, or where registers are scarce one for every search.
  struct kept_walk {
    tile_walk walk;
    __device__ explicit kept_walk(const ogs_params& params) noexcept : walk(walk_of<Tile::flags.block_m, Tile::flags.block_n / weight_atom::rows>(params)) {}
    __device__ tile_walk& now(const ogs_params&) noexcept { return walk; }
  };
  struct walk_anew {
    tile_walk walk;
    __device__ explicit walk_anew(const ogs_params& params) noexcept : walk(walk_of<Tile::flags.block_m, Tile::flags.block_n / weight_atom::rows>(params)) {}
    __device__ tile_walk& now(const ogs_params& params) noexcept {
      walk = walk_of<Tile::flags.block_m, Tile::flags.block_n / weight_atom::rows>(params);
      return walk;
    }
  };

  /// The first warp sees to it that `count` pieces are known that have not been begun.
  __device__ void find_pieces(int count) noexcept {
    if (warp_ == 0) {
#pragma unroll 1
      for (; known_ < count; ++known_) {
        const work_piece piece = feed_.next(walk_.now(params_));
        if (thread_ == 0) *storage_.piece((copier_.slot() + known_) % Tile::pieces) = piece;
      }
    }
  }

  __device__ void copy(int stage) noexcept {
    if (copier_.step(stage)) --known_;
  }

  /// The stage to multiply is there, the one before it is free.
  __device__ void await_stage() const noexcept {
    device::wait_copies<stages - 2>();
    __syncthreads();
  }

  /// Picks the narrowest width that holds the rows.
  template <int Width>
  __device__ void widths(int rows) noexcept {
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
  __device__ void multiply() noexcept {
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
      copy(stage_ == 0 ? stages - 1 : stage_ - 1);
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
              params_, piece, {.index = 0, .thread = static_cast<int>(thread_), .barrier = team_barrier}, sum))
        return;
    const std::int32_t n = first_row(piece);
    if constexpr (!early_bias) bias = lane_bias<atoms>(params_.args, piece.expert, n);
    store_atoms(params_, n, bias, storage_.targets() + token, sum);
  }

  /// First of this warp's rows of W.
  __device__ std::int32_t first_row(const work_piece& piece) const noexcept {
    return weight_atom::rows * (piece.first_atom + Tile::first_atom(warp_));
  }

  /// The last warps find out where rows go: the first one finds pieces.
  __device__ int target_row() const noexcept { return Tile::threads - 1 - static_cast<int>(device::hidden(thread_)); }
  __device__ row_target find_target() const noexcept {
    const work_piece piece = *storage_.piece(slot_);
    const int row = target_row();
    row_target target;
    if (row < piece.rows) target = target_of(params_.args, piece.first_row + row);
    return target;
  }
  template <int Width>
  __device__ void keep_target(const row_target& target) const noexcept {
    if (const int row = target_row(); row < Width) storage_.targets()[row] = target;
    if (params_.present != nullptr && storage_.piece(slot_)->first_atom == 0 && target.row >= 0)
      params_.present[target.row] = 1;
  }

  /// The stage's K atoms, at most `left`. Those of a whole stage go together; the last few of K, and those whose scales
  /// cannot be folded, one by one.
  template <int Blocks>
  __device__ void multiply_stage(int left, int token, float (&sum)[atoms][Blocks][4]) const noexcept {
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
  __device__ bool load(lane_words (&words)[atoms], const std::byte* w) const noexcept {
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
  std::conditional_t<Tile::scarce, walk_anew, kept_walk> walk_;
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
    extern __shared__ __align__(1024) std::byte shared[];
    prefetch_rows(params);
    device::let_next_grid_start();
    device::wait_for_previous_grid();
    generic_block<Tile>(params, {shared}, threadIdx.x).run();
  }
}

}  // namespace tilefit::inline v0::kernels
