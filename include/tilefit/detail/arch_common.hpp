// L0, detail of arch_table.hpp: the columns that all rows of a family share.
// Knows: what NVIDIA since Ampere, CDNA since CDNA2 and RDNA since RDNA3 have in common. Source tags as there.
// Must not know: single chips or boards.
#pragma once

#include <cstdint>

#include "../arch.hpp"
#include "config.hpp"

namespace tilefit::inline v0::detail {

inline constexpr int kib = 1024;
inline constexpr std::int64_t mib = std::int64_t{1} << 20;

/// Adds the columns that are the same in every NVIDIA row.
constexpr arch_traits nvidia(arch_traits row) noexcept {
  row.vendor = vendor_id::nvidia;
  row.wave_size = 32;
  row.smem_static_bytes = 48 * kib;  // CUDA: more must be dynamic, with an opt-in
  row.smem_reserved_bytes = 1 * kib;
  row.smem_sm_bytes = row.smem_block_bytes + row.smem_reserved_bytes;  // CUDA: so in every column since 8.0
  row.smem_granularity_bytes = 128;                                    // OCC: major 8 to 12
  row.regs_per_sm = 64 * kib;
  row.regs_per_thread = 255;
  row.threads_per_block = 1024;                                                                   // CUDA
  row.features = row.features | feature::cp_async | feature::mma_sync | feature::transpose_read;  // PTX: since sm_80
  return row;
}

/// Adds the columns that are the same in every CDNA row since CDNA2. An "SM" is a compute unit (CU).
constexpr arch_traits cdna(arch_traits row) noexcept {
  row.vendor = vendor_id::amd;
  row.wave_size = 64;
  row.smem_static_bytes = row.smem_block_bytes;  // LLVM: all of a block's LDS can be static
  row.smem_sm_bytes = row.smem_block_bytes;      // ROCm: one block can have all of a CU's LDS
  row.regs_per_sm = 128 * kib;                   // ROCm: 512 KiB of VGPRs per CU, one file for VGPRs and AGPRs
  row.regs_per_thread = 256;                     // ISA: v0 to v255
  row.agprs_per_thread = 256;                    // ISA: a0 to a255
  row.threads_per_block = 1024;                  // LLVM
  row.threads_per_sm = 64 * 32;                  // LLVM: 8 waves on each of 4 SIMDs
  row.blocks_per_sm = 16;                        // LLVM: 16 barriers; blocks of one wave need none and can be more
  row.features = row.features | feature::mfma;
  return row;
}

/// Adds the columns that are the same in every RDNA row. An "SM" is a workgroup processor (WGP: two CUs, four SIMDs,
/// one LDS): it is where a block lives in the compilers' default mode, and what HIP counts as a multiprocessor.
constexpr arch_traits rdna(arch_traits row) noexcept {
  row.vendor = vendor_id::amd;
  row.wave_size = 32;                    // ISA: 32 or 64; compilers default to 32
  row.smem_static_bytes = 64 * kib;      // ISA: a workgroup's share of the LDS
  row.smem_block_bytes = 64 * kib;       // ISA
  row.smem_sm_bytes = 128 * kib;         // ROCm
  row.smem_granularity_bytes = 1 * kib;  // LLVM: allocated in 1,024 B although encoded in 512 B
  row.regs_per_thread = 256;             // ISA
  row.threads_per_block = 1024;          // LLVM
  row.threads_per_sm = 32 * 64;          // LLVM: 16 waves on each of 4 SIMDs
  row.blocks_per_sm = 32;                // LLVM: 32 barriers in WGP mode
  row.features = row.features | feature::wmma;
  return row;
}

/// Features of the sm_100 family and of sm_110 beside those of every NVIDIA row. PTX.
inline constexpr feature_set tcgen05_family = feature_set{} | feature::bulk_copy | feature::multicast |
                                              feature::tcgen05 | feature::fp8_mma | feature::fp4_convert;

/// Features of the sm_120 family: bulk copies, but clusters of one block and no tcgen05. PTX: sm_120a, sm_121a.
inline constexpr feature_set sm_120_family =
    feature_set{} | feature::bulk_copy | feature::mma_block_scaled | feature::fp8_mma | feature::fp4_convert;

}  // namespace tilefit::inline v0::detail
