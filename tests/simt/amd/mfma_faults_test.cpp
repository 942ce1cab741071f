// Mistakes in the AMD kernels that the executor must find: a wait for LDS-direct loads, a barrier, an order between
// blocks or a byte of LDS less, a wrong map of lanes. The same kernels without them must pass.
#include "../../support/catch.hpp"
#include "fault_tiles.hpp"
#include "mfma_runs.hpp"

using namespace tilefit_simt;
using simt::fault_kind;
using simt::sabotage_kind;

TEST_CASE("simt mfma faults: a wait, a barrier, a lane or a byte of LDS less", "[simt]") {
  for_each_path([](std::span<const matmul_kernel> all, dtype x) {
    for (const matmul_kernel& kernel : all) {
      if (kernel.x != x) continue;
      INFO(text_of(kernel));
      matmul_case matmul({.rows = {kernel.flags.block_m},
                          .n = kernel.flags.block_n,
                          .k = kernel.flags.block_k + 96,
                          .x = x,
                          .y = dtype::fp32,
                          .layout = weight_layout::mfma_m16k128});
      const verdict right = run(matmul, kernel, {});
      REQUIRE(right.text(error_limit(dtype::fp32)) == "");
      for (int i = 0; i < right.grid.counts.barriers; ++i)
        CHECK(run(matmul, kernel, {.mistake = {sabotage_kind::skip_barrier, i}}).grid.faults.count > 0);
      for (int i = 0; i < right.grid.counts.waits; ++i)
        CHECK(run(matmul, kernel, {.mistake = {sabotage_kind::skip_wait, i}})
                  .grid.faults.has(fault_kind::copy_under_way));
      CHECK(!(run(matmul, kernel, {.mistake = {sabotage_kind::rotate_lanes, 0}}).error <= 0.1));
      CHECK(run(matmul, kernel, {}, {.smem_less = 1}).grid.faults.has(fault_kind::out_of_bounds));
    }
  });
}

TEST_CASE("simt mfma faults: a wrong map of lanes", "[simt]") {
  for (const wrong_kernel& wrong : wrong_kernels()) {
    INFO(text_of(wrong.kernel) << ", " << wrong.mistake);
    const opt_flags& flags = wrong.kernel.flags;
    matmul_case matmul({.rows = {flags.block_m},
                        .n = flags.block_n,
                        .k = 512,
                        .x = wrong.kernel.x,
                        .y = dtype::fp32,
                        .layout = weight_layout::mfma_m16k128});
    int right = 0;
    for (const matmul_kernel& kernel : gfx950_kernels()) {
      if (kernel.x != wrong.kernel.x || !same_kernel(kernel.flags, flags)) continue;
      ++right;
      CHECK(run(matmul, kernel, {}).text(error_limit(dtype::fp32)) == "");
    }
    CHECK(right == 1);
    CHECK(run(matmul, wrong.kernel, {}).error > 0.1);
  }
}

TEST_CASE("simt mfma faults: blocks that meet without order", "[simt]") {
  const matmul_kernel& kernel = gfx950_kernels().front();
  matmul_case matmul({.rows = {5}, .n = 32, .k = 1024, .y = dtype::fp32, .layout = weight_layout::mfma_m16k128});
  const verdict right = run(matmul, kernel, {.seed = 1}, {.split_k = 2});
  REQUIRE(right.text(error_limit(dtype::fp32)) == "");
  // A wave's lanes are ordered before one of them counts, and behind it.
  REQUIRE(right.grid.counts.warp_syncs == 2);
  for (int i = 0; i < 2; ++i) {
    const verdict wrong =
        run(matmul, kernel, {.seed = 1, .mistake = {sabotage_kind::skip_warp_sync, i}}, {.split_k = 2});
    CHECK(wrong.grid.faults.has(fault_kind::race));
  }
}
