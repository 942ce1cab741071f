// Golden layers through the kernels for AMD's matrix cores: W4A16, W4A8 and W4A4 on gfx950, W4A16 on gfx942; with 8-
// and 4-bit X both matmuls in a chain, the first one's Y quantised on its way. The first layer with all tiles but the
// tallest, whose rows would mostly be empty; the other one, which is larger and skewed, with the tallest and the
// smallest. FP16: the epilogues of mfma_matmul_test.cpp.
#include "golden_layer.hpp"

using namespace tilefit_simt;

namespace {

struct format {
  dtype x;
  bool per_row = false;
};
constexpr format formats[] = {
    {dtype::bf16}, {dtype::fp8_e4m3}, {dtype::fp8_e4m3, true}, {dtype::mxfp8}, {dtype::mxfp4}};

}  // namespace

TEST_CASE("simt mfma: golden layers", "[simt][golden]") {
  for (const char* const name : golden_names) {
    const bench::safetensors_file file = open_golden(name);
    for (const bool older : {false, true})
      for (const auto [x, per_row] : formats) {
        if (older && bits_of(x) != 16) continue;
        golden_layer layer(file.contents, x, weight_layout::mfma_m16k128, per_row);
        CHECK(layer.same_experts);
        for (const matmul_kernel& kernel : older ? gfx942_kernels() : gfx950_kernels()) {
          const bool tallest = kernel.flags.block_m == 128, smallest = kernel.flags.block_n == 32;
          if (kernel.x != x || (name == golden_names[0] ? tallest : !tallest && !smallest)) continue;
          INFO(name << ", " << name_of(x) << (per_row ? " with a scale for each row" : "") << ", block_m "
                    << kernel.flags.block_m << ", block_n " << kernel.flags.block_n);
          const auto tiles = kernels::most_row_tiles(layer.rows(), golden_experts, kernel.flags.block_m) *
                             detail::ceil_div(2 * golden_width, kernel.flags.block_n);
          const simt::grid_options options{.warp_size = 64, .seed = 1};
          CHECK((bits_of(x) == 16 ? layer.run(kernel, static_cast<unsigned>(tiles), options)
                                  : layer.run_narrow(kernel, static_cast<unsigned>(tiles), options)) == "");
        }
      }
  }
}
