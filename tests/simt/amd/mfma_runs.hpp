// What tests of the AMD kernels share: which there are, and a run of one.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "matmul_case.hpp"
#include "tilefit/dispatch.hpp"

namespace tilefit_simt {

inline std::string text_of(const matmul_kernel& kernel) {
  return std::string(name_of(kernel.x)) + ", tile of " + std::to_string(kernel.flags.block_m) + " x " +
         std::to_string(kernel.flags.block_n) + " x " + std::to_string(kernel.flags.block_k);
}

/// A block to a tile, or to a piece of one, as the launch has it.
inline unsigned grid_of(const matmul_kernel& kernel, const matmul_args& args, int split_k) {
  return static_cast<unsigned>(kernels::most_row_tiles(args.m, args.experts, kernel.flags.block_m) *
                               detail::ceil_div(args.n, kernel.flags.block_n) * split_k);
}

struct run_options {
  int split_k = 1;
  std::int64_t smem_less = 0;
};
inline verdict run(matmul_case& matmul, const matmul_kernel& kernel, simt::grid_options options,
                   const run_options& how = {}) {
  options.warp_size = 64;
  return matmul.run(kernel, grid_of(kernel, matmul.args, how.split_k), how.split_k, options, how.smem_less);
}

struct family {
  std::span<const matmul_kernel> kernels;
  std::vector<dtype> x;
};
inline std::vector<family> families() {
  using enum dtype;
  return {{gfx950_kernels(), {bf16, fp16, fp8_e4m3, mxfp8, mxfp4}}, {gfx942_kernels(), {bf16, fp16}}};
}
/// visit(kernels, format of X) for every chip and format.
template <class Visitor>
void for_each_format(Visitor visit) {
  for (const family& f : families())
    for (const dtype x : f.x) visit(f.kernels, x);
}
/// The same without FP16, whose kernels differ from those of BF16 in how numbers are widened, rounded and multiplied
/// alone.
template <class Visitor>
void for_each_path(Visitor visit) {
  for_each_format([&](std::span<const matmul_kernel> all, dtype x) {
    if (x != dtype::fp16) visit(all, x);
  });
}

}  // namespace tilefit_simt
