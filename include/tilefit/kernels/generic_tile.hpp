// L5: geometry of a tile of the generic matmul_ogs kernel, in numbers that a CPU can check.
// Knows: how warps share the tile, how threads share the copying, where things lie in a stage and in shared memory.
// Must not know: instructions, pointers, the order of work.
//
// All warps copy and all warps multiply. A stage holds X as [k_atoms][block_m] rows of 128 bytes with the 128-byte
// swizzle, and W as [w_groups][k_atoms][4 atoms]: for each group of 64 rows one contiguous piece of the packed weights.
#pragma once

#include <cstdint>

#include "../arch_table.hpp"
#include "../detail/config.hpp"
#include "../detail/math.hpp"
#include "../dtype.hpp"
#include "../opt_flags.hpp"
#include "../smem_plan.hpp"
#include "../weight_layout.hpp"

namespace tilefit::inline v0::kernels {

/// block_m tokens x block_n rows of W, 4 or 8 warps. Warps stand side by side along W; with many tokens, two of them
/// share rows of W and split the tokens, so that a warp multiplies about as many rows as tokens.
/// `Entry` is a type with the members `flags` (opt_flags), `x` (dtype) and `on_hopper` (bool: code for sm_90a has it).
template <class Entry>
struct generic_tile {
  static constexpr opt_flags flags = Entry::flags;
  static constexpr dtype x = Entry::x;
  static constexpr bool on_hopper = Entry::on_hopper;
  static constexpr bool can_split = flags.split_k > 1;
  static constexpr bool stores_narrow = stores_narrow_y(flags);
  static constexpr int groups = 1;  ///< that bring their sums to a meeting
  static constexpr int threads = 32 * flags.num_warps;
  static constexpr int stages = flags.num_stages;
  static constexpr int pieces = stages + 2;            ///< of work that are known at a time
  static constexpr int k_atoms = flags.block_k / 64;   ///< of a stage
  static constexpr int w_groups = flags.block_n / 64;  ///< of a slab
  static constexpr int token_warps =
      flags.block_m >= 128 || (flags.block_m >= 64 && flags.block_n / flags.num_warps < 32) ? 2 : 1;
  static constexpr int row_warps = flags.num_warps / token_warps;
  static constexpr int slab_atoms = flags.block_n / 16;
  static constexpr int atoms = slab_atoms / row_warps;  ///< of a warp
  /// Tiles with fewer tokens compute the next multiple of this: quarters of block_m as far as warps can share them.
  static constexpr int width_step = flags.block_m < 32 ? 8 : flags.block_m / 4;

  static constexpr int x_atom_bytes = flags.block_m * 128;                            ///< 64 K of all tokens
  static constexpr int w_atoms_bytes = 4 * atom_of(weight_layout::mma_m16k64).bytes;  ///< 64 K of a group of 64 rows
  static constexpr int w_group_bytes = k_atoms * w_atoms_bytes;

  /// The plan is the same for every architecture that this kernel serves; budgets differ.
  static constexpr smem_plan plan =
      ogs_smem_plan(arch_v<arch_id::sm_80>, {.x = x, .gather = true, .scatter = true}, flags).with_stages(stages);
  /// With block scales in Y; everything else is where it is without.
  static constexpr smem_plan plan_of_blocks =
      ogs_smem_plan(arch_v<arch_id::sm_80>, {.x = x, .y = dtype::mxfp8, .gather = true, .scatter = true}, flags)
          .with_stages(stages);

  // --- who copies what ---

  static constexpr int w_threads = threads / w_groups;  ///< that copy the same group
  static constexpr int w_atom_chunks = w_atoms_bytes / 16;
  static constexpr int w_rounds = (k_atoms * w_atom_chunks + w_threads - 1) / w_threads;
  /// A thread copies 16-byte chunks w_chunk(thread, 0 .. w_rounds - 1) of its group, as far as there are so many.
  TILEFIT_HD static constexpr int w_group(unsigned thread) noexcept { return static_cast<int>(thread / w_threads); }
  TILEFIT_HD static constexpr int w_chunk(unsigned thread, int round) noexcept {
    return static_cast<int>(thread % w_threads) + round * w_threads;
  }

  static constexpr int x_rows_at_once = detail::min(flags.block_m, threads / 8);
  static constexpr int x_atoms_at_once = threads / 8 / x_rows_at_once;
  static constexpr int x_rows = flags.block_m / x_rows_at_once;  ///< that a thread copies
  static constexpr int x_rounds = (k_atoms + x_atoms_at_once - 1) / x_atoms_at_once;
  /// A thread copies 16-byte chunk x_chunk(thread) of 128 bytes of its rows x_row(thread, 0 .. x_rows - 1), for
  /// K atoms x_atom(thread, 0 .. x_rounds - 1), as far as there are so many.
  TILEFIT_HD static constexpr int x_chunk(unsigned thread) noexcept { return static_cast<int>(thread % 8); }
  TILEFIT_HD static constexpr int x_row(unsigned thread, int i) noexcept {
    return static_cast<int>(thread / 8 % x_rows_at_once) + i * x_rows_at_once;
  }
  TILEFIT_HD static constexpr int x_atom(unsigned thread, int round) noexcept {
    return static_cast<int>(thread / 8 / x_rows_at_once) + round * x_atoms_at_once;
  }

  // --- who multiplies what ---

  /// First of a warp's `atoms` atoms of 16 rows. All of them are of one group.
  TILEFIT_HD static constexpr int first_atom(unsigned warp) noexcept {
    return static_cast<int>(warp % row_warps) * atoms;
  }
  /// First of a warp's width / token_warps tokens.
  TILEFIT_HD static constexpr int first_token(unsigned warp, int width) noexcept {
    return static_cast<int>(warp / row_warps) * (width / token_warps);
  }
  /// Byte of atom `atom` of the slab at the first K of a stage.
  TILEFIT_HD static constexpr int atom_byte(int atom) noexcept {
    return atom / 4 * w_group_bytes + atom % 4 * atom_of(weight_layout::mma_m16k64).bytes;
  }

  // --- what fits ---

  /// True where one block has the shared memory that the tile takes.
  static constexpr bool fits(const arch_traits& arch) noexcept {
    return plan.total_bytes() <= arch.smem_block_bytes && threads <= arch.threads_per_block;
  }
  static constexpr int sums = flags.block_m * flags.block_n / threads;  ///< of a thread
  /// Registers that a thread needs, about: sums, X of 32 K, packed W of a stage, and what goes around them.
  static constexpr int registers = detail::min(255, sums + flags.block_m / token_warps / 2 + 5 * atoms * k_atoms + 72);
  /// Blocks that the compiler leaves registers for: as many as the largest SM has shared memory for.
  static constexpr int blocks_per_sm = [] {
    constexpr arch_traits largest = arch_v<arch_id::sm_90>;
    const int fitting = tilefit::blocks_per_sm(largest, plan.total_bytes(), threads);
    const int allocated = static_cast<int>(detail::align_up(registers, 8)) * threads;  // CUDA: in units of 256 a warp
    return detail::max(1, detail::min(fitting, largest.regs_per_sm / allocated));
  }();

  static_assert(flags.num_warps == 4 || flags.num_warps == 8);
  static_assert(flags.block_n % 64 == 0 && flags.num_warps % w_groups == 0 && flags.block_k % 64 == 0);
  static_assert(row_warps * atoms * 16 == flags.block_n && 4 % atoms == 0);
  static_assert(flags.block_m <= threads && flags.block_m % x_rows_at_once == 0 && x_rows_at_once % 8 == 0);
  static_assert(flags.block_m % width_step == 0 && width_step % (8 * token_warps) == 0);
  static_assert(stages >= 2 && fits(arch_v<arch_id::sm_80>));
  static_assert(plan_of_blocks[smem_region::y_scales].offset == plan.total_bytes());
  static_assert(plan[smem_region::x_values].bytes == k_atoms * x_atom_bytes);
  static_assert(plan[smem_region::w_values].bytes == w_groups * w_group_bytes);
};

}  // namespace tilefit::inline v0::kernels
