// The generic mma.sync kernels, lane by lane, within SM120's shared memory.
#include "../support/catch.hpp"
#include "matmul_case.hpp"

using namespace tilefit_simt;

namespace {

std::string text_of(const matmul_kernel& kernel) {
  return std::string(name_of(kernel.x)) + " tile of " + std::to_string(kernel.flags.block_m) + " x " +
         std::to_string(kernel.flags.block_n) + " x " + std::to_string(kernel.flags.block_k);
}

}  // namespace

TEST_CASE("simt: a small matmul", "[simt]") {
  for (const matmul_kernel& kernel : generic_kernels()) {
    matmul_case small({.rows = {3, 0, 9}, .n = 96, .k = 160, .x = kernel.x, .y = dtype::fp32});
    INFO(text_of(kernel));
    CHECK(small.run(kernel, 2, 1).text(error_limit(small.spec.y)) == "");
  }
}
