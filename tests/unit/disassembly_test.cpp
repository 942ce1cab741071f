// Loops and classes of instructions, from short pieces of disassembly.
#include <string>

#include "../support/catch.hpp"
#include "disassembly.hpp"

using namespace tilefit::bench;

namespace {

/// As llvm-objdump prints it: a loop of seven instructions with an inner one that multiplies without loading, entered
/// in its middle, and behind the end another function.
constexpr const char* amdgpu = R"(
k.hsaco:	file format elf64-amdgpu

Disassembly of section .text:

0000000000001000 <_Z5firstv>:
	s_mov_b32 s0, 0                                            // 000000001000: BE800080
	s_branch 1                                                 // 000000001004: BF820001 <_Z5firstv+0xc>
	s_add_i32 s0, s0, 1                                        // 000000001008: 81008100
	buffer_load_dwordx4 v1, s[8:11], s4 offen lds              // 00000000100C: E0501000 04020001
	ds_read_b128 v[4:7], v1 offset:16                          // 000000001014: D9FE0010 04000001
	v_cvt_scalef32_pk_bf16_fp4 v8, v9, v10                     // 00000000101C: D2510008 0002150A
	v_mfma_scale_f32_32x32x64_f8f6f4 v[16:31], v[4:7], v[32:39], v[16:31], v1, v2 op_sel_hi:[0,0,0] cbsz:4// 000000001024: D3AC0000 00033185 D3AE0C72 85CBC5D2
	v_mfma_f32_16x16x32_bf16 v[16:19], v[4:7], v[32:35], v[16:19]// 000000001034: D3B50010 0442410C
	s_waitcnt vmcnt(0)                                         // 00000000103C: BF8C0F70
	s_cbranch_scc1 65525                                       // 000000001040: BF85FFF5 <_Z5firstv+0x8>
	v_mfma_f32_16x16x32_bf16 v[16:19], v[4:7], v[32:35], v[16:19]// 000000001044: D3B50010 0442410C
	s_cbranch_scc1 65533                                       // 00000000104C: BF85FFFD <_Z5firstv+0x44>
	s_endpgm                                                   // 000000001050: BF810000

0000000000002000 <_Z6secondv>:
	v_mfma_f32_16x16x32_bf16 v[16:19], v[4:7], v[32:35], v[16:19]// 000000002000: D3B50010 0442410C
	s_endpgm                                                   // 000000002008: BF810000
)";

/// As cuobjdump -sass prints it: a loop with a way of two HMMA and another of one for the same work.
constexpr const char* sass = R"(
	code for sm_80
		Function : _Z5thirdv
	.headerflags	@"EF_CUDA_SM80"
        /*0000*/                   MOV R1, c[0x0][0x28] ;             /* 0x00000a0000017a02 */
                                                                      /* 0x000fe40000000f00 */
        /*0010*/                   LDGSTS.E.BYPASS.128 [R15], [R96.64] ;  /* 0x0 */
        /*0020*/              @!P0 BRA 0x60 ;                         /* 0x0 */
        /*0030*/                   HMMA.16816.F32.BF16 R48, R52, R46, R48 ;   /* 0x0 */
        /*0040*/                   PRMT R3, R4, 0x5410, R5 ;          /* 0x0 */
        /*0050*/                   HMMA.16816.F32.BF16 R48, R52, R46, R48 ;   /* 0x0 */
        /*0060*/                   LDSM.16.M88.4 R24, [R62] ;         /* 0x0 */
        /*0070*/               @P1 BRA 0xa0 ;                         /* 0x0 */
        /*0080*/                   HMMA.16816.F32.BF16 R48, R52, R46, R48 ;   /* 0x0 */
        /*0090*/                   HMMA.16816.F32.BF16 R48, R52, R46, R48 ;   /* 0x0 */
        /*00a0*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;      /* 0x0 */
        /*00b0*/               @P2 BRA 0x10 ;                         /* 0x0 */
        /*00c0*/                   EXIT ;                             /* 0x0 */
        /*00d0*/                   BRA 0xd0;                          /* 0x0 */
)";

}  // namespace

TEST_CASE("disassembly: AMD", "[disassembly]") {
  const std::vector<kernel_text> kernels = read_amdgpu_disassembly(amdgpu);
  REQUIRE(kernels.size() == 2);
  CHECK(kernels[0].name == "_Z5firstv");
  REQUIRE(kernels[0].instructions.size() == 13);
  CHECK(kernels[0].instructions[1].target == 3);
  CHECK(!kernels[0].instructions[1].falls_through);
  CHECK(kernels[0].instructions[9].target == 2);

  // The inner loop that multiplies but does not load is not the main one; the one entered in its middle is.
  const std::vector<std::size_t> loop = main_loop(kernels[0]);
  CHECK(loop == std::vector<std::size_t>{3, 4, 5, 6, 7, 8, 9, 2});
  const op_counts counts = count_ops(kernels[0], loop);
  CHECK(counts.total == 8);
  CHECK(counts.matrices() == 2);
  CHECK(counts[op_class::scaled_matrix] == 1);
  CHECK(counts[op_class::convert] == 1);
  CHECK(counts[op_class::lds_read] == 1);
  CHECK(counts[op_class::lds_direct] == 1);
  CHECK(counts[op_class::scalar] == 1);
  CHECK(counts[op_class::wait] == 1);
  CHECK(counts[op_class::branch] == 1);
  CHECK(counts.lds_lane_bytes == 32);

  const matrix_shape scaled = shape_of(kernels[0].instructions[6]);
  CHECK(scaled.flops() == 2.0 * 32 * 32 * 64);
  CHECK(scaled.bits == 8);
  CHECK(shape_of(kernels[0].instructions[7]).bits == 16);
  CHECK(shape_of(kernels[0].instructions[8]).flops() == 0);
  CHECK(main_loop(kernels[1]).empty());
}

TEST_CASE("disassembly: NVIDIA", "[disassembly]") {
  const std::vector<kernel_text> kernels = read_sass(sass);
  REQUIRE(kernels.size() == 1);
  REQUIRE(kernels[0].instructions.size() == 14);
  CHECK(kernels[0].instructions[2].target == 6);
  CHECK(kernels[0].instructions[2].falls_through);
  CHECK(!kernels[0].instructions[12].falls_through);
  // All four, or the shortest way with two.
  CHECK(count_ops(kernels[0], main_loop(kernels[0])).matrices() == 4);
  const std::vector<std::size_t> loop = main_loop(kernels[0], 2);
  CHECK(loop == std::vector<std::size_t>{1, 2, 6, 7, 8, 9, 10, 11});
  CHECK(count_ops(kernels[0], loop).lds_lane_bytes == 32);
  CHECK(shape_of(kernels[0].instructions[3]).flops() == 4096);
}

TEST_CASE("disassembly: nothing to read", "[disassembly]") {
  CHECK(read_amdgpu_disassembly("").empty());
  CHECK(read_sass("no code\n").empty());
  CHECK(main_loop({}).empty());
  for (const char* const text :
       {"0 <x>:\n", "\t// \n0 <x>:\n\ts_branch // zz: <\n\t// 5", " <>:\n\tv_mfma_ // 1: <x+0x>"})
    for (const kernel_text& kernel : read_amdgpu_disassembly(text)) CHECK(main_loop(kernel).empty());
  for (const char* const text : {"Function : \n/*;*/", "Function : a\n/**/@;\n/*0*/ BRA 0x ;\n/*0*/HMMA.;"})
    for (const kernel_text& kernel : read_sass(text)) CHECK(main_loop(kernel).empty());
}
