// Y in FP8, MXFP8 and MXFP4 from the kernels for AMD's matrix cores: the bytes that quantise_rows makes of the same
// kernel's Y in FP32, in the rows that it writes, and nothing beside them.
#include <span>

#include "../../support/catch.hpp"
#include "../narrow_case.hpp"

using namespace tilefit_simt;

namespace {

void check_all(std::span<const matmul_kernel> all, dtype x, const case_spec& wanted) {
  for (const dtype y : {dtype::fp8_e4m3, dtype::mxfp8, dtype::mxfp4})
    for (const activation act : {activation::none, activation::swiglu})
      for (const matmul_kernel& kernel : all) {
        const int least = !has_block_scales(y) ? 1 : act == activation::swiglu ? 64 : 32;
        if (kernel.x != x || kernel.flags.block_n < least || wanted.n % least != 0) continue;
        case_spec spec = wanted;
        spec.x = x;
        spec.act = act;
        INFO(name_of(x) << " to " << name_of(y) << (act == activation::swiglu ? " behind swiglu" : "") << ", n "
                        << spec.n << ", k " << spec.k << ", tile " << kernel.flags.block_m << " x "
                        << kernel.flags.block_n);
        CHECK(compare_narrow(spec, kernel, y, 0, 64) == "");
      }
}

}  // namespace

TEST_CASE("simt mfma: narrow Y, the same bytes as from FP32", "[simt]") {
  for (const dtype x : {dtype::bf16, dtype::fp8_e4m3, dtype::mxfp8, dtype::mxfp4})
    for (const std::int64_t n : {96, 320})  // FP8: also half a block of 32 columns
      check_all(gfx950_kernels(), x,
                {.rows = {3, 0, 10}, .n = n, .k = 96, .scatter = n == 320, .gammas = n == 320, .seed = 2});
  check_all(gfx942_kernels(), dtype::bf16, {.rows = {9}, .n = 128, .k = 160, .gammas = true});
}

TEST_CASE("simt mfma: narrow Y, absent rows and more than a tile", "[simt]") {
  check_all(gfx950_kernels(), dtype::mxfp4,
            {.rows = {70, 1, 0, 5},
             .n = 576,
             .k = 64,
             .gather = true,
             .scatter = true,
             .absent = true,
             .bias = true,
             .gammas = true,
             .seed = 3});
  check_all(gfx950_kernels(), dtype::fp8_e4m3,
            {.rows = {33},
             .n = 64,
             .k = 64,
             .x_row_scales = true,
             .gather = true,
             .scatter = true,
             .absent = true,
             .seed = 4});
}

TEST_CASE("simt mfma: narrow Y of zeros, of NaN and of small numbers", "[simt]") {
  for (const int scale : {1, 40, 255})
    check_all(gfx950_kernels(), dtype::bf16,
              {.rows = {6}, .n = 128, .k = 64, .bias = false, .lowest_scale = scale, .highest_scale = scale});
}
