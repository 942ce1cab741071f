// L5: matmul_ogs for Hopper (sm_90a): copying warps and multiplying warpgroups, a persistent grid.
// Knows: the ring of stages, who fills and who empties it, how sums of a split tile meet.
// Must not know: which tile is good, streams, how arguments are checked.
//
// Y^T = W * X^T: W widened in registers is the left operand, tokens are the columns, as many as the tile really has
// (rounded up to a width that exists). Two warpgroups of consumers take 64 * Groups rows of W each; they multiply with
// mma.sync where tokens are few and with wgmma where they are many. Producers fill the stages: one bulk copy for 64
// rows of W, cp.async for rows of X wherever they lie. The first stage of a piece of work carries its description.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../arch_table.hpp"
#include "../detail/config.hpp"
#include "../device/cuda/barrier.cuh"
#include "../device/cuda/copy.cuh"
#include "../device/cuda/lanes.hpp"
#include "../device/cuda/launch_control.cuh"
#include "../device/cuda/wgmma.cuh"
#include "../opt_flags.hpp"
#include "../smem_plan.hpp"
#include "../weight_layout.hpp"
#include "epilogue.cuh"
#include "mma_step.cuh"
#include "ogs_params.hpp"
#include "schedule.hpp"
#include "tile_walk.cuh"
#include "widen.cuh"

namespace tilefit::inline v0::kernels {

/// Geometry that follows from flags: 8 or 16 consuming warps, then one that copies W and those that copy X: one, or
/// beside wgmma three, which makes a warpgroup that can give registers to the consumers.
template <opt_flags Flags, dtype X, bool Wgmma = (Flags.block_m >= 64)>
struct hopper_tile {
  static constexpr opt_flags flags = Flags;
  static constexpr dtype x = X;
  static constexpr bool uses_wgmma = Wgmma;  ///< else mma.sync, which needs fewer instructions where tokens are few
  static constexpr bool can_split = Flags.split_k > 1;
  static constexpr int producer_warps = Wgmma ? 4 : 2;
  static constexpr int x_warps = Wgmma ? 3 : 1;
  static constexpr int consumer_warps = Flags.num_warps - producer_warps;
  static constexpr int registers_of_consumers = Flags.num_warps == 12 ? 216 : 104;  ///< with wgmma
  static constexpr int registers_of_producers = Flags.num_warps == 12 ? 72 : 64;
  static constexpr int groups = consumer_warps / 4;  ///< warpgroups of consumers
  static constexpr int threads = 32 * Flags.num_warps;
  static constexpr int k_atoms = Flags.block_k / 64;                 ///< of a stage
  static constexpr int w_groups = Flags.block_n / 64;                ///< of a slab
  static constexpr int atoms = Flags.block_n / 16 / consumer_warps;  ///< of a warp
  static constexpr int width_step = Flags.block_m <= 32 ? 8 : X == dtype::bf16 ? 16 : Flags.block_m / 4;
  static constexpr int x_atom_bytes = Flags.block_m * 128;                            ///< 64 K of all tokens
  static constexpr int w_atoms_bytes = 4 * atom_of(weight_layout::mma_m16k64).bytes;  ///< 64 K of a group of 64 rows
  static constexpr int w_group_bytes = k_atoms * w_atoms_bytes;
  static constexpr smem_plan plan =
      ogs_smem_plan(arch_v<arch_id::sm_90>, {.x = X, .gather = true, .scatter = true}, Flags)
          .with_stages(Flags.num_stages);
  static constexpr int blocks_per_sm = [] {
    const int fitting = tilefit::blocks_per_sm(arch_v<arch_id::sm_90>, plan.total_bytes(), threads);
    return uses_wgmma ? 1 : detail::min(fitting, 30 / Flags.num_warps);
  }();

  static_assert(Flags.block_m % width_step == 0 && width_step % 8 == 0 && Flags.block_m <= 128);
  static_assert(Flags.block_k % 64 == 0 && Flags.block_n % 64 == 0);
  static_assert(consumer_warps % 4 == 0 && atoms * 16 * consumer_warps == Flags.block_n);
  static_assert(plan.total_bytes() <= arch_v<arch_id::sm_90>.smem_block_bytes);
  static_assert(plan[smem_region::x_values].bytes == k_atoms * x_atom_bytes);
  static_assert(plan[smem_region::w_values].bytes == w_groups * w_group_bytes);
};

/// The block's shared memory, by its plan.
template <class Tile>
struct hopper_storage {
  std::byte* base;

  __device__ std::byte* x(int stage) const noexcept {
    return base + Tile::plan[smem_region::x_values].offset + Tile::plan[smem_region::x_values].bytes * stage;
  }
  __device__ std::byte* w(int stage) const noexcept {
    return base + Tile::plan[smem_region::w_values].offset + Tile::plan[smem_region::w_values].bytes * stage;
  }
  __device__ std::uint32_t full(int stage) const noexcept {
    return device::shared_address(base + Tile::plan[smem_region::barriers].offset) + 8u * static_cast<unsigned>(stage);
  }
  __device__ std::uint32_t empty(int stage) const noexcept { return full(Tile::flags.num_stages + stage); }
  /// A word for each consuming warpgroup.
  __device__ std::uint32_t* last(int group) const noexcept {
    return reinterpret_cast<std::uint32_t*>(base + Tile::plan[smem_region::barriers].offset +
                                            16 * Tile::flags.num_stages) +
           group;
  }
  __device__ work_piece* piece(int stage) const noexcept {
    return reinterpret_cast<work_piece*>(base + Tile::plan[smem_region::work_pieces].offset) + stage;
  }
  /// Targets of the tile's rows: each warpgroup its own, two copies in turn.
  __device__ row_target* targets(int group, int copy) const noexcept {
    return reinterpret_cast<row_target*>(base + Tile::plan[smem_region::row_indx].offset) +
           Tile::flags.block_m * (2 * group + copy);
  }
};

/// Position in the ring of stages.
template <int Stages>
struct ring_place {
  int stage = 0;
  std::uint32_t parity = 0;

  __device__ void advance() noexcept {
    if (++stage == Stages) {
      stage = 0;
      parity ^= 1u;
    }
  }
};

/// A warp that copies. Both kinds walk the same pieces of work.
template <class Tile>
class hopper_producer {
 public:
  __device__ hopper_producer(const ogs_params& params, const hopper_storage<Tile>& storage) noexcept
      : params_(params),
        storage_(storage),
        lane_(static_cast<int>(threadIdx.x % 32)),
        k_atoms_(static_cast<int>((params.args.k + 63) / 64)) {}

  template <bool CopiesW>
  __device__ void run() noexcept {
    const matmul_args& args = params_.args;
    tile_walk walk(args.expert_offsets, args.experts, static_cast<std::int32_t>(args.m), Tile::flags.block_m,
                   params_.slabs);
    const std::int32_t tiles = walk.total();
    if (Tile::can_split && params_.split_k > 1) {
      // No fewer than four steps to a block, and no more than split_k blocks to a tile.
      const std::int64_t total = std::int64_t{tiles} * params_.steps;
      std::int64_t blocks = detail::min<std::int64_t>(gridDim.x, total / 4);
      blocks = detail::max<std::int64_t>(detail::min(blocks, std::int64_t{tiles} * params_.split_k), 1);
      if (blockIdx.x < blocks && total > 0) {
        const step_run run = run_of(total, blocks, blockIdx.x);
        for (std::int64_t at = run.begin; at < run.end;) {
          work_piece piece = piece_at(at, run.end, total, blocks, params_.steps);
          walk.find(static_cast<std::int32_t>(at / params_.steps), piece);
          copy<CopiesW>(piece);
          at += piece.steps;
        }
      }
    } else {
      for (std::int32_t tile = static_cast<std::int32_t>(blockIdx.x); tile < tiles;
           tile += static_cast<std::int32_t>(gridDim.x)) {
        work_piece piece{.steps = params_.steps};
        walk.find(tile, piece);
        copy<CopiesW>(piece);
      }
    }
    // A stage without bytes, whose piece has no rows: the end.
    await_empty();
    if constexpr (CopiesW) {
      if (lane_ == 0) {
        *storage_.piece(place_.stage) = {};
        device::arrive(storage_.full(place_.stage));
      }
    } else {
      device::arrive_after_copies(storage_.full(place_.stage));
    }
  }

 private:
  __device__ void await_empty() const noexcept { device::wait(storage_.empty(place_.stage), place_.parity ^ 1u); }

  template <bool CopiesW>
  __device__ void copy(const work_piece& piece) noexcept {
    if constexpr (CopiesW)
      copy_w(piece);
    else
      copy_x(piece);
  }

  /// Lane g copies group g of 64 rows; lane 0 also tells what the piece is.
  __device__ void copy_w(const work_piece& piece) noexcept {
    const matmul_args& args = params_.args;
    const int all_groups = static_cast<int>((args.n + 63) / 64);
    const int group = piece.slab * Tile::w_groups + lane_;
    const int groups = detail::min(Tile::w_groups, all_groups - piece.slab * Tile::w_groups);
    const int first_atom = piece.first_step * Tile::k_atoms;
    const auto* from =
        static_cast<const std::byte*>(args.w.data) +
        ((std::int64_t{piece.expert} * all_groups + group) * k_atoms_ + first_atom) * Tile::w_atoms_bytes;
    const std::uint64_t policy =
        Tile::flags.w_cache == cache_hint::evict_first ? device::evict_first_policy() : device::evict_normal_policy();
    int left = k_atoms_ - first_atom;
    for (int step = 0; step < piece.steps; ++step, left -= Tile::k_atoms, from += Tile::w_group_bytes) {
      const std::uint32_t bytes = static_cast<unsigned>(detail::min(Tile::k_atoms, left)) * Tile::w_atoms_bytes;
      await_empty();
      const std::uint32_t full = storage_.full(place_.stage);
      if (lane_ == 0) {
        if (step == 0) *storage_.piece(place_.stage) = piece;
        device::arrive_expecting(full, static_cast<unsigned>(groups) * bytes);
      }
      __syncwarp();
      if (lane_ < groups)
        device::bulk_copy(
            device::shared_address(storage_.w(place_.stage)) + static_cast<unsigned>(lane_ * Tile::w_group_bytes), from,
            bytes, full, policy);
      place_.advance();
    }
  }

  /// A lane copies 16-byte chunk lane % 8 of every 128 bytes of every 4th row, or of every 12th where three warps copy.
  /// Rows that are absent are left as they are: nobody stores what comes of them.
  __device__ void copy_x(const work_piece& piece) noexcept {
    constexpr int rows_at_once = 4 * Tile::x_warps;
    constexpr int most_rows = (Tile::flags.block_m + rows_at_once - 1) / rows_at_once;
    const matmul_args& args = params_.args;
    const int chunk = lane_ % 8;
    const int row0 = lane_ / 8 + 4 * (static_cast<int>(threadIdx.x) / 32 - Tile::consumer_warps - 1);
    std::uint32_t offset[most_rows];  // of a row of X, in chunks of 16 bytes
    std::uint32_t present = 0;
    const char* x =
        static_cast<const char*>(args.x.data) + 16 * chunk + std::int64_t{128} * piece.first_step * Tile::k_atoms;
    const auto row_chunks = static_cast<std::uint32_t>(args.x.row_stride / 8);
#pragma unroll
    for (int i = 0; i < most_rows; ++i) {
      const int row = row0 + i * rows_at_once;
      std::int32_t source = -1;
      if (row < piece.rows) {
        source = piece.first_row + row;
        if (args.gather_indx != nullptr) source = args.gather_indx[source];
      }
      if (source >= 0) present |= 1u << i;
      offset[i] = static_cast<std::uint32_t>(detail::max(source, 0)) * row_chunks;
    }
    // Of rows 4 or 12 apart the swizzle differs in chunk bit 2.
    const std::uint32_t even = device::swizzled_chunk(static_cast<unsigned>(row0), static_cast<unsigned>(chunk));
    const std::uint32_t odd = even ^ 64u;
    int left = static_cast<int>(args.k) - 64 * Tile::k_atoms * piece.first_step - 8 * chunk;
    for (int step = 0; step < piece.steps; ++step, left -= 64 * Tile::k_atoms, x += 128 * Tile::k_atoms) {
      await_empty();
      const std::uint32_t to = device::shared_address(storage_.x(place_.stage));
      if (left > 64 * (Tile::k_atoms - 1)) {
#pragma unroll
        for (int i = 0; i < most_rows; ++i) {
          if ((present >> i & 1u) != 0)
#pragma unroll
            for (int a = 0; a < Tile::k_atoms; ++a)
              device::copy16_async(to + (i % 2 == 0 ? even : odd) +
                                       static_cast<unsigned>(a * Tile::x_atom_bytes + i * rows_at_once * 128),
                                   x + std::uint64_t{offset[i]} * 16 + 128 * a, true);
        }
      } else {
        // The last K: what lies behind it becomes zero, in the K atoms that exist.
#pragma unroll
        for (int i = 0; i < most_rows; ++i) {
          if ((present >> i & 1u) == 0) continue;
          for (int a = 0; a < Tile::k_atoms && 64 * a < left + 8 * chunk; ++a)
            device::copy16_async(
                to + (i % 2 == 0 ? even : odd) + static_cast<unsigned>(a * Tile::x_atom_bytes + i * rows_at_once * 128),
                x + std::uint64_t{offset[i]} * 16 + (left > 64 * a ? 128 * a : 0), left > 64 * a);
        }
      }
      device::arrive_after_copies(storage_.full(place_.stage));
      place_.advance();
    }
  }

  const ogs_params& params_;
  hopper_storage<Tile> storage_;
  int lane_;
  int k_atoms_;
  ring_place<Tile::flags.num_stages> place_;
};

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
      if (piece.blocks > 1 && !meet(piece, sum)) return;
    store_atoms(params_, first_n, bias, targets, sum);
    if (params_.present != nullptr && piece.slab == 0 && group_ == 0 && target.row >= 0)
      params_.present[target.row] = 1;
  }

  /// K atoms that are loaded and judged together.
  static constexpr int at_once = detail::min(Tile::k_atoms, Tile::flags.block_m < 32 ? 4 : 1);

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

  template <int Width>
  __device__ void multiply_wgmma_atom(int stage, int k_atom, std::uint64_t descriptor,
                                      std::uint32_t (&a)[buffers][2][4], float (&sum)[atoms][Width / 2],
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
        const int buffer = (half * atoms + m) % buffers;
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
        device::wgmma_wait<buffers - 1>();
        if (buffers == 2 && half == 0 && m == 0) {
          if (before >= 0 && before != stage) release(before);
          before = stage;
        }
      }
    }
  }

  /// Brings the sums of a shared tile together. True for the warpgroup that came last: its `sum` is then the whole,
  /// added up in the order of K whoever came last.
  template <int Blocks>
  __device__ bool meet(const work_piece& piece, float (&sum)[atoms][Blocks][4]) noexcept {
    constexpr int slot_floats = Tile::flags.block_m * Tile::flags.block_n;
    const auto part = [&](int block, int slot) {
      return params_.partials + (std::int64_t{2} * block + slot) * slot_floats + group_ * (slot_floats / Tile::groups) +
             4 * thread_;
    };
    // A block has at most one piece that starts in the middle of a tile (slot 0) and one that starts with it (slot 1).
    float* const mine = part(static_cast<int>(blockIdx.x), piece.first_step == 0 ? 1 : 0);
#pragma unroll
    for (int m = 0; m < atoms; ++m)
#pragma unroll
      for (int j = 0; j < Blocks; ++j)
        *reinterpret_cast<float4*>(mine + (m * Blocks + j) * 4 * group_threads) =
            make_float4(sum[m][j][0], sum[m][j][1], sum[m][j][2], sum[m][j][3]);
    // One thread's release covers what the barrier made it see, and its acquire what others read behind the next one.
    device::named_barrier(group_barrier + group_, group_threads);
    auto* const last = reinterpret_cast<volatile std::uint32_t*>(storage_.last(group_));
    if (thread_ == 0)
      *last = device::count_arrival(params_.arrivals + Tile::groups * piece.first_block + group_,
                                    static_cast<unsigned>(piece.blocks - 1));
    device::named_barrier(group_barrier + group_, group_threads);
    if (*last + 1 != static_cast<unsigned>(piece.blocks)) return false;
    for (int b = 0; b < piece.blocks; ++b) {
      const float* const other = part(piece.first_block + b, b == 0 ? 1 : 0);
#pragma unroll
      for (int m = 0; m < atoms; ++m)
#pragma unroll
        for (int j = 0; j < Blocks; ++j) {
          const float4 value = __ldcg(reinterpret_cast<const float4*>(other + (m * Blocks + j) * 4 * group_threads));
          sum[m][j][0] = b == 0 ? value.x : sum[m][j][0] + value.x;
          sum[m][j][1] = b == 0 ? value.y : sum[m][j][1] + value.y;
          sum[m][j][2] = b == 0 ? value.z : sum[m][j][2] + value.z;
          sum[m][j][3] = b == 0 ? value.w : sum[m][j][3] + value.w;
        }
    }
    return true;
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

/// Brings indices and rows of X into L2 before it is known who needs them, when they are few: a line to a thread. They
/// would otherwise be waited for one after the other.
__device__ inline void prefetch_rows(const ogs_params& params) noexcept {
  const matmul_args& args = params.args;
  const std::int64_t line = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const auto touch = [line](const void* array, std::int64_t bytes) {
    if (array != nullptr && 128 * line < bytes) device::prefetch(static_cast<const std::byte*>(array) + 128 * line);
  };
  touch(args.gather_indx, 4 * args.m);
  touch(args.scatter_indx, 4 * args.m);
  touch(args.gammas, 4 * args.m);
  touch(args.x.data, 2 * args.x.rows * args.x.row_stride);
}

/// One block. Dynamic shared memory: Tile::plan.total_bytes(), grid: any number of blocks that run at the same time.
template <class Tile>
__global__ void __launch_bounds__(Tile::threads, Tile::blocks_per_sm)
    matmul_ogs_hopper(const __grid_constant__ ogs_params params) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) std::byte shared[];
  const hopper_storage<Tile> storage{shared};
  const unsigned warp = threadIdx.x / 32;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < Tile::flags.num_stages; ++stage) {
      device::init_barrier(storage.full(stage), 32 * Tile::x_warps + 1);
      device::init_barrier(storage.empty(stage), Tile::consumer_warps);
    }
    device::publish_barriers();
  }
  prefetch_rows(params);
  __syncthreads();
  device::let_next_grid_start();
  device::wait_for_previous_grid();
  if (warp >= Tile::consumer_warps) {
    if constexpr (Tile::uses_wgmma) device::shrink_registers<Tile::registers_of_producers>();
    if (warp == Tile::consumer_warps)
      hopper_producer<Tile>(params, storage).template run<true>();
    else
      hopper_producer<Tile>(params, storage).template run<false>();
  } else {
    if constexpr (Tile::uses_wgmma) device::grow_registers<Tile::registers_of_consumers>();
    hopper_consumer<Tile>(params, storage).run();
  }
#endif
}

}  // namespace tilefit::inline v0::kernels
