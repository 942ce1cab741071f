// L3: tilefit's own kernels as a policy: which tiles each architecture has for each format of X.
// Knows: the catalogue.
// Must not know: how long a tile takes (cost_model.hpp) or what it keeps where (smem_plan.hpp).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "arch.hpp"
#include "detail/math.hpp"
#include "kernel_policy.hpp"
#include "matmul_problem.hpp"
#include "opt_flags.hpp"
#include "smem_plan.hpp"

namespace tilefit::inline v0 {

namespace detail {

/// Block sizes that are crossed with each other (0 ends a list), and the limits that thin the product out.
struct tile_grid {
  int block_m[7];
  int block_n[4];
  int block_k[5];
  int wave_size;
  int least_warps, most_warps;  ///< the fewest warps that hold the accumulator, between these
  int accumulators;             ///< FP32 registers of a thread that may hold it
  int producer_warps = 0;       ///< warps beside them that only copy
  int xcd_swizzle = 1;
  int most_x_elements = 32'768;  ///< block_m * block_k at most

  /// Warps that hold block_m x block_n FP32 values, or 0 when the most allowed cannot.
  constexpr int warps_for(int m, int n) const noexcept {
    for (int warps = least_warps; warps <= most_warps; warps *= 2)
      if (m * n <= warps * wave_size * accumulators) return warps;
    return 0;
  }

  /// Calls visit(flags) for each tile: as a plain kernel, and as a persistent one with the output in 1 or 2 pieces.
  template <class Visitor>
  constexpr void for_each(Visitor visit) const noexcept {
    for (const int m : block_m)
      for (const int n : block_n)
        for (const int k : block_k) {
          if (m == 0 || n == 0 || k == 0 || m * k > most_x_elements || warps_for(m, n) == 0) continue;
          for (const int persistent_pieces : {0, 1, 2})
            visit(opt_flags{.block_m = m,
                            .block_n = n,
                            .block_k = k,
                            .num_warps = warps_for(m, n) + producer_warps,
                            .num_stages = 8,
                            .group_m = 8,
                            .xcd_swizzle = xcd_swizzle,
                            .split_k = 16,
                            .is_persistent = persistent_pieces > 0,
                            .epilogue_subtile = persistent_pieces > 1 ? persistent_pieces : 1,
                            .w_cache = cache_hint::evict_first});
        }
  }
};

template <tile_grid Grid>
inline constexpr auto tiles_of = [] {
  constexpr std::size_t count = [] {
    std::size_t tiles = 0;
    Grid.for_each([&tiles](const opt_flags&) { ++tiles; });
    return tiles;
  }();
  std::array<opt_flags, count> tiles{};
  std::size_t next = 0;
  Grid.for_each([&](const opt_flags& flags) { tiles[next++] = flags; });
  return tiles;
}();

/// A tile of the CUDA kernels. `stages` is what it is compiled with, `split` the most blocks that share it along K.
constexpr opt_flags cuda_tile(int m, int n, int k, int warps, int stages, int split) noexcept {
  return {.block_m = m,
          .block_n = n,
          .block_k = k,
          .num_warps = warps,
          .num_stages = stages,
          .split_k = split,
          .is_persistent = true,
          .w_cache = cache_hint::evict_first};
}

/// A tile of the kernels for AMD's matrix cores. `stages`: of X in LDS, or pieces of K under way where waves share K;
/// there up to `split` blocks may share it too.
constexpr opt_flags mfma_tile(int m, int n, int k, int stages, int dies, int split = 16) noexcept {
  opt_flags flags{.block_m = m, .block_n = n, .block_k = k, .num_warps = 4, .num_stages = stages, .xcd_swizzle = dies};
  if (waves_share_k(flags)) flags.split_k = split;
  return flags;
}

/// Tiles for X of so many bits: 16 and 32 rows, waves share K; more rows, X in LDS in rows of 256 bytes.
template <int XBits, int Dies, int Split>
inline constexpr std::array mfma_tiles = {
    mfma_tile(16, 32, 512, 3, Dies, Split), mfma_tile(16, 64, 512, 3, Dies, Split),
    mfma_tile(32, 64, 512, 2, Dies, Split), mfma_tile(64, 256, 2048 / XBits, 2, Dies, Split),
    mfma_tile(128, 256, 2048 / XBits, 2, Dies, Split)};

template <int Dies, int Split>
constexpr std::span<const opt_flags> mfma_tiles_for(int x_bits) noexcept {
  return x_bits == 4   ? mfma_tiles<4, Dies, Split>
         : x_bits == 8 ? mfma_tiles<8, Dies, Split>
                       : mfma_tiles<16, Dies, Split>;
}

}  // namespace detail

/// Main loop that serves an architecture and a pair of formats.
enum class ogs_loop : std::uint8_t {
  mma_sync,          ///< SM80 and later: 16-bit X, W widened in registers, mma.sync m16n8k16
  mma_block_scaled,  ///< SM120 family: 8- and 4-bit X against packed FP4
  wgmma,             ///< Hopper: W widened in registers as the A operand, X as the shared-memory operand
  mfma,              ///< CDNA before gfx950: software widening, bf16 MFMA
  mfma_scale,        ///< gfx950: native conversion and MFMA, or scaled MFMA for 8- and 4-bit X
  wmma,              ///< RDNA
};

/// tilefit's own kernels. W stays packed in shared memory; K and N are multiples of 32.
struct ogs_policy {
  /// What explain calls these kernels.
  constexpr std::string_view name() const noexcept { return "tilefit matmul_ogs"; }

  /// Kernels for Hopper (kernels/matmul_ogs_hopper.cuh): mma.sync where an expert has few rows, two blocks to an SM;
  /// wgmma, 16 consuming warps (12 for the tallest) and one block to an SM, elsewhere. On an H200 tiles of 32 and of 96
  /// rows were nowhere much better.
  static constexpr std::array hopper_tiles = {
      detail::cuda_tile(8, 128, 256, 10, 5, 16), detail::cuda_tile(16, 128, 256, 10, 4, 16),
      detail::cuda_tile(64, 256, 256, 20, 3, 1), detail::cuda_tile(128, 256, 128, 20, 4, 1),
      detail::cuda_tile(160, 192, 128, 16, 4, 1)};

  /// Kernels for every chip since Ampere (kernels/matmul_ogs_mma.cuh), in the shared memory that the smallest of them
  /// have: two or three blocks to an SM of 100 KiB. Fourteen more tiles were no more than 9 % faster anywhere (H200,
  /// within SM120's shared memory).
  static constexpr std::array generic_tiles = {detail::cuda_tile(8, 128, 128, 4, 3, 16),
                                               detail::cuda_tile(32, 128, 64, 4, 3, 16),
                                               detail::cuda_tile(64, 128, 64, 4, 3, 1)};

  /// Of CUDA tiles, narrow ones first, those whose kernels store such a Y.
  static constexpr std::span<const opt_flags> storing(std::span<const opt_flags> tiles, dtype y) noexcept {
    std::size_t count = 0;
    while (count < tiles.size() && (bits_of(y) >= 16 || stores_narrow_y(tiles[count]))) ++count;
    return tiles.first(count);
  }

  /// Which main loop the kernels for these formats have.
  static constexpr ogs_loop loop_for(const arch_traits& arch, const matmul_formats& formats) noexcept {
    if (arch.vendor == vendor_id::amd) {
      if (arch.features.has(feature::mfma_scale)) return ogs_loop::mfma_scale;
      return arch.features.has(feature::mfma) ? ogs_loop::mfma : ogs_loop::wmma;
    }
    if (arch.features.has(feature::wgmma)) return ogs_loop::wgmma;
    const bool small_x = bits_of(formats.x) <= 8 && bits_of(formats.w) <= 8;
    return arch.features.has(feature::mma_block_scaled) && small_x ? ogs_loop::mma_block_scaled : ogs_loop::mma_sync;
  }

  /// Kernels for AMD's matrix cores (kernels/matmul_ogs_mfma.cuh, matmul_ogs_mfma_few.cuh).
  /// Y of less than 16 bits is stored once: blocks do not share its tiles along K.
  static constexpr std::span<const opt_flags> mfma_tiles(const arch_traits& arch, dtype x,
                                                         dtype y = dtype::bf16) noexcept {
    const int bits = bits_of(x);
    if (bits_of(y) < 16)
      return arch.xcd_count > 1 ? detail::mfma_tiles_for<8, 1>(bits) : detail::mfma_tiles_for<1, 1>(bits);
    return arch.xcd_count > 1 ? detail::mfma_tiles_for<8, 16>(bits) : detail::mfma_tiles_for<1, 16>(bits);
  }

  /// The fewest columns of W that a tile must have: with block scales of Y all 32 of a block.
  static constexpr int least_block_n(const matmul_formats& formats) noexcept {
    return !has_block_scales(formats.y) ? 1 : formats.act == activation::swiglu ? 64 : 32;
  }

  /// Every tile that there is a kernel for.
  constexpr std::span<const opt_flags> candidates(const arch_traits& arch,
                                                  const matmul_problem& problem) const noexcept {
    switch (loop_for(arch, problem.formats)) {
      case ogs_loop::mma_sync: return storing(generic_tiles, problem.formats.y);
      case ogs_loop::mma_block_scaled: return detail::tiles_of<mma_block_scaled_grid>;
      case ogs_loop::wgmma: return storing(hopper_tiles, problem.formats.y);
      case ogs_loop::mfma:
      case ogs_loop::mfma_scale: {
        // The narrowest tile comes first. It has not all columns of a block of Y where two of W make one.
        const std::span<const opt_flags> tiles = mfma_tiles(arch, problem.formats.x, problem.formats.y);
        return tiles.subspan(tiles.front().block_n < least_block_n(problem.formats) ? 1 : 0);
      }
      case ogs_loop::wmma: return detail::tiles_of<wmma_grid>;
    }
    return {};
  }

  /// Shared memory of a tile, as its kernel lays it out.
  TILEFIT_ALWAYS_INLINE constexpr smem_plan plan(const arch_traits& arch, const matmul_formats& formats,
                                                 const opt_flags& flags) const noexcept {
    return ogs_smem_plan(arch, formats, flags);
  }

  /// What no tile of these kernels can do.
  constexpr refusal check(const arch_traits& arch, const matmul_problem& problem,
                          const opt_flags_constraints& constraints) const noexcept {
    using enum status_code;
    const matmul_formats& formats = problem.formats;
    if (formats.x == dtype::fp32)
      return {unsupported_dtype,
              "number of bits of X",
              bits_of(formats.x),
              relation::at_most,
              16,
              "X is bf16, fp16, e4m3, mxfp8 or mxfp4"};
    if (formats.w != dtype::mxfp4 && formats.w != dtype::bf16 && formats.w != dtype::fp8_e4m3)
      return {unsupported_dtype,
              "number of bits of W",
              bits_of(formats.w),
              relation::exactly,
              4,
              "W is MXFP4, or BF16 or E4M3 without block scales"};
    const ogs_loop loop = loop_for(arch, formats);
    const bool narrow_y = loop != ogs_loop::mma_block_scaled && loop != ogs_loop::wmma;
    if (formats.y == dtype::mxfp4 && !narrow_y)
      return {unsupported_dtype,
              "number of bits of Y",
              bits_of(formats.y),
              relation::at_least,
              8,
              "kernels with wgmma, mma.sync and MFMA store MXFP4"};
    if (formats.scale_block != 32)
      return {unsupported_feature, "scale_block", formats.scale_block, relation::exactly, 32};
    if (formats.x_transposed)
      return {unsupported_feature, "x_transposed", 1, relation::exactly, 0, "the kernels read rows of X"};
    if (formats.accumulate && bits_of(formats.y) < 16)
      return {unsupported_feature, "number of bits of Y", bits_of(formats.y), relation::at_least, 16, "Y is added to"};
    if (problem.n % 32 != 0) return {unsupported_feature, "n", problem.n, relation::multiple_of, 32};
    if (problem.k % 32 != 0) return {unsupported_feature, "k", problem.k, relation::multiple_of, 32};
    if (const int least = least_block_n(formats); narrow_y && least > 1) {
      if (problem.n % least != 0)
        return {unsupported_feature, "n", problem.n, relation::multiple_of, least, "a scale of Y is for 32 columns"};
      if (constraints.strict.value_or(false) && constraints.block_n.value_or(least) < least)
        return {constraint_refused, "block_n", *constraints.block_n,
                relation::at_least, least,     "a scale of Y is for 32 columns of a tile, half of W's behind SwiGLU"};
    }
    if (arch.bf16_gflops == 0)
      return {unsupported_dtype,
              "BF16 rate of the architecture",
              0,
              relation::at_least,
              1,
              "it has no matrix instruction that these kernels use"};
    return {};
  }

  /// mma.sync issues from the warps that widen, so the two add up.
  constexpr math_path math(const arch_traits& arch, const matmul_formats& formats) const noexcept {
    math_path path = default_math_path(arch, formats);
    const ogs_loop loop = loop_for(arch, formats);
    path.overlapped = loop != ogs_loop::mma_sync && loop != ogs_loop::mma_block_scaled && loop != ogs_loop::wmma;
    if (loop == ogs_loop::wgmma && bits_of(formats.w) == 4) {
      // Fitted to the times of every tile at 64 matmuls of gpt-oss-20b and 120b on an H200 (bench/results, 2026-11-21):
      // a pass over the weights is not faster than 34 of them a cycle and SM in the wgmma loop, the latency of a warp's
      // 16 columns decides and not their number, and mma.sync reaches three fifths of wgmma's rate.
      path.row_step = 8;
      path.widen_slots = 60;
      path.widen_columns = 256;
      path.k_atom = 64;
      path.stage_ps = 40'000;
      path.narrow_below = 64;
      path.narrow_gflops = path.gflops * 3 / 5;
      path.narrow_widen_slots = 30;
    }
    if (loop == ogs_loop::mma_sync) {
      path.row_step = 8;
      path.resident_blocks = 3;
      path.equal_runs = true;
      if (bits_of(formats.w) == 4) path.widen_slots = default_cost_constants.widen_slots;  // in software everywhere
    }
    if (loop == ogs_loop::mfma || loop == ogs_loop::mfma_scale) {
      path.resident_blocks = 2;
      path.sums_meet = true;
      // Where waves share K, rows that are not there cost neither traffic nor, beside the memory, time.
      path.narrow_below = 33;
      path.narrow_row_step = 1;
      path.narrow_gflops = path.gflops;
      path.narrow_widen_slots = path.widen_slots;
    }
    return path;
  }

 private:
  static constexpr detail::tile_grid mma_block_scaled_grid{.block_m = {16, 32, 64, 128},
                                                           .block_n = {64, 128, 256},
                                                           .block_k = {128, 256},
                                                           .wave_size = 32,
                                                           .least_warps = 4,
                                                           .most_warps = 8,
                                                           .accumulators = 128};
  static constexpr detail::tile_grid wmma_grid{.block_m = {16, 32, 64, 128},
                                               .block_n = {64, 128},
                                               .block_k = {32, 64},
                                               .wave_size = 32,
                                               .least_warps = 4,
                                               .most_warps = 8,
                                               .accumulators = 64};
};

}  // namespace tilefit::inline v0
