// L0: what an architecture is, as numbers.
// Knows: the facts a chip is described by and how a driver's report is merged with them.
// Must not know: formats, problems or tiles; the rows themselves are in arch_table.hpp.
#pragma once

#include <cstdint>
#include <string_view>

#include "detail/config.hpp"

namespace tilefit::inline v0 {

enum class vendor_id : std::uint8_t { nvidia, amd };

/// Key of a row of the table. The last three stand for devices that have no row of their own.
enum class arch_id : std::uint8_t {
  sm_80,
  sm_86,
  sm_87,
  sm_89,
  sm_90,
  sm_100,
  sm_103,
  sm_110,
  sm_120,
  sm_121,
  gfx90a,
  gfx942,
  gfx950,
  gfx1100,
  gfx1151,
  gfx1201,
  nvidia_generic,
  amd_cdna_generic,
  amd_rdna_generic,
};

/// One instruction or mechanism that a kernel may need.
enum class feature : std::uint32_t {
  cp_async = 1u << 0,          ///< 16-byte asynchronous copies to shared memory (SM80+)
  bulk_copy = 1u << 1,         ///< cp.async.bulk and its tensor form (TMA), completing on an mbarrier
  wgmma = 1u << 2,             ///< warpgroup MMA (sm_90a)
  mma_sync = 1u << 3,          ///< mma.sync m16n8k16 for bf16 and fp16
  tcgen05 = 1u << 4,           ///< tensor-memory MMA (sm_100 family, sm_110)
  mma_block_scaled = 1u << 5,  ///< mma.sync with block scales (sm_120a, sm_121a)
  mfma = 1u << 6,              ///< AMD matrix cores (CDNA)
  wmma = 1u << 7,              ///< AMD wave matrix multiply (RDNA)
  mfma_scale = 1u << 8,        ///< v_mfma_scale_* with E8M0 block scales (gfx950)
  fp8_mma = 1u << 9,           ///< matrix instruction with FP8 operands
  fp4_convert = 1u << 10,      ///< one instruction from FP4 to a 16-bit format
  lds_direct_load = 1u << 11,  ///< global to LDS without registers, 16 bytes a lane
  transpose_read = 1u << 12,   ///< ldmatrix.trans or ds_read_*_tr_*
  multicast = 1u << 13,        ///< bulk copies to several blocks of a cluster
  fp8_fnuz = 1u << 14,         ///< with fp8_mma: E4M3 is the FNUZ kind (bias 8, no -0), not OCP's: it needs a rescale
};

/// A set of `feature`s.
struct feature_set {
  std::uint32_t bits = 0;

  /// Whether the chip has `f`.
  TILEFIT_HD constexpr bool has(feature f) const noexcept { return (bits & static_cast<std::uint32_t>(f)) != 0; }
  /// The set with `f` in it.
  TILEFIT_HD constexpr feature_set operator|(feature f) const noexcept {
    return {bits | static_cast<std::uint32_t>(f)};
  }
  friend constexpr bool operator==(feature_set, feature_set) = default;
};

/// Facts of one architecture. Bytes are bytes, rates are of a nominal board and dense (no sparsity).
/// "Block" is CUDA's thread block and AMD's workgroup; "SM" is also AMD's compute unit (RDNA: workgroup processor).
struct arch_traits {
  arch_id id{};
  std::string_view name{};  ///< "sm_120", "gfx950"
  vendor_id vendor{};
  int compute_capability = 0;      ///< 10 * major + minor on NVIDIA, 0 on AMD
  int wave_size = 0;               ///< lanes of a warp or wave
  int smem_static_bytes = 0;       ///< shared memory a block has without asking
  int smem_block_bytes = 0;        ///< the most a block can ask for: the budget of a tile
  int smem_sm_bytes = 0;           ///< capacity that resident blocks share
  int smem_reserved_bytes = 0;     ///< taken by the system for every resident block, beside its own
  int smem_granularity_bytes = 0;  ///< a block's bytes are rounded up to this
  int regs_per_sm = 0;             ///< 32-bit vector registers, all lanes counted; CDNA: AGPRs come from them too
  int regs_per_thread = 0;         ///< the most one thread can address, without AGPRs
  int agprs_per_thread = 0;        ///< accumulation registers beside them (CDNA)
  int threads_per_block = 0;
  int threads_per_sm = 0;
  int blocks_per_sm = 0;
  std::int64_t l2_bytes = 0;  ///< L2 of one die; where there are several XCDs, of one (Infinity Cache not counted)
  int sm_count = 0;
  int xcd_count = 1;    ///< dies with an L2 of their own that blocks are dealt to in turn
  int clock_mhz = 0;    ///< boost clock at which the math rates below are quoted
  int dram_gbps = 0;    ///< 10^9 bytes per second
  int bf16_gflops = 0;  ///< 10^9 multiplies and adds per second, FP32 accumulation; 0 = no such instruction
  int fp8_gflops = 0;
  int fp4_gflops = 0;
  feature_set features{};

  /// True for a row that stands for devices without one of their own.
  TILEFIT_HD constexpr bool is_generic() const noexcept { return id >= arch_id::nvidia_generic; }
};

}  // namespace tilefit::inline v0
