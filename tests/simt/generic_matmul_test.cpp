// The generic mma.sync kernels, lane by lane, within SM120's shared memory: every tile, against float64.
#include <string>
#include <vector>

#include "../support/catch.hpp"
#include "matmul_case.hpp"

using namespace tilefit_simt;

namespace {

std::string text_of(const matmul_kernel& kernel) {
  return std::string(name_of(kernel.x)) + ", tile of " + std::to_string(kernel.flags.block_m) + " x " +
         std::to_string(kernel.flags.block_n) + " x " + std::to_string(kernel.flags.block_k);
}

struct how {
  unsigned grid = 3;
  int split_k = 1;
  std::uint64_t seed = 1;
};

/// Runs the case with every tile for its format of X.
void check(const case_spec& spec, const how& launch = {}) {
  matmul_case matmul(spec);
  for (const matmul_kernel& kernel : generic_kernels()) {
    if (kernel.x != spec.x || launch.split_k > kernel.flags.split_k) continue;
    INFO(text_of(kernel) << ", n " << spec.n << ", k " << spec.k << ", rows " << matmul.args.m << ", seed "
                         << launch.seed);
    const verdict out = matmul.run(kernel, launch.grid, launch.split_k, {.seed = launch.seed});
    CHECK(out.text(error_limit(spec.y)) == "");
  }
}

constexpr dtype x_types[] = {dtype::bf16, dtype::fp16};

}  // namespace

TEST_CASE("simt matmul: epilogues", "[simt]") {
  std::uint64_t seed = 0;
  for (const dtype x : x_types)
    for (const dtype y : {dtype::bf16, dtype::fp16, dtype::fp32})
      for (const activation act : {activation::none, activation::swiglu})
        for (const bool accumulate : {false, true})
          check({.rows = {3, 10},
                 .n = 128,
                 .k = 192,
                 .x = x,
                 .y = y,
                 .scatter = seed % 2 == 0,
                 .bias = seed % 3 != 0,
                 .gammas = seed % 2 == 1,
                 .act = act,
                 .accumulate = accumulate,
                 .lowest_scale = 116,
                 .highest_scale = 121,
                 .seed = seed},
                {.seed = seed}),
              ++seed;
}

TEST_CASE("simt matmul: tails along K and N", "[simt]") {
  for (const dtype x : x_types)
    for (const std::int64_t n : {32, 96, 320})
      for (const std::int64_t k : {32, 96, 320})
        check({.rows = {1, 6}, .n = n, .k = k, .x = x, .y = dtype::fp32},
              {.grid = 2, .seed = static_cast<std::uint64_t>(n + k)});
}

TEST_CASE("simt matmul: K and N of gpt-oss, few rows", "[simt]") {
  for (const dtype x : x_types) {
    check({.rows = {3}, .n = 2880, .k = 96, .x = x, .y = dtype::bf16}, {.grid = 4});
    check({.rows = {2, 1}, .n = 96, .k = 2880, .x = x, .y = dtype::bf16}, {.grid = 4});
  }
  check({.rows = {3}, .n = 2880, .k = 2880, .y = dtype::bf16}, {.grid = 4});
}

TEST_CASE("simt matmul: rows of every number", "[simt]") {
  // Widths of a tile, one more, one less, and more tiles than one.
  for (const int rows : {1, 7, 8, 9, 16, 17, 31, 32, 33, 48, 63, 64, 65, 130})
    check({.rows = {rows}, .n = 128, .k = 128, .y = dtype::fp32},
          {.grid = 2, .seed = static_cast<std::uint64_t>(rows)});
}

TEST_CASE("simt matmul: routing", "[simt]") {
  std::vector<int> many(70, 0);
  for (std::size_t i = 0; i < many.size(); i += 3) many[i] = static_cast<int>(i % 4) + 1;
  const std::vector<std::vector<int>> routings = {
      {0, 0, 70, 1, 0, 0, 2}, {64, 0, 0, 0}, {0, 0, 0, 5}, {1, 1, 1, 1, 1, 1, 1, 1}, many};
  for (const dtype x : x_types)
    for (const std::vector<int>& rows : routings)
      for (const bool absent : {false, true})
        check({.rows = rows,
               .n = 64,
               .k = 128,
               .x = x,
               .y = dtype::fp32,
               .gather = true,
               .scatter = true,
               .absent = absent,
               .gammas = true,
               .seed = rows.size()},
              {.grid = 5, .seed = rows.size()});
}

TEST_CASE("simt matmul: split along K", "[simt]") {
  for (const dtype x : x_types)
    for (const unsigned grid : {2u, 5u, 11u})
      check({.rows = {5, 0, 9},
             .n = 160,
             .k = 1056,
             .x = x,
             .y = dtype::fp32,
             .gather = true,
             .scatter = true,
             .absent = true,
             .act = activation::swiglu,
             .lowest_scale = 114,
             .highest_scale = 119},
            {.grid = grid, .split_k = 16, .seed = grid});
}

TEST_CASE("simt matmul: scales that cannot be folded", "[simt]") {
  check({.rows = {9}, .n = 96, .k = 160, .y = dtype::fp32, .bias = false, .lowest_scale = 90, .highest_scale = 140});
  check({.rows = {9},
         .n = 96,
         .k = 160,
         .x = dtype::fp16,
         .y = dtype::fp32,
         .bias = false,
         .lowest_scale = 126,
         .highest_scale = 130});
}

TEST_CASE("simt matmul: the same bits in every order", "[simt]") {
  matmul_case matmul({.rows = {7, 20}, .n = 160, .k = 320, .y = dtype::fp32, .gather = true});
  const auto bytes = static_cast<std::size_t>(matmul.args.y.rows * matmul.args.y.row_stride) * 4;
  for (const matmul_kernel& kernel : generic_kernels()) {
    if (kernel.x != dtype::bf16) continue;
    std::vector<std::byte> first;
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
      const verdict out = matmul.run(kernel, 3, kernel.flags.split_k, {.seed = seed, .blocks_at_once = 3});
      CHECK(out.text(error_limit(dtype::fp32)) == "");
      const auto* const y = static_cast<const std::byte*>(matmul.args.y.data);
      if (first.empty()) first.assign(y, y + bytes);
      CHECK(std::equal(first.begin(), first.end(), y));
    }
  }
}
