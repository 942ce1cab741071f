// A kernel of your own: its tiles are a policy's, its shared memory is laid out by the plan that the engine counts
// with, and the flags that the engine chooses name the instantiation to launch. Y = X * W^T, BF16 in, FP32 out.
#include <cuda_bf16.h>
#include <tilefit/dispatch.hpp>
#include <tilefit/runtime.cuh>
#include <tilefit/tilefit.hpp>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace mine {

using tilefit::arch_traits, tilefit::matmul_formats, tilefit::matmul_problem, tilefit::opt_flags;
using tilefit::smem_lifetime, tilefit::smem_plan, tilefit::smem_region;

/// Bytes of a block: the only place that counts them.
constexpr smem_plan plan_of(const opt_flags& flags) {
  smem_plan plan;
  plan.add(smem_region::x_values, 2 * flags.block_m * flags.block_k, smem_lifetime::per_stage, 16);
  plan.add(smem_region::w_values, 2 * flags.block_n * flags.block_k, smem_lifetime::per_stage, 16);
  return plan;
}

struct my_policy {
  static constexpr opt_flags tiles[] = {
      {.block_m = 16, .block_n = 64, .block_k = 64, .num_warps = 8, .num_stages = 1},
      {.block_m = 64, .block_n = 64, .block_k = 64, .num_warps = 8, .num_stages = 1},
      {.block_m = 128, .block_n = 128, .block_k = 64, .num_warps = 8, .num_stages = 1},
  };
  constexpr std::string_view name() const noexcept { return "my kernels"; }
  constexpr std::span<const opt_flags> candidates(const arch_traits&, const matmul_problem&) const noexcept {
    return tiles;
  }
  constexpr smem_plan plan(const arch_traits&, const matmul_formats&, const opt_flags& flags) const noexcept {
    return plan_of(flags);
  }
};

/// One of them, as a type.
template <int Index>
struct tile {
  static constexpr opt_flags flags = my_policy::tiles[Index];
  static constexpr smem_plan plan = plan_of(flags).with_stages(flags.num_stages);
  static_assert(plan.total_bytes() <= tilefit::arch_v<tilefit::arch_id::sm_80>.smem_block_bytes);
};

struct operands {
  const __nv_bfloat16 *x, *w;
  float* y;
  int m, n, k;  ///< k is a multiple of block_k
};

/// A block computes block_m x block_n of Y, a thread every sixteenth row and column of that.
template <int Index>
__global__ void __launch_bounds__(256) matmul(const operands args) {
  constexpr opt_flags flags = tile<Index>::flags;
  constexpr smem_plan plan = tile<Index>::plan;
  extern __shared__ unsigned char memory[];
  auto* const x = reinterpret_cast<__nv_bfloat16*>(memory + plan[smem_region::x_values].offset);
  auto* const w = reinterpret_cast<__nv_bfloat16*>(memory + plan[smem_region::w_values].offset);
  const int first_m = static_cast<int>(blockIdx.y) * flags.block_m;
  const int first_n = static_cast<int>(blockIdx.x) * flags.block_n;
  const int thread = static_cast<int>(threadIdx.x), across = thread % 16, down = thread / 16;
  const auto copy = [&](__nv_bfloat16* to, const __nv_bfloat16* from, int first, int rows, int rows_there, int k) {
    for (int i = thread; i < rows * flags.block_k; i += 256) {
      const int row = first + i / flags.block_k;
      to[i] = row < rows_there ? from[row * args.k + k + i % flags.block_k] : __float2bfloat16(0.0f);
    }
  };
  float sum[flags.block_m / 16][flags.block_n / 16] = {};
  for (int k = 0; k < args.k; k += flags.block_k) {
    copy(x, args.x, first_m, flags.block_m, args.m, k);
    copy(w, args.w, first_n, flags.block_n, args.n, k);
    __syncthreads();
    for (int i = 0; i < flags.block_k; ++i)
      for (int r = 0; r < flags.block_m / 16; ++r)
        for (int c = 0; c < flags.block_n / 16; ++c)
          sum[r][c] += __bfloat162float(x[(down + 16 * r) * flags.block_k + i]) *
                       __bfloat162float(w[(across + 16 * c) * flags.block_k + i]);
    __syncthreads();
  }
  for (int r = 0; r < flags.block_m / 16; ++r)
    for (int c = 0; c < flags.block_n / 16; ++c)
      if (const int row = first_m + down + 16 * r, column = first_n + across + 16 * c; row < args.m && column < args.n)
        args.y[row * args.n + column] = sum[r][c];
}

/// Ends the program when a CUDA call has failed.
inline void require(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::printf("CUDA: %s\n", cudaGetErrorString(error));
  std::exit(1);
}

}  // namespace mine

int main() {
  using namespace mine;
  const tilefit::cuda::device_facts device = tilefit::cuda::current_device();
  if (device.native_error != 0) return std::puts("no CUDA device"), 77;
  constexpr int m = 200, n = 320, k = 512;
  const matmul_problem problem{
      .m = m,
      .n = n,
      .k = k,
      .formats = {.x = tilefit::dtype::bf16, .w = tilefit::dtype::bf16, .y = tilefit::dtype::fp32}};
  const tilefit::selection choice = tilefit::make_opt_flags(device.arch, problem, {}, my_policy{});
  if (!choice.ok()) return std::printf("no tile: %s\n", std::string(name_of(choice.status)).c_str()), 1;

  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<__nv_bfloat16> x(m * k), w(n * k);
  for (auto& value : x) value = __float2bfloat16(normal(random));
  for (auto& value : w) value = __float2bfloat16(normal(random));
  std::vector<float> y(m * n);
  __nv_bfloat16 *x_there = nullptr, *w_there = nullptr;
  float* y_there = nullptr;
  require(cudaMalloc(&x_there, x.size() * 2));
  require(cudaMalloc(&w_there, w.size() * 2));
  require(cudaMalloc(&y_there, y.size() * 4));
  require(cudaMemcpy(x_there, x.data(), x.size() * 2, cudaMemcpyHostToDevice));
  require(cudaMemcpy(w_there, w.data(), w.size() * 2, cudaMemcpyHostToDevice));

  const opt_flags& flags = choice.flags;
  const dim3 grid((n + flags.block_n - 1) / flags.block_n, (m + flags.block_m - 1) / flags.block_m);
  tilefit::with_index<std::size(my_policy::tiles)>(tilefit::find_kernel(my_policy::tiles, flags), [&]<int Index>() {
    const auto bytes = static_cast<int>(choice.need_bytes());
    require(cudaFuncSetAttribute(matmul<Index>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
    matmul<Index><<<grid, 256, static_cast<std::size_t>(bytes)>>>({x_there, w_there, y_there, m, n, k});
  });
  require(cudaGetLastError());
  require(cudaMemcpy(y.data(), y_there, y.size() * 4, cudaMemcpyDeviceToHost));

  double wrong = 0, norm = 0;
  for (int row = 0; row < m; ++row)
    for (int column = 0; column < n; ++column) {
      double sum = 0;
      for (int i = 0; i < k; ++i)
        sum += double{__bfloat162float(x[row * k + i])} * double{__bfloat162float(w[column * k + i])};
      wrong += (double{y[row * n + column]} - sum) * (double{y[row * n + column]} - sum);
      norm += sum * sum;
    }
  const double error = std::sqrt(wrong / norm);
  std::printf("%d x %d x %d, %lld of %lld B of shared memory, error %.1e\n", flags.block_m, flags.block_n,
              flags.block_k, static_cast<long long>(choice.need_bytes()), static_cast<long long>(choice.budget_bytes),
              error);
  require(cudaFree(x_there));
  require(cudaFree(w_there));
  require(cudaFree(y_there));
  return error <= 1e-5 ? 0 : 1;
}
