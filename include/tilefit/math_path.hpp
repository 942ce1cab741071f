// L2: what a cost model is told of a chip and of a kernel's main loop.
// Knows: rates, latencies, instructions per weight, with where they are from. Must not know: tiles, problems, the sum
// of it all (cost_model.hpp).
#pragma once

#include <cstdint>

#include "arch.hpp"
#include "matmul_problem.hpp"

namespace tilefit::inline v0 {

/// Rates and latencies that no data sheet gives. One set for all chips.
struct cost_constants {
  /// From the request of a stage to its bytes in shared memory, under load. Little's law on the H200 row: 132 SMs that
  /// each keep 36 kB in flight move 4.8 TB/s at 1,000 ns.
  std::uint32_t load_latency_ps = 1'000'000;
  /// Share of the nominal bandwidth that a copy or read reaches: 4,352 of 4,800 GB/s on an H200 (2026-11-21, the
  /// ceilings measured beside the Triton kernels' times), in 1/1024.
  std::int64_t dram_efficiency = 928;
  /// Share of the nominal matrix rate that a large GEMM reaches: 694 of 990 TFLOP/s on an H200 (same run), in 1/1024.
  std::int64_t math_efficiency = 718;
  /// Bytes an SM takes from L2 in a cycle while all others do. 5,120 B for the 108 SMs of an A100 are 47 (NVIDIA A100
  /// white paper, "A100 L2 Cache"); half of that. Judged, not measured.
  std::int64_t l2_bytes_per_cycle = 24;
  /// Vector instructions per FP4 weight that is widened to 16 bits, in 1/16: about 14 per 8 values for the bits and
  /// 4 for the scale. With a native conversion: one per 2 values and one for addressing.
  std::int64_t widen_slots = 36;
  std::int64_t native_widen_slots = 12;
  /// Vector lanes an SM or CU issues per cycle: 4 schedulers of 32 lanes, 4 SIMDs of 16 lanes a cycle on CDNA.
  std::int64_t nvidia_lanes = 128;
  std::int64_t amd_lanes = 64;
  /// Of two things that go on side by side the longer one counts in full and of the other one's time 1 / 2^shift:
  /// matrix and vector instructions of one SM, and main loops against the memory. Judged, not measured.
  int overlap_shift = 1;
  int memory_overlap_shift = 3;
  /// Launch of a kernel and the drain of its last blocks.
  std::int64_t launch_ps = 3'000'000;
  /// Set-up of an output tile that nothing hides: index loads, first address computations.
  std::int64_t tile_ps = 300'000;
  /// Blocks share tiles in equal runs when one place in so many would be idle at the end of turns. Fitted to the H200:
  /// with more idle places runs gain up to a fifth, with fewer they mostly lose a few percent.
  int idle_share = 6;
  /// One more piece of the epilogue: a barrier and a store that waits for it.
  std::int64_t subtile_ps = 60'000;
};
inline constexpr cost_constants default_cost_constants{};

/// Which instructions do the work.
struct math_path {
  std::int64_t gflops = 0;       ///< of the matrix instruction used, whole chip
  std::int64_t widen_slots = 0;  ///< vector instructions per weight before it can be multiplied, in 1/16
  int widen_columns = 1;         ///< fewer columns than these take as long to widen: a warp has no fewer than 16
  bool overlapped = false;       ///< matrix and vector instructions issue side by side (wgmma, tcgen05, MFMA)
  int resident_blocks = 1;       ///< of an SM, whose loads are under way together
  int row_step = 0;              ///< a tile multiplies only the rows it has, rounded up to this; 0: all block_m
  int k_atom = 0;                ///< the last step of a tile works only on K that there is, in such atoms; 0: on all
  std::int64_t stage_ps = 0;     ///< from one stage to the next: waiting, releasing, what follows from its place
  bool equal_runs = false;       ///< with split_k > 1 blocks take equal shares of all tiles' steps
  bool sums_meet = false;        ///< with split_k > 1 the last block of a tile adds up, not a second kernel
  /// A second loop, for tiles of less than so many rows (0: there is none): what differs in it.
  int narrow_below = 0;
  std::int64_t narrow_gflops = 0;
  std::int64_t narrow_widen_slots = 0;
  int narrow_row_step = 0;  ///< 0: as row_step
};

/// The fastest path of an architecture for these formats, or a rate of 0 where it has none.
constexpr math_path default_math_path(const arch_traits& arch, const matmul_formats& formats,
                                      const cost_constants& constants = default_cost_constants) noexcept {
  const bool overlapped =
      arch.features.has(feature::wgmma) || arch.features.has(feature::tcgen05) || arch.features.has(feature::mfma);
  const bool block_scaled = arch.features.has(feature::mma_block_scaled) || arch.features.has(feature::tcgen05) ||
                            arch.features.has(feature::mfma_scale);
  const int x_bits = bits_of(formats.x), w_bits = bits_of(formats.w);
  math_path path{.gflops = arch.bf16_gflops, .widen_slots = 0, .overlapped = overlapped};
  if (x_bits == 4 && w_bits == 4 && block_scaled) {
    path.gflops = arch.fp4_gflops;
  } else if (x_bits <= 8 && w_bits <= 8 && arch.fp8_gflops > 0) {
    path.gflops = arch.fp8_gflops;
    if (w_bits == 4 && !block_scaled) path.widen_slots = constants.widen_slots;
  } else if (w_bits == 4) {
    path.widen_slots = arch.features.has(feature::fp4_convert) ? constants.native_widen_slots : constants.widen_slots;
  }
  return path;
}

}  // namespace tilefit::inline v0
