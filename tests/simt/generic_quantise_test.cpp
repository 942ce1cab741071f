// Y in FP8, MXFP8 and MXFP4 from the generic mma.sync kernels: the bytes that quantise_rows makes of the same kernel's
// Y in FP32, in the rows that it writes, and nothing beside them.
#include "../support/catch.hpp"
#include "narrow_case.hpp"

using namespace tilefit_simt;

namespace {

void check_all(const case_spec& wanted, unsigned grid) {
  for (const dtype y : {dtype::fp8_e4m3, dtype::mxfp8, dtype::mxfp4})
    for (const activation act : {activation::none, activation::swiglu})
      for (const matmul_kernel& kernel : generic_kernels()) {
        const int least = !has_block_scales(y) ? 1 : act == activation::swiglu ? 64 : 32;
        if (kernel.x != wanted.x || wanted.n % least != 0) continue;
        case_spec spec = wanted;
        spec.act = act;
        INFO(name_of(y) << (act == activation::swiglu ? " behind swiglu" : "") << ", n " << spec.n << ", k " << spec.k
                        << ", tile " << kernel.flags.block_m << " x " << kernel.flags.block_n);
        CHECK(compare_narrow(spec, kernel, y, grid, 32) == "");
      }
}

}  // namespace

TEST_CASE("simt generic: narrow Y, the same bytes as from FP32", "[simt]") {
  // One block for many tiles: what a tile left behind must not be read by the next one.
  check_all({.rows = {3, 0, 70, 10}, .n = 320, .k = 96, .x = dtype::bf16, .scatter = true, .gammas = true, .seed = 2},
            1);
  check_all({.rows = {9}, .n = 96, .k = 160, .x = dtype::fp16, .gammas = true}, 2);
}

TEST_CASE("simt generic: narrow Y, absent rows", "[simt]") {
  check_all({.rows = {65, 1, 0, 5},
             .n = 192,
             .k = 64,
             .x = dtype::bf16,
             .gather = true,
             .scatter = true,
             .absent = true,
             .bias = true,
             .seed = 3},
            3);
}

TEST_CASE("simt generic: narrow Y of zeros, of NaN and of small numbers", "[simt]") {
  for (const int scale : {1, 40, 255})
    check_all({.rows = {6},
               .n = 128,
               .k = 64,
               .x = dtype::bf16,
               .bias = false,
               .lowest_scale = scale,
               .highest_scale = scale},
              1);
}
