// L5: geometry of a tile of the matmul_ogs kernels for AMD's matrix cores, in numbers that a CPU can check.
// Knows: how waves share a tile, which bytes of W and X a lane multiplies, where X lies in LDS.
// Must not know: instructions, pointers, the order of work.
//
// Y^T = W * X^T: W is the left operand, so four neighbouring columns of Y meet in a lane's registers. A lane's 16 bytes
// of W are 32 K of a row; it multiplies them in the order that they have, and takes X in the same order. They are a
// "unit" of K for the wave: 128 K of 16 rows, or 64 K of 32 rows.
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

/// Few rows (waves_share_k): tiles of 16 tokens; every wave has all block_n rows of W and each num_warps-th piece of
/// 128 K; X goes from memory to registers; num_stages pieces are under way.
/// More rows: tiles of 32 tokens; every wave has 64 rows of W, all tokens and all K; X lies in LDS, in rows of 256
/// bytes for block_k of K, num_stages of them. `Entry` is a type with the members `flags` (opt_flags), `x` (dtype) and
/// `arch` (arch_id).
template <class Entry>
struct mfma_tile {
  static constexpr opt_flags flags = Entry::flags;
  static constexpr dtype x = Entry::x;
  static constexpr arch_id arch = Entry::arch;
  static constexpr bool few_rows = waves_share_k(flags);
  static constexpr bool can_split = flags.split_k > 1;  ///< several blocks to a tile, each with some of K
  static constexpr int waves = flags.num_warps;
  static constexpr int threads = 64 * waves;
  static constexpr int stages = flags.num_stages;
  static constexpr int tile = few_rows ? 16 : 32;
  static constexpr int token_tiles = flags.block_m / tile;
  static constexpr int row_tiles = few_rows ? flags.block_n / 16 : 2;  ///< of a wave
  static constexpr int slab_atoms = flags.block_n / weight_atom::rows;
  static constexpr int unit_k = 2048 / tile;

  // --- W: weight_layout::mfma_m16k128 ---

  static constexpr int atom_bytes = atom_of(weight_layout::mfma_m16k128).bytes;
  static constexpr int atom_value_bytes = atom_of(weight_layout::mfma_m16k128).value_bytes;
  static constexpr int group_step_bytes = 4 * atom_bytes;  ///< 64 rows x 128 K
  /// Byte of a lane's values and of their scale, from the unit's first atom of 128 K; the tile's other atoms follow.
  TILEFIT_HD static constexpr unsigned w_values_byte(unsigned lane) noexcept {
    return tile == 16 ? 16 * lane : lane / 16 % 2 * atom_bytes + 16 * (lane % 16) + 256 * (lane / 32);
  }
  TILEFIT_HD static constexpr unsigned w_scale_byte(unsigned lane) noexcept {
    return atom_value_bytes + (tile == 16 ? lane : lane / 16 % 2 * atom_bytes + lane % 16 + 16 * (lane / 32));
  }
  static constexpr int row_tile_bytes = tile / 16 * atom_bytes;  ///< from one row tile to the next of a group
  static constexpr int units_of_atom = 128 / unit_k;
  /// From one unit to the next within an atom.
  static constexpr int unit_values_bytes = atom_value_bytes / 2, unit_scales_bytes = 32;

  // --- X ---

  static constexpr int x_bits = bits_of(x);
  static constexpr int x_chunks = x_bits / 4;               ///< of 16 bytes, that a lane multiplies with 32 weights
  static constexpr int x_unit_bytes = unit_k * x_bits / 8;  ///< of a row
  /// Byte of chunk `chunk` of a lane group within its row of a unit: the K of FP4 and of 16-bit elements are those of
  /// the weights, FP8 lies as v_mfma_scale has it (device/hip/lanes.hpp, mfma_scaled_k).
  TILEFIT_HD static constexpr unsigned x_chunk_byte(unsigned group, unsigned chunk) noexcept {
    return x_bits == 8 ? 16 * group + x_unit_bytes / 2 * chunk : x_chunks * 16 * group + 16 * chunk;
  }
  /// K of a chunk's first element within the unit.
  TILEFIT_HD static constexpr unsigned x_chunk_k(unsigned group, unsigned chunk) noexcept {
    return x_chunk_byte(group, chunk) * 8 / x_bits;
  }

  static constexpr int x_row_bytes = 256;
  static constexpr int x_stage_bytes = flags.block_m * x_row_bytes;
  static constexpr int step_units = flags.block_k / unit_k;
  /// A wave's LDS-direct loads of a stage: each brings four rows, lane l 16 bytes of row x_copied_row(wave, i, l).
  static constexpr int x_copies = flags.block_m / 4 / waves;
  TILEFIT_HD static constexpr unsigned x_copied_row(unsigned wave, unsigned copy, unsigned lane) noexcept {
    return 4 * (x_copies * wave + copy) + lane / 16;
  }

  // --- block scales of X: words in LDS, [block of K][row], for each step ---

  static constexpr bool scaled_blocks = has_block_scales(x);
  static constexpr int step_blocks = flags.block_k / 32;
  static constexpr int scale_stage_bytes = scaled_blocks ? 4 * flags.block_m * step_blocks : 4;
  /// A wave's LDS-direct loads of a stage, each of 64 words: rows scale_copied_row(i) + lane of block
  /// scale_copied_block(wave, i), to word scale_copied_word(wave, i) + lane.
  static constexpr int scale_copies = flags.block_m * step_blocks / 64 / waves;
  static constexpr int scale_parts = flags.block_m >= 64 ? flags.block_m / 64 : 1;  ///< of 64 rows
  TILEFIT_HD static constexpr unsigned scale_copied_row(unsigned copy) noexcept { return copy % scale_parts * 64; }
  TILEFIT_HD static constexpr unsigned scale_copied_block(unsigned wave, unsigned copy) noexcept {
    return wave * (scale_copies / scale_parts) + copy / scale_parts;
  }
  TILEFIT_HD static constexpr unsigned scale_copied_word(unsigned wave, unsigned copy) noexcept {
    return 64 * (scale_copies * wave + copy);
  }

  // --- what fits ---

  static constexpr smem_plan plan =
      mfma_smem_plan({.x = x, .gather = true, .scatter = true}, flags).with_stages(few_rows ? 1 : stages);
  static constexpr int sums = row_tiles * token_tiles * tile * tile / 64;  ///< registers of a lane
  /// Waves of a SIMD that registers are left for: as many as there are blocks with room in LDS, but no more than leave
  /// a lane registers for its sums and for what is under way.
  static constexpr int tiles_of_three_waves = arch_v<arch>.features.has(feature::fp4_convert) ? 4 : 2;
  static constexpr int wished_waves = few_rows && row_tiles * token_tiles <= tiles_of_three_waves ? 3 : 2;
  static constexpr int waves_per_simd =
      detail::min(wished_waves, blocks_per_sm(arch_v<arch>, plan.total_bytes(), threads));

  /// Bytes of W that the blocks of a CU have under way, where waves share K.
  static constexpr int bytes_in_flight = waves_per_simd * waves * stages * row_tiles * atom_bytes;

  static constexpr bool lds_direct = arch_v<arch>.features.has(feature::lds_direct_load);
  static constexpr bool scaled = x_bits <= 8;  ///< multiplied by v_mfma_scale, W as it is

  static_assert(waves == 4 && flags.block_m % tile == 0 && (few_rows || !can_split));
  static_assert(few_rows ? flags.block_k == 128 * waves && (flags.block_n == 32 || flags.block_n == 64)
                         : flags.block_n == 64 * waves && flags.block_k * x_bits == 8 * x_row_bytes && stages == 2);
  static_assert(few_rows || plan.stage_bytes == x_stage_bytes + (scaled_blocks ? scale_stage_bytes : 0));
  static_assert(few_rows || !scaled_blocks || scale_copies % scale_parts == 0);
  static_assert(!scaled || arch_v<arch>.features.has(feature::mfma_scale));
  static_assert(plan.total_bytes() <= arch_v<arch>.smem_block_bytes);
};

}  // namespace tilefit::inline v0::kernels
