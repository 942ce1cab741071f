// L2: the one byte model. What a block keeps in shared memory, where, and how many pipeline stages fit.
// Knows: regions, alignment, stages; one function per family of kernels. Must not know: which tile is good, or why.
// Kernels lay their storage out from the same plan, so "fits" here and "launches" there are one fact.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "arch.hpp"
#include "detail/config.hpp"
#include "detail/math.hpp"
#include "matmul_problem.hpp"
#include "opt_flags.hpp"

namespace tilefit::inline v0 {

/// What a piece of a block's shared memory holds.
enum class smem_region : std::uint8_t {
  x_values,     ///< rows of X
  x_scales,     ///< E8M0 bytes of X
  w_values,     ///< columns of W
  w_scales,     ///< E8M0 bytes of W
  w_padding,    ///< bytes that a packed FP4 operand wastes where the hardware wants one value per byte
  barriers,     ///< mbarriers of the stages
  work_pieces,  ///< what the tile that starts in a stage is
  row_indx,     ///< where the tile's rows go, and their gammas
  bias,         ///< bias of the tile's columns
  accumulator,  ///< output tile on its way to memory
  x_transpose,  ///< second copy of an X tile that is turned around
  y_scales,     ///< E8M0 bytes of Y, on their way between warps
};
inline constexpr int smem_region_count = 12;

constexpr std::string_view name_of(smem_region region) noexcept {
  constexpr std::array<std::string_view, smem_region_count> names = {
      "X values",    "X scales", "W values", "W scales",    "W padding",   "barriers",
      "work pieces", "row indx", "bias",     "accumulator", "X transpose", "Y scales"};
  return names[static_cast<std::size_t>(region)];
}

/// How a region lives through the kernel.
enum class smem_lifetime : std::uint8_t {
  per_stage,  ///< one copy per pipeline stage
  fixed,      ///< one copy beside the stages
  overlaid    ///< one copy in the memory of the stages, once the main loop is through with them
};

/// Size and place of one region.
struct smem_entry {
  std::int64_t bytes = 0;   ///< of one copy, alignment padding included
  std::int64_t offset = 0;  ///< of the first copy
  smem_lifetime lifetime = smem_lifetime::fixed;
};

/// Shared memory of one block. All sizes in bytes.
/// Sizes are known from the start, offsets once `with_stages` has placed the regions: staged ones first, each as
/// [num_stages][bytes], then fixed ones; overlaid ones start at 0.
struct smem_plan {
  smem_entry regions[smem_region_count];  // no initialiser: with one, g++ 12 cannot return a plan as {}
  int num_stages = 0;
  int min_stages = 1;  ///< kernels that cannot run with less
  std::int64_t stage_bytes = 0;
  std::int64_t fixed_bytes = 0;
  std::int64_t overlaid_bytes = 0;

  /// Place and size of a region.
  TILEFIT_HD constexpr const smem_entry& operator[](smem_region region) const noexcept {
    return regions[static_cast<std::size_t>(region)];
  }

  /// Bytes of a block with this many stages.
  TILEFIT_HD constexpr std::int64_t bytes_with(int stages) const noexcept {
    const std::int64_t staged = stage_bytes * stages;
    return fixed_bytes + (staged > overlaid_bytes ? staged : overlaid_bytes);
  }
  /// Bytes of a block.
  TILEFIT_HD constexpr std::int64_t total_bytes() const noexcept { return bytes_with(num_stages); }

  /// The most stages, up to `most`, that fit into `budget` bytes; 0 = not even min_stages.
  TILEFIT_HD constexpr int stages_within(std::int64_t budget, int most) const noexcept {
    const std::int64_t room = budget - fixed_bytes;
    if (room < overlaid_bytes || room < stage_bytes * min_stages || most < min_stages) return 0;
    if (stage_bytes * most <= room) return most;
    if ((room >> 31) != 0) return static_cast<int>(room / stage_bytes);
    return static_cast<int>(static_cast<std::uint32_t>(room) / static_cast<std::uint32_t>(stage_bytes));  // faster
  }

  /// Adds a region of `bytes`, rounded up to `alignment` (a power of two). Zero bytes add nothing.
  TILEFIT_HD TILEFIT_ALWAYS_INLINE constexpr void add(smem_region region, std::int64_t bytes, smem_lifetime lifetime,
                                                      std::int64_t alignment = 1) noexcept {
    const std::int64_t size = (bytes + alignment - 1) & -alignment;
    regions[static_cast<std::size_t>(region)] = {.bytes = size, .offset = 0, .lifetime = lifetime};
    switch (lifetime) {
      case smem_lifetime::per_stage: stage_bytes += size; break;
      case smem_lifetime::fixed: fixed_bytes += size; break;
      case smem_lifetime::overlaid: overlaid_bytes += size; break;
    }
  }

  /// Sets the stage count, and the offsets that follow from it.
  TILEFIT_HD constexpr void place(int stages) noexcept {
    num_stages = stages;
    std::int64_t staged = 0, overlaid = 0;
    std::int64_t fixed = bytes_with(stages) - fixed_bytes;
    for (smem_entry& region : regions) {
      const bool per_stage = region.lifetime == smem_lifetime::per_stage;
      std::int64_t& next = per_stage ? staged : region.lifetime == smem_lifetime::overlaid ? overlaid : fixed;
      region.offset = next;
      next += region.bytes * (per_stage ? stages : 1);
    }
  }
  /// The same for a copy.
  TILEFIT_HD constexpr smem_plan with_stages(int stages) const noexcept {
    smem_plan plan = *this;
    plan.place(stages);
    return plan;
  }
};

/// Blocks that one SM can hold at a time, as far as shared memory, threads and block slots decide it.
TILEFIT_HD constexpr int blocks_per_sm(const arch_traits& arch, std::int64_t smem_bytes, int threads) noexcept {
  const std::int64_t granule = arch.smem_granularity_bytes > 0 ? arch.smem_granularity_bytes : 1;
  const std::int64_t each = detail::align_up(smem_bytes + arch.smem_reserved_bytes, granule);
  std::int64_t blocks = arch.blocks_per_sm;
  if (each > 0 && arch.smem_sm_bytes / each < blocks) blocks = arch.smem_sm_bytes / each;
  if (threads > 0 && arch.threads_per_sm / threads < blocks) blocks = arch.threads_per_sm / threads;
  return static_cast<int>(blocks);
}

/// Bytes of `count` elements, rounded up.
TILEFIT_HD TILEFIT_ALWAYS_INLINE constexpr std::int64_t bytes_of(dtype type, std::int64_t count) noexcept {
  return (count * bits_of(type) + 7) / 8;
}

/// Tiles of AMD's matrix kernels in which the waves of a block share K, not columns: those for few rows.
TILEFIT_HD constexpr bool waves_share_k(const opt_flags& flags) noexcept { return flags.block_m <= 32; }

/// CUDA tiles whose kernels store Y in FP8, MXFP8 and MXFP4: those whose sums leave registers for it.
TILEFIT_HD constexpr bool stores_narrow_y(const opt_flags& flags) noexcept { return flags.block_m <= 64; }

/// LDS of the kernels for AMD's matrix cores, whose W is MXFP4: it goes from memory to registers, and so does X where
/// waves share K. There their sums meet in LDS; elsewhere it holds X, in rows of 256 bytes, and a word for each block
/// scale of X, as LDS-direct loads of bytes leave them.
TILEFIT_HD TILEFIT_ALWAYS_INLINE constexpr smem_plan mfma_smem_plan(const matmul_formats& formats,
                                                                    const opt_flags& flags) noexcept {
  const std::int64_t m = flags.block_m, n = flags.block_n, k = flags.block_k;
  using enum smem_lifetime;
  smem_plan plan;
  if (waves_share_k(flags)) {
    plan.add(smem_region::accumulator, 4 * m * n * flags.num_warps, fixed, 128);
  } else {
    plan.add(smem_region::x_values, bytes_of(formats.x, m * k), per_stage, 128);
    if (has_block_scales(formats.x))
      plan.add(smem_region::x_scales, 4 * detail::div_pow2(m * k, formats.scale_block), per_stage, 128);
    plan.min_stages = 2;
  }
  return plan;
}

/// Bytes of tilefit's own kernels (kernels/): FP4 stays packed and is widened in registers, E8M0 scales lie in the same
/// atoms as their values (weight_layout.hpp: 17 bytes for 32 weights), results go from registers to Y.
/// Alignment: 1,024 B for an operand that wgmma reads with the 128-byte swizzle (PTX ISA, "Shared memory matrix
/// layout"), 128 B for everything else that a bulk copy or a 16-byte load per lane touches.
TILEFIT_HD TILEFIT_ALWAYS_INLINE constexpr smem_plan ogs_smem_plan(const arch_traits& arch,
                                                                   const matmul_formats& formats,
                                                                   const opt_flags& flags) noexcept {
  if (arch.features.has(feature::mfma) && formats.w == dtype::mxfp4) return mfma_smem_plan(formats, flags);
  const std::int64_t m = flags.block_m, n = flags.block_n, k = flags.block_k;
  const std::int64_t x_alignment = arch.features.has(feature::wgmma) ? 1024 : 128;
  using enum smem_lifetime;
  smem_plan plan;
  plan.add(smem_region::x_values, bytes_of(formats.x, m * k), per_stage, x_alignment);
  if (has_block_scales(formats.x))
    plan.add(smem_region::x_scales, detail::div_pow2(m * k, formats.scale_block), per_stage, 128);
  const std::int64_t w_scales = has_block_scales(formats.w) ? detail::div_pow2(n * k, formats.scale_block) : 0;
  plan.add(smem_region::w_values, bytes_of(formats.w, n * k) + w_scales, per_stage, 128);
  if (arch.features.has(feature::wgmma)) {
    // A full and an empty mbarrier of 8 B for each stage; the number of the next piece, twice in turn.
    plan.add(smem_region::barriers, 16 * flags.num_stages + 8, fixed, 128);
    plan.add(smem_region::work_pieces, 32 * flags.num_stages, fixed, 128);
    // Row and gamma, 8 B, for each group of four warps, twice in turn: a tile's are written while the last one's are
    // read.
    plan.add(smem_region::row_indx, 16 * m * (flags.num_warps / 4), fixed, 128);
  } else {
    // All warps copy and multiply: the piece being multiplied, one that may start in each stage under way, two more.
    plan.add(smem_region::work_pieces, 32 * (flags.num_stages + 2), fixed, 128);
    plan.add(smem_region::row_indx, 8 * m, fixed, 128);
  }
  // A byte for each row and 16 columns of W.
  if (has_block_scales(formats.y)) plan.add(smem_region::y_scales, detail::div_pow2(m * n, 16), fixed, 128);
  return plan;
}

/// Release of Triton's `matmul_ogs` whose arithmetic is meant.
enum class triton_release : std::uint8_t { v3_4_0, v2025_12 };

/// Bytes that Triton's `matmul_ogs` chooser counts for an NVIDIA tile.
/// Per stage: X, W (counted half a byte per FP4 value in 3.4.0; from 2025-12 widened to 2 B beside 16-bit X; twice that
/// where MX is native, compute capability >= 10, because FP4 is padded), scales, and a barrier when persistent.
/// Beside them, when persistent: (block_m + 4) rows of the accumulator in pieces of block_n / epilogue_subtile columns
/// (whole rows below compute capability 10) at `out_itemsize` bytes; from 2025-12 also a turned copy of X.
TILEFIT_HD constexpr smem_plan triton_nvidia_smem_plan(triton_release release, const arch_traits& arch,
                                                       const matmul_formats& formats, const opt_flags& flags,
                                                       double out_itemsize) noexcept {
  const std::int64_t m = flags.block_m, n = flags.block_n, k = flags.block_k;
  const bool native_mx = arch.compute_capability >= 100;
  const bool widened = release == triton_release::v2025_12 && bits_of(formats.x) == 16;
  const std::int64_t x_bytes = bytes_of(formats.x, m * k);
  const std::int64_t w_bytes = widened ? 2 * n * k : bytes_of(formats.w, n * k);
  using enum smem_lifetime;
  smem_plan plan;
  plan.add(smem_region::x_values, x_bytes, per_stage);
  plan.add(smem_region::w_values, w_bytes, per_stage);
  if (native_mx) plan.add(smem_region::w_padding, w_bytes, per_stage);
  if (flags.is_persistent || native_mx)
    plan.add(smem_region::w_scales, detail::div_pow2(n * k, formats.scale_block), per_stage);
  if (flags.is_persistent) {
    plan.add(smem_region::barriers, 8, per_stage);
    const std::int64_t columns = native_mx && flags.epilogue_subtile > 0 ? n / flags.epilogue_subtile : n;
    const double accumulator = static_cast<double>((m + 4) * columns) * out_itemsize;
    plan.add(smem_region::accumulator, static_cast<std::int64_t>(accumulator), fixed);
    if (release == triton_release::v2025_12 && formats.x_transposed) plan.add(smem_region::x_transpose, x_bytes, fixed);
  }
  return plan;
}

/// Bytes of LDS that a Triton `matmul_ogs` tile takes on AMD, where it always has two stages: X, packed W and its
/// scales in each, nothing else.
TILEFIT_HD constexpr smem_plan triton_amd_smem_plan(const matmul_formats& formats, const opt_flags& flags) noexcept {
  const std::int64_t m = flags.block_m, n = flags.block_n, k = flags.block_k;
  using enum smem_lifetime;
  smem_plan plan;
  plan.add(smem_region::x_values, bytes_of(formats.x, m * k), per_stage);
  plan.add(smem_region::w_values, bytes_of(formats.w, n * k), per_stage);
  plan.add(smem_region::w_scales, detail::div_pow2(n * k, formats.scale_block), per_stage);
  plan.min_stages = 2;
  return plan;
}

}  // namespace tilefit::inline v0
