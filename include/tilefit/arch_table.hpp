// L0: the rows: one per architecture, and a source for every number.
// Knows: published facts of chips and of one nominal board each. Must not know: formats, problems, tiles, drivers
// (device_report.hpp merges what a driver says; arch_lookup.hpp finds a row by text).
// To add a row: an enumerator in arch.hpp (before nvidia_generic), a row here at the same place, and, where the new
// chip is smaller than its family, the generic row. tests/static/arch.cpp says what was forgotten. Columns that a row
// leaves out are the same for the whole family: detail/arch_common.hpp fills them in, with the same source tags.
//
// Sources. A tag covers its line and the untagged lines above it; "board" is the document named on top of the row.
//   CUDA   CUDA C++ Programming Guide 13, Compute Capabilities, table "Technical Specifications per Compute
//          Capability"; memory, thread and block limits were compared with CCCL, libcudacxx cuda/__device/arch_traits.h
//   OCC    cuda_occupancy.h of the CUDA toolkit: cudaOccSMemAllocationGranularity
//   PTX    PTX ISA 9.0, "Target ISA Notes" of cp.async, cp.async.bulk, wgmma, tcgen05.mma, mma, cvt
//   ROCm   https://rocm.docs.amd.com/en/latest/reference/gpu-specs.html
//   LLVM   llvm/lib/Target/AMDGPU/Utils/AMDGPUBaseInfo.cpp: getMaxWavesPerEU, getMaxWorkGroupsPerCU, getTotalNumVGPRs;
//          LDS granularity: llvm/docs/AMDGPUUsage.rst (GRANULATED_LDS_SIZE), llvm-project pull requests 220051, 224852
//   ISA    AMD instruction set manuals of CDNA2, CDNA3, CDNA4, RDNA3, RDNA3.5, RDNA4
//   query  cudaGetDeviceProperties on that board (published listings), where no data sheet has the number
//   =      derived; the derivation stands behind it
//
// Math rates are dense: data sheets that quote 2:4 sparsity were halved. GeForce boards run FP16, BF16 and FP8 at half
// rate when they accumulate in FP32, as tilefit does (appendix tables of NVIDIA's GA102, Ada and RTX Blackwell white
// papers): the half rate stands here. FP4 is not halved. A board's rate is sm_count * clock * a power of two (times 1.5
// for FP4 of sm_103), which the tests check: it catches a sparse figure, or a wrong clock.
#pragma once

#include <cstddef>
#include <cstdint>

#include "arch.hpp"
#include "detail/arch_common.hpp"
#include "detail/config.hpp"

namespace tilefit::inline v0 {

/// All rows, in the order of `arch_id`.
inline constexpr arch_traits arch_table[] = {
    // A100 SXM4 80GB. NVIDIA A100 data sheet and white paper.
    detail::nvidia({
        .id = arch_id::sm_80,
        .name = "sm_80",
        .compute_capability = 80,
        .smem_block_bytes = 163 * detail::kib,
        .threads_per_sm = 2048,
        .blocks_per_sm = 32,  // CUDA
        .l2_bytes = 40 * detail::mib,
        .sm_count = 108,
        .clock_mhz = 1410,
        .dram_gbps = 2039,
        .bf16_gflops = 312'000,  // board
    }),
    // GeForce RTX 3090. NVIDIA Ampere GA102 white paper, appendix.
    detail::nvidia({
        .id = arch_id::sm_86,
        .name = "sm_86",
        .compute_capability = 86,
        .smem_block_bytes = 99 * detail::kib,
        .threads_per_sm = 1536,
        .blocks_per_sm = 16,  // CUDA
        .l2_bytes = 6 * detail::mib,
        .sm_count = 82,
        .clock_mhz = 1695,
        .dram_gbps = 936,
        .bf16_gflops = 71'000,  // board: FP32 accumulation
    }),
    // Jetson AGX Orin 64GB. NVIDIA Jetson AGX Orin Series technical brief.
    detail::nvidia({
        .id = arch_id::sm_87,
        .name = "sm_87",
        .compute_capability = 87,
        .smem_block_bytes = 163 * detail::kib,
        .threads_per_sm = 1536,
        .blocks_per_sm = 16,  // CUDA
        .l2_bytes = 4 * detail::mib,
        .sm_count = 16,
        .clock_mhz = 1300,
        .dram_gbps = 204,       // board
        .bf16_gflops = 42'600,  // = 16 SMs * 1.3 GHz * 2,048: half of the 85 dense INT8 TOPS (170 sparse) in the brief
    }),
    // GeForce RTX 4090. NVIDIA Ada GPU architecture white paper, appendix.
    detail::nvidia({
        .id = arch_id::sm_89,
        .name = "sm_89",
        .compute_capability = 89,
        .smem_block_bytes = 99 * detail::kib,
        .threads_per_sm = 1536,
        .blocks_per_sm = 24,  // CUDA
        .l2_bytes = 72 * detail::mib,
        .sm_count = 128,
        .clock_mhz = 2520,
        .dram_gbps = 1008,
        .bf16_gflops = 165'200,
        .fp8_gflops = 330'300,                         // board: FP32 accumulation
        .features = feature_set{} | feature::fp8_mma,  // PTX
    }),
    // H200 SXM. NVIDIA H200 data sheet (sparse rates halved).
    detail::nvidia({
        .id = arch_id::sm_90,
        .name = "sm_90",
        .compute_capability = 90,
        .smem_block_bytes = 227 * detail::kib,
        .threads_per_sm = 2048,
        .blocks_per_sm = 32,           // CUDA
        .l2_bytes = 60 * detail::mib,  // query; the H100 white paper says 50 for H100
        .sm_count = 132,               // query
        .clock_mhz = 1830,  // = 989.5 TFLOP/s / (132 SMs * 4,096); the driver reports 1,980, which the rates do not use
        .dram_gbps = 4800,
        .bf16_gflops = 989'500,
        .fp8_gflops = 1'979'000,  // board
        .features =
            feature_set{} | feature::bulk_copy | feature::multicast | feature::wgmma | feature::fp8_mma,  // PTX: sm_90a
    }),
    // B200. NVIDIA HGX B200 data sheet, one of eight GPUs (sparse rates halved).
    detail::nvidia({
        .id = arch_id::sm_100,
        .name = "sm_100",
        .compute_capability = 100,
        .smem_block_bytes = 227 * detail::kib,
        .threads_per_sm = 2048,
        .blocks_per_sm = 32,      // CUDA
        .l2_bytes = 132'644'864,  // query: 126.5 MiB
        .sm_count = 148,          // query
        .clock_mhz = 1856,        // = 2,250 TFLOP/s / (148 SMs * 8,192); the driver reports 1,965
        .dram_gbps = 8000,        // some data sheets say 7,700
        .bf16_gflops = 2'250'000,
        .fp8_gflops = 4'500'000,
        .fp4_gflops = 9'000'000,  // board
        .features = detail::tcgen05_family,
    }),
    // B300. NVIDIA HGX B300 data sheet, one of eight GPUs (dense FP4 as quoted, the others halved).
    detail::nvidia({
        .id = arch_id::sm_103,
        .name = "sm_103",
        .compute_capability = 103,
        .smem_block_bytes = 227 * detail::kib,
        .threads_per_sm = 2048,
        .blocks_per_sm = 32,      // CUDA
        .l2_bytes = 132'644'864,  // query
        .sm_count = 148,          // query; 160 on the full die
        .clock_mhz = 1856,        // = as for B200; the driver reports 2,032
        .dram_gbps = 8000,
        .bf16_gflops = 2'250'000,
        .fp8_gflops = 4'500'000,
        .fp4_gflops = 13'125'000,  // board: 105 PFLOP/s / 8; other editions say 108, and 15 per GPU of a GB300
        .features = detail::tcgen05_family,
    }),
    // Jetson AGX Thor (T5000). NVIDIA Jetson Thor data sheet: 2,070 sparse FP4 TFLOP/s at 1.57 GHz.
    // CUDA 12 called this chip sm_101.
    detail::nvidia({
        .id = arch_id::sm_110,
        .name = "sm_110",
        .compute_capability = 110,
        .smem_block_bytes = 227 * detail::kib,
        .threads_per_sm = 1536,
        .blocks_per_sm = 24,           // CUDA
        .l2_bytes = 32 * detail::mib,  // query
        .sm_count = 20,                // query; board: 2,560 cores / 128
        .clock_mhz = 1575,
        .dram_gbps = 273,         // board
        .bf16_gflops = 258'700,   // = a quarter of FP4
        .fp8_gflops = 517'500,    // = half of FP4
        .fp4_gflops = 1'035'000,  // board, halved
        .features = detail::tcgen05_family,
    }),
    // GeForce RTX 5090. NVIDIA RTX Blackwell GPU architecture white paper, appendix.
    detail::nvidia({
        .id = arch_id::sm_120,
        .name = "sm_120",
        .compute_capability = 120,
        .smem_block_bytes = 99 * detail::kib,
        .threads_per_sm = 1536,
        .blocks_per_sm = 24,  // CUDA
        .l2_bytes = 96 * detail::mib,
        .sm_count = 170,
        .clock_mhz = 2407,
        .dram_gbps = 1792,
        .bf16_gflops = 209'500,
        .fp8_gflops = 419'000,    // FP32 accumulation
        .fp4_gflops = 1'676'000,  // board
        .features = detail::sm_120_family,
    }),
    // GB10 (DGX Spark). NVIDIA DGX Spark data sheet: 273 GB/s, 6,144 cores, 1 PFLOP sparse FP4.
    detail::nvidia({
        .id = arch_id::sm_121,
        .name = "sm_121",
        .compute_capability = 121,
        .smem_block_bytes = 99 * detail::kib,
        .threads_per_sm = 1536,
        .blocks_per_sm = 24,           // CUDA
        .l2_bytes = 24 * detail::mib,  // query
        .sm_count = 48,                // board: 6,144 cores / 128
        .clock_mhz = 2418,             // query
        .dram_gbps = 273,              // board
        .bf16_gflops =
            118'800,  // = 48 SMs * 2.418 GHz * 1,024; not halved: users measure 93 to 96 with FP32 accumulation
        .fp8_gflops = 237'700,  // = * 2,048; users measure 188
        .fp4_gflops = 475'300,  // = * 4,096, near half of the quoted 1,000
        .features = detail::sm_120_family,
    }),
    // One GCD of Instinct MI250X. AMD Instinct MI250X data sheet, halved: 383 TFLOP/s, 3,276.8 GB/s per card.
    detail::cdna({
        .id = arch_id::gfx90a,
        .name = "gfx90a",
        .smem_block_bytes = 64 * detail::kib,  // ROCm
        .smem_granularity_bytes = 512,         // LLVM
        .l2_bytes = 8 * detail::mib,
        .sm_count = 110,  // ROCm
        .clock_mhz = 1700,
        .dram_gbps = 1638,
        .bf16_gflops = 191'500,  // board
    }),
    // Instinct MI300X. AMD Instinct MI300X data sheet. Its FP8 is the FNUZ kind (CDNA3 ISA).
    detail::cdna({
        .id = arch_id::gfx942,
        .name = "gfx942",
        .smem_block_bytes = 64 * detail::kib,  // ROCm
        .smem_granularity_bytes = 512,         // LLVM
        .l2_bytes = 4 * detail::mib,
        .sm_count = 304,
        .xcd_count = 8,  // ROCm
        .clock_mhz = 2100,
        .dram_gbps = 5300,
        .bf16_gflops = 1'307'400,
        .fp8_gflops = 2'614'900,                                           // board
        .features = feature_set{} | feature::fp8_mma | feature::fp8_fnuz,  // ISA
    }),
    // Instinct MI355X. AMD Instinct MI355X data sheet.
    detail::cdna({
        .id = arch_id::gfx950,
        .name = "gfx950",
        .smem_block_bytes = 160 * detail::kib,  // ROCm
        .smem_granularity_bytes = 1280,         // LLVM
        .l2_bytes = 4 * detail::mib,
        .sm_count = 256,
        .xcd_count = 8,  // ROCm
        .clock_mhz = 2400,
        .dram_gbps = 8000,
        .bf16_gflops = 2'516'600,
        .fp8_gflops = 5'033'200,
        .fp4_gflops = 10'066'300,  // board
        .features = feature_set{} | feature::mfma_scale | feature::fp8_mma | feature::fp4_convert |
                    feature::lds_direct_load | feature::transpose_read,  // ISA
    }),
    // Radeon RX 7900 XTX. AMD product page: 96 CUs, 2.5 GHz, 960 GB/s, 122.8 TFLOP/s of FP16 (WMMA, dense).
    detail::rdna({
        .id = arch_id::gfx1100,
        .name = "gfx1100",
        .regs_per_sm = 192 * detail::kib,  // ROCm: 768 KiB of VGPRs per WGP
        .l2_bytes = 6 * detail::mib,
        .sm_count = 48,  // ROCm: 96 CUs
        .clock_mhz = 2500,
        .dram_gbps = 960,
        .bf16_gflops = 122'800,  // board
    }),
    // Radeon 8060S in Ryzen AI Max+ 395. AMD product page: 40 CUs, 2.9 GHz, LPDDR5X-8000 on 256 bits.
    detail::rdna({
        .id = arch_id::gfx1151,
        .name = "gfx1151",
        .regs_per_sm = 192 * detail::kib,  // ROCm
        .l2_bytes = 2 * detail::mib,
        .sm_count = 20,         // ROCm: 40 CUs
        .clock_mhz = 2900,      // board
        .dram_gbps = 256,       // = 8 GT/s * 32 B
        .bf16_gflops = 59'400,  // = 20 WGPs * 2.9 GHz * 1,024, as gfx1100
    }),
    // Radeon RX 9070 XT. AMD product page: 64 CUs, 2.97 GHz, 640 GB/s, 195 FP16 and 389 FP8 TFLOP/s (dense).
    detail::rdna({
        .id = arch_id::gfx1201,
        .name = "gfx1201",
        .regs_per_sm = 192 * detail::kib,  // ROCm
        .l2_bytes = 8 * detail::mib,
        .sm_count = 32,  // ROCm: 64 CUs
        .clock_mhz = 2970,
        .dram_gbps = 640,
        .bf16_gflops = 195'000,
        .fp8_gflops = 389'000,                         // board
        .features = feature_set{} | feature::fp8_mma,  // ISA
    }),

    // Rows for devices without one of their own: in every column the least that a member of the family has (the most
    // where less is better: granularity), so that what fits here fits there. = over the rows above; other source named.
    detail::nvidia({
        .id = arch_id::nvidia_generic,
        .name = "nvidia_generic",
        .compute_capability = 80,  // the PTX every member runs
        .smem_block_bytes = 99 * detail::kib,
        .threads_per_sm = 1536,
        .blocks_per_sm = 16,
        .l2_bytes = 4 * detail::mib,
        .sm_count = 16,
        .clock_mhz = 1300,
        .dram_gbps = 204,
        .bf16_gflops = 42'600,
    }),
    // LDS: a granularity of 2,560 B covers both 512 B and 1,280 B, and 64,000 B is the largest multiple of it within
    // 64 KiB.
    detail::cdna({
        .id = arch_id::amd_cdna_generic,
        .name = "amd_cdna_generic",
        .smem_block_bytes = 64'000,
        .smem_granularity_bytes = 2560,
        .l2_bytes = 4 * detail::mib,
        .sm_count = 110,
        .clock_mhz = 1700,
        .dram_gbps = 1638,
        .bf16_gflops = 191'500,
    }),
    detail::rdna({
        .id = arch_id::amd_rdna_generic,
        .name = "amd_rdna_generic",
        .regs_per_sm = 128 * detail::kib,  // ROCm: 512 KiB per WGP on gfx1102, gfx1103, gfx1150, gfx1152
        .l2_bytes = 1 * detail::mib,       // ROCm: gfx1152
        .sm_count = 20,
        .clock_mhz = 2500,
        .dram_gbps = 256,
        .bf16_gflops = 59'400,
    }),
};

/// Number of rows.
inline constexpr std::size_t arch_count = sizeof(arch_table) / sizeof(arch_table[0]);

/// The facts of `id`. A value that is no enumerator gets the last row, which is as conservative as any.
constexpr const arch_traits& traits_of(arch_id id) noexcept {
  const auto index = static_cast<std::size_t>(id);
  return arch_table[index < arch_count ? index : arch_count - 1];
}

/// The facts of an architecture known at compile time: arch_v<arch_id::sm_120>.smem_block_bytes.
template <arch_id Id>
inline constexpr arch_traits arch_v = traits_of(Id);

}  // namespace tilefit::inline v0
