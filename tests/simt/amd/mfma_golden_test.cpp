// Golden layers through the kernels for AMD's matrix cores: W4A16, W4A8 and W4A4 on gfx950, W4A16 on gfx942. The first
// one with all tiles but the tallest, whose rows would mostly be empty; the other one, which is larger and skewed, with
// the tallest and the smallest. FP16: the epilogues of mfma_matmul_test.cpp.
#include "golden_layer.hpp"

using namespace tilefit_simt;

TEST_CASE("simt mfma: golden layers", "[simt][golden]") {
  for (const char* const name : golden_names) {
    const bench::safetensors_file file = open_golden(name);
    for (const bool older : {false, true})
      for (const dtype x : {dtype::bf16, dtype::fp8_e4m3, dtype::mxfp8, dtype::mxfp4}) {
        if (older && bits_of(x) != 16) continue;
        golden_layer layer(file.contents, x, weight_layout::mfma_m16k128);
        CHECK(layer.same_experts);
        for (const matmul_kernel& kernel : older ? gfx942_kernels() : gfx950_kernels()) {
          const bool tallest = kernel.flags.block_m == 128, smallest = kernel.flags.block_n == 32;
          if (kernel.x != x || (name == golden_names[0] ? tallest : !tallest && !smallest)) continue;
          INFO(name << ", " << name_of(x) << ", block_m " << kernel.flags.block_m << ", block_n "
                    << kernel.flags.block_n);
          const auto tiles = kernels::most_row_tiles(layer.rows(), golden_experts, kernel.flags.block_m) *
                             detail::ceil_div(2 * golden_width, kernel.flags.block_n);
          CHECK(layer.run(kernel, static_cast<unsigned>(tiles), {.warp_size = 64, .seed = 1}) == "");
        }
      }
  }
}
