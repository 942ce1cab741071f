// Golden layers through the generic mma.sync kernels.
#include "golden_layer.hpp"

using namespace tilefit_simt;

TEST_CASE("simt golden layers", "[simt][golden]") {
  for (const char* const name : golden_names) {
    const bench::safetensors_file file = open_golden(name);
    for (const dtype x : {dtype::bf16, dtype::fp16}) {
      golden_layer layer(file.contents, x, weight_layout::mma_m16k64);
      CHECK(layer.same_experts);
      for (const matmul_kernel& kernel : generic_kernels()) {
        if (kernel.x != x) continue;
        INFO(name << ", " << name_of(x) << ", block_m " << kernel.flags.block_m);
        CHECK(layer.run(kernel, 6, {.seed = 1}) == "");
      }
    }
  }
}
