// The kernels for AMD's matrix cores, lane by lane, within their chips' LDS: every tile and every format of X, against
// float64 of the same quantised numbers; and with a wait, a barrier, a lane or a byte of LDS less.
#include <string>
#include <vector>

#include "../../support/catch.hpp"
#include "matmul_case.hpp"

using namespace tilefit_simt;
using simt::fault_kind;
using simt::sabotage_kind;

namespace {

std::string text_of(const matmul_kernel& kernel) {
  return std::string(name_of(kernel.x)) + ", tile of " + std::to_string(kernel.flags.block_m) + " x " +
         std::to_string(kernel.flags.block_n) + " x " + std::to_string(kernel.flags.block_k);
}

/// A block to a tile, as the launch has it.
unsigned grid_of(const matmul_kernel& kernel, const matmul_args& args) {
  return static_cast<unsigned>(kernels::most_row_tiles(args.m, args.experts, kernel.flags.block_m) *
                               detail::ceil_div(args.n, kernel.flags.block_n));
}

verdict run(matmul_case& matmul, const matmul_kernel& kernel, simt::grid_options options, std::int64_t less = 0) {
  options.warp_size = 64;
  return matmul.run(kernel, grid_of(kernel, matmul.args), 1, options, less);
}

void check(case_spec spec, std::span<const matmul_kernel> all, std::uint64_t seed) {
  spec.layout = weight_layout::mfma_m16k128;
  matmul_case matmul(spec);
  for (const matmul_kernel& kernel : all) {
    if (kernel.x != spec.x) continue;
    INFO(text_of(kernel) << ", n " << spec.n << ", k " << spec.k << ", rows " << matmul.args.m);
    CHECK(run(matmul, kernel, {.seed = seed}).text(error_limit(spec.y)) == "");
  }
}

struct family {
  std::span<const matmul_kernel> kernels;
  std::vector<dtype> x;
};
std::vector<family> families() {
  using enum dtype;
  return {{gfx950_kernels(), {bf16, fp16, fp8_e4m3, mxfp8, mxfp4}}, {gfx942_kernels(), {bf16, fp16}}};
}
template <class Visitor>
void for_each_format(Visitor visit) {
  for (const family& f : families())
    for (const dtype x : f.x) visit(f.kernels, x);
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
  for_each_format([](std::span<const matmul_kernel> all, dtype x) {
    for (const std::int64_t n : {32, 96, 320})
      for (const std::int64_t k : {32, 96, 320})
        if (n != 96 || k != 32)
          check({.rows = {1, 6}, .n = n, .k = k, .x = x, .y = dtype::fp32}, all, static_cast<std::uint64_t>(n + k));
  });
}

TEST_CASE("simt mfma: K and N of gpt-oss, few rows", "[simt]") {
  for_each_format([](std::span<const matmul_kernel> all, dtype x) {
    check({.rows = {3}, .n = 2880, .k = 96, .x = x, .y = dtype::bf16}, all, 1);
    check({.rows = {2, 1}, .n = 96, .k = 2880, .x = x, .y = dtype::bf16}, all, 2);
  });
}

TEST_CASE("simt mfma: routing", "[simt]") {
  std::vector<int> many(70, 0);
  for (std::size_t i = 0; i < many.size(); i += 3) many[i] = static_cast<int>(i % 4) + 1;
  const std::vector<std::vector<int>> routings = {{0, 0, 70, 1, 0, 2}, {130, 0}, {0, 0, 0, 5}, many};
  for_each_format([&](std::span<const matmul_kernel> all, dtype x) {
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

TEST_CASE("simt mfma: mistakes", "[simt]") {
  for_each_format([](std::span<const matmul_kernel> all, dtype x) {
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
      CHECK(run(matmul, kernel, {}, 1).grid.faults.has(fault_kind::out_of_bounds));
    }
  });
}
