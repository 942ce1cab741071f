// L5: the warps of the Hopper kernel that copy.
// Knows: the pieces of work, where rows of X and groups of W lie in memory and belong in a stage.
// Must not know: what is done with them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../detail/math.hpp"
#include "../device/cuda/barrier.cuh"
#include "../device/cuda/compiler.cuh"
#include "../device/cuda/copy.cuh"
#include "../device/cuda/lanes.hpp"
#include "hopper_tile.cuh"
#include "ogs_params.hpp"
#include "schedule.hpp"
#include "ticket_walk.cuh"
#include "tile_walk.cuh"

namespace tilefit::inline v0::kernels {

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
    if (Tile::can_split && params_.split_k > 1)
      copy_runs<CopiesW>();
    else
      copy_tickets<CopiesW>();
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
  static constexpr int producer_barrier = 8;  // behind those of the consumers

  __device__ void await_empty() const noexcept { device::wait(storage_.empty(place_.stage), place_.parity ^ 1u); }

  /// An equal run of the steps of all tiles.
  template <bool CopiesW>
  __device__ void copy_runs() noexcept {
    const matmul_args& args = params_.args;
    tile_walk walk(args.expert_offsets, args.experts, static_cast<std::int32_t>(args.m), Tile::flags.block_m,
                   params_.atoms, Tile::slab_atoms);
    const std::int32_t tiles = walk.total();
    const std::int64_t total = std::int64_t{tiles} * params_.steps;
    const std::int64_t blocks = sharing_blocks(tiles, params_.steps, params_.split_k, gridDim.x);
    if (blockIdx.x >= blocks || total == 0) return;
    const step_run run = run_of(total, blocks, blockIdx.x);
    for (std::int64_t at = run.begin; at < run.end;) {
      work_piece piece = piece_at(at, run.end, total, blocks, params_.steps);
      walk.find(static_cast<std::int32_t>(at / params_.steps), piece);
      copy<CopiesW>(piece);
      at += piece.steps;
    }
  }

  /// Pieces by ticket: the first is the block's number, the warp that copies W draws the others, each while the one
  /// before is copied. Without a counter to draw from, every block takes its turn.
  template <bool CopiesW>
  __device__ void copy_tickets() noexcept {
    ticket_walk<Tile::flags.block_m, Tile::width_step, Tile::slab_atoms, Tile::least_atoms> walk(params_);
    auto ticket = static_cast<std::int32_t>(blockIdx.x);
    work_piece piece{.steps = params_.steps};
    for (int slot = 0; walk.find(ticket, piece); slot ^= 1) {
      // The number is not looked at before the copies are on their way: it takes a microsecond to come.
      std::uint32_t drawn = 0;
      if (CopiesW && params_.tickets != nullptr && lane_ == 0) drawn = device::draw(params_.tickets);
      copy<CopiesW>(piece);
      if (params_.tickets != nullptr) {
        // Two slots in turn: whoever still reads the last one has not come to this barrier.
        if (CopiesW && lane_ == 0) *storage_.ticket(slot) = static_cast<std::int32_t>(drawn);
        device::named_barrier(producer_barrier, 32 * Tile::producer_warps);
        ticket = *storage_.ticket(slot) + static_cast<std::int32_t>(gridDim.x);
      } else {
        ticket += static_cast<std::int32_t>(gridDim.x);
      }
    }
    // The last block to end leaves the counters as it found them.
    if (CopiesW && params_.tickets != nullptr && lane_ == 0 &&
        device::count_arrival(params_.tickets + 1, gridDim.x - 1) == gridDim.x - 1)
      *params_.tickets = 0;
  }

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
    const int lane = device::hidden(lane_);
    const int groups = (piece.atoms + 3) / 4;
    const int first_k_atom = piece.first_step * Tile::k_atoms;
    const std::int64_t all_groups = (args.n + 63) / 64;
    const auto* from =
        static_cast<const std::byte*>(args.w.data) +
        ((piece.expert * all_groups + piece.first_atom / 4 + lane) * k_atoms_ + first_k_atom) * Tile::w_atoms_bytes;
    const std::uint64_t policy =
        Tile::flags.w_cache == cache_hint::evict_first ? device::evict_first_policy() : device::evict_normal_policy();
    int left = k_atoms_ - first_k_atom;
    for (int step = 0; step < piece.steps; ++step, left -= Tile::k_atoms, from += Tile::w_group_bytes) {
      const std::uint32_t bytes = static_cast<unsigned>(detail::min(Tile::k_atoms, left)) * Tile::w_atoms_bytes;
      await_empty();
      const std::uint32_t full = storage_.full(place_.stage);
      if (lane_ == 0) {
        if (step == 0) *storage_.piece(place_.stage) = piece;
        device::arrive_expecting(full, static_cast<unsigned>(groups) * bytes);
      }
      __syncwarp();
      if (lane < groups)
        device::bulk_copy(
            device::shared_address(storage_.w(place_.stage)) + static_cast<unsigned>(lane * Tile::w_group_bytes), from,
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
    const int lane = device::hidden(lane_);
    const int chunk = lane % 8;
    const int row0 = lane / 8 + 4 * (static_cast<int>(threadIdx.x) / 32 - Tile::consumer_warps - 1);
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

}  // namespace tilefit::inline v0::kernels
