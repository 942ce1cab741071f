// CUDA devices: the toolkit's calls under the names that gpu_device.cuh uses.
#include <cuda_runtime.h>

#include <string>

#include <tilefit/launch.cuh>

#include "gpu_device.cuh"

namespace tilefit::inline v0::bench {
namespace {

struct cuda_runtime {
  using stream = cudaStream_t;
  static constexpr const char* kind = "cuda";
  static constexpr weight_layout layout = weight_layout::mma_m16k64;
  static constexpr int not_ready = cudaErrorNotReady;

  static int make_stream(stream& to) { return cudaStreamCreateWithFlags(&to, cudaStreamNonBlocking); }
  static void end_stream(stream old) { static_cast<void>(cudaStreamDestroy(old)); }
  static int allocate(void** memory, std::size_t bytes) { return cudaMalloc(memory, bytes); }
  static void release(void* memory) { static_cast<void>(cudaFree(memory)); }
  static int copy(void* to, const void* from, std::size_t bytes, bool up, stream on) {
    return cudaMemcpyAsync(to, from, bytes, up ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost, on);
  }
  static int query(stream on) { return cudaStreamQuery(on); }
  static std::string error_text(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }

  static std::vector<opt_flags> tiles(const arch_traits&, dtype x) {
    if (x != dtype::bf16 && x != dtype::fp16) return {};
    const std::span<const opt_flags> all = cuda::device_catalogue<>();
    return {all.begin(), all.end()};
  }
  static cuda::launch_status can_launch(const matmul_args& args, const opt_flags& flags) {
    return cuda::can_launch<>(args, flags);
  }
  static std::size_t workspace_bytes(const matmul_args& args, const opt_flags& flags) {
    return cuda::workspace_bytes<>(args, flags);
  }
  static cuda::launch_status prepare_workspace(void* workspace, std::size_t bytes, stream on) {
    return cuda::prepare_workspace(workspace, bytes, on);
  }
  static cuda::launch_status launch(const matmul_args& args, const opt_flags& flags, stream on) {
    return cuda::launch<>(args, flags, on);
  }
};

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

}  // namespace

std::unique_ptr<device> open_cuda_device(std::string& why) {
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess || count == 0) {
    why = error != cudaSuccess ? std::string("no CUDA device: ") + cudaGetErrorString(error) : "no CUDA device";
    return nullptr;
  }
  const cuda::device_facts facts = cuda::current_device();
  cudaDeviceProp properties{};
  if (facts.native_error != 0 || cudaGetDeviceProperties(&properties, 0) != cudaSuccess) {
    why = "the CUDA device does not tell what it is";
    return nullptr;
  }
  auto found = std::make_unique<gpu_device<cuda_runtime>>();
  found->arch = facts.arch;
  found->name = properties.name;
  int driver = 0, runtime = 0;
  static_cast<void>(cudaDriverGetVersion(&driver));
  static_cast<void>(cudaRuntimeGetVersion(&runtime));
  found->driver = "for CUDA " + version_text(driver);
  found->toolkit = "CUDA " + version_text(runtime);
  return found;
}

}  // namespace tilefit::inline v0::bench
