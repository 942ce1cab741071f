// What the GPU at hand can do at best: bytes copied, bytes read, bf16 products.
// Knows: three plain jobs and their rates. Must not know: anything of tilefit's kernels.
// The product is cuBLAS's, loaded at run time where its header was there at build time.
#pragma once

#include <cstdint>
#include <string>

#include "../tests/gpu/graph_timing.cuh"
#include "gpu_sweep.hpp"

#if __has_include(<cublas_v2.h>) && __has_include(<dlfcn.h>)
#include <cublas_v2.h>
#include <dlfcn.h>
#endif

namespace tilefit_gpu {

using gpu_ceilings = tilefit::bench::rate_ceilings;

__global__ void read_all_kernel(const uint4* data, std::int64_t count, unsigned* out) {
  constexpr int in_flight = 8;
  const std::int64_t stride = item_stride();
  unsigned sum = 0;
  for (std::int64_t i = first_item(); i < count; i += in_flight * stride) {
    uint4 values[in_flight];
#pragma unroll
    for (int j = 0; j < in_flight; ++j)
      values[j] = i + j * stride < count ? data[i + j * stride] : make_uint4(0, 0, 0, 0);
#pragma unroll
    for (int j = 0; j < in_flight; ++j) sum ^= values[j].x ^ values[j].y ^ values[j].z ^ values[j].w;
  }
  if (sum == 0x600DF00D) *out = sum;  // so that nothing of this can be left out
}

inline void measure_bandwidth(cudaStream_t stream, stopwatch& watch, std::size_t bytes, gpu_ceilings& found) {
  void *from = nullptr, *to = nullptr;
  check(cudaMalloc(&from, bytes), "buffer to copy from");
  check(cudaMalloc(&to, bytes), "buffer to copy to");
  fill_normal(stream,
              {from, dtype::bf16, 1, static_cast<std::int64_t>(bytes / 2), static_cast<std::int64_t>(bytes / 2)}, 1.0f,
              1);
  const auto copy = [&] { check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), "copy"); };
  static_cast<void>(watch.times(2, false, copy));
  found.copy_gbps = 2e-3 * static_cast<double>(bytes) / summarise(watch.times(9, false, copy)).median;
  int processors = 0;
  check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, 0), "number of multiprocessors");
  for (const int blocks : {4, 8, 16}) {
    const auto read = [&] {
      enqueue(stream, {blocks * processors}, read_all_kernel, static_cast<const uint4*>(from),
              static_cast<std::int64_t>(bytes / sizeof(uint4)), static_cast<unsigned*>(to));
    };
    static_cast<void>(watch.times(2, false, read));
    const double rate = 1e-3 * static_cast<double>(bytes) / summarise(watch.times(9, false, read)).median;
    if (rate > found.read_gbps) found.read_gbps = rate;
  }
  check(cudaFree(from), "free");
  check(cudaFree(to), "free");
}

/// bf16 product of two random square matrices with fp32 sums. Leaves `found` as it is where there is no cuBLAS.
#if __has_include(<cublas_v2.h>) && __has_include(<dlfcn.h>)
inline void measure_gemm(cudaStream_t stream, stopwatch& watch, int size, gpu_ceilings& found) {
  void* library = nullptr;
  for (const char* name :
       {"libcublas.so.13", "/usr/local/cuda/lib64/libcublas.so.13", "libcublas.so.12", "libcublas.so"})
    if (library == nullptr) library = dlopen(name, RTLD_NOW);
  if (library == nullptr) return;
  using create = cublasStatus_t (*)(cublasHandle_t*);
  using set_stream = cublasStatus_t (*)(cublasHandle_t, cudaStream_t);
  using gemm = cublasStatus_t (*)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void*,
                                  const void*, cudaDataType, int, const void*, cudaDataType, int, const void*, void*,
                                  cudaDataType, int, cublasComputeType_t, cublasGemmAlgo_t);
  const auto make = reinterpret_cast<create>(dlsym(library, "cublasCreate_v2"));
  const auto use = reinterpret_cast<set_stream>(dlsym(library, "cublasSetStream_v2"));
  const auto multiply = reinterpret_cast<gemm>(dlsym(library, "cublasGemmEx"));
  cublasHandle_t handle = nullptr;
  if (make == nullptr || use == nullptr || multiply == nullptr || make(&handle) != CUBLAS_STATUS_SUCCESS) return;
  if (use(handle, stream) != CUBLAS_STATUS_SUCCESS) return;
  const std::int64_t elements = std::int64_t{size} * size;
  void* matrices[3] = {};
  for (int i = 0; i < 3; ++i) {
    check(cudaMalloc(&matrices[i], static_cast<std::size_t>(2 * elements)), "matrix");
    fill_normal(stream, {matrices[i], dtype::bf16, 1, elements, elements}, 1.0f, static_cast<std::uint64_t>(i + 1));
  }
  const float one = 1.0f, zero = 0.0f;
  bool right = true;
  const auto product = [&] {
    right = right && multiply(handle, CUBLAS_OP_T, CUBLAS_OP_N, size, size, size, &one, matrices[0], CUDA_R_16BF, size,
                              matrices[1], CUDA_R_16BF, size, &zero, matrices[2], CUDA_R_16BF, size, CUBLAS_COMPUTE_32F,
                              CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS;
  };
  static_cast<void>(watch.times(3, false, product));
  const double microseconds = summarise(watch.times(15, false, product)).median;
  for (void* matrix : matrices) check(cudaFree(matrix), "free");
  if (!right) return;
  const double n = size;
  found.gemm_tflops = 2e-6 * n * n * n / microseconds;
  found.gemm_source = "cublasGemmEx, bf16, " + std::to_string(size) + "^3";
}
#else
inline void measure_gemm(cudaStream_t, stopwatch&, int, gpu_ceilings&) {}
#endif

}  // namespace tilefit_gpu
