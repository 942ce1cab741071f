// The kernels for AMD's matrix cores, lane by lane, within their chips' LDS: every tile and every format of X, against
// float64 of the same quantised numbers. What must not go unnoticed: mfma_faults_test.cpp.
#include <vector>

#include "../../support/catch.hpp"
#include "mfma_runs.hpp"

using namespace tilefit_simt;

namespace {

void check(case_spec spec, std::span<const matmul_kernel> all, std::uint64_t seed) {
  spec.layout = weight_layout::mfma_m16k128;
  matmul_case matmul(spec);
  for (const matmul_kernel& kernel : all) {
    if (kernel.x != spec.x) continue;
    INFO(text_of(kernel) << ", n " << spec.n << ", k " << spec.k << ", rows " << matmul.args.m);
    CHECK(run(matmul, kernel, {.seed = seed}).text(error_limit(spec.y)) == "");
  }
}

}  // namespace

TEST_CASE("simt mfma: epilogues", "[simt]") {
  for_each_format([](std::span<const matmul_kernel> all, dtype x) {
    std::uint64_t seed = 1;
    for (const dtype y : {dtype::bf16, dtype::fp16, dtype::fp32})
      for (const activation act : {activation::none, activation::swiglu}) {
        check({.rows = {3, 10},
               .n = 128,
               .k = 192,
               .x = x,
               .x_row_scales = x == dtype::fp8_e4m3 && seed % 2 == 0,
               .y = y,
               .scatter = seed % 2 == 0,
               .bias = seed % 3 != 0,
               .gammas = seed % 2 == 1,
               .act = act,
               .accumulate = seed % 4 == 1,
               .lowest_scale = 116,
               .highest_scale = 121,
               .seed = seed},
              all, seed);
        ++seed;
      }
  });
}

TEST_CASE("simt mfma: tails along K and N", "[simt]") {
  for_each_path([](std::span<const matmul_kernel> all, dtype x) {
    for (const std::int64_t n : {32, 96, 320})
      for (const std::int64_t k : {32, 96, 320})
        if (n != 96 || k != 32)
          check({.rows = {1, 6}, .n = n, .k = k, .x = x, .y = dtype::fp32}, all, static_cast<std::uint64_t>(n + k));
  });
}

TEST_CASE("simt mfma: K and N of gpt-oss, few rows", "[simt]") {
  for_each_path([](std::span<const matmul_kernel> all, dtype x) {
    check({.rows = {3}, .n = 2880, .k = 96, .x = x, .y = dtype::bf16}, all, 1);
    check({.rows = {2, 1}, .n = 96, .k = 2880, .x = x, .y = dtype::bf16}, all, 2);
  });
}

TEST_CASE("simt mfma: routing", "[simt]") {
  std::vector<int> many(70, 0);
  for (std::size_t i = 0; i < many.size(); i += 3) many[i] = static_cast<int>(i % 4) + 1;
  const std::vector<std::vector<int>> routings = {{0, 0, 70, 1, 0, 2}, {130, 0}, {0, 0, 0, 5}, many};
  for_each_path([&](std::span<const matmul_kernel> all, dtype x) {
    for (const std::vector<int>& rows : routings)
      check({.rows = rows,
             .n = 64,
             .k = 128,
             .x = x,
             .x_row_scales = x == dtype::fp8_e4m3,
             .y = dtype::fp32,
             .gather = true,
             .scatter = true,
             .absent = true,
             .gammas = true,
             .seed = rows.size()},
            all, rows.size());
  });
}

TEST_CASE("simt mfma: blocks that share tiles along K", "[simt]") {
  for_each_path([](std::span<const matmul_kernel> all, dtype x) {
    matmul_case matmul({.rows = {3, 0, 17},
                        .n = 64,
                        .k = 1600,
                        .x = x,
                        .y = dtype::bf16,
                        .gather = true,
                        .scatter = true,
                        .absent = true,
                        .gammas = true,
                        .act = activation::swiglu,
                        .lowest_scale = 113,
                        .highest_scale = 118,
                        .layout = weight_layout::mfma_m16k128});
    for (const matmul_kernel& kernel : all) {
      if (kernel.x != x || kernel.flags.split_k == 1) continue;
      // Four steps of K, the last one short: unequal pieces, and fewer steps than blocks that were asked for.
      for (const int split : {3, 16}) {
        INFO(text_of(kernel) << ", split_k " << split);
        CHECK(run(matmul, kernel, {.seed = static_cast<std::uint64_t>(split)}, {.split_k = split})
                  .text(error_limit(dtype::bf16)) == "");
      }
    }
  });
}
