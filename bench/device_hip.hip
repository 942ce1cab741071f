// AMD devices: the HIP runtime's calls under the names that gpu_device.cuh uses.
#include <hip/hip_runtime.h>

#include <string>

#include <tilefit/hip/launch.cuh>

#include "gpu_device.cuh"

namespace tilefit::inline v0::bench {
namespace {

struct hip_runtime {
  using stream = hipStream_t;
  static constexpr const char* kind = "hip";
  static constexpr weight_layout layout = weight_layout::mfma_m16k128;
  static constexpr int not_ready = hipErrorNotReady;

  static int make_stream(stream& to) { return hipStreamCreateWithFlags(&to, hipStreamNonBlocking); }
  static void end_stream(stream old) { static_cast<void>(hipStreamDestroy(old)); }
  static int allocate(void** memory, std::size_t bytes) { return hipMalloc(memory, bytes); }
  static void release(void* memory) { static_cast<void>(hipFree(memory)); }
  static int copy(void* to, const void* from, std::size_t bytes, bool up, stream on) {
    return hipMemcpyAsync(to, from, bytes, up ? hipMemcpyHostToDevice : hipMemcpyDeviceToHost, on);
  }
  static int query(stream on) { return hipStreamQuery(on); }
  static std::string error_text(int error) { return hipGetErrorString(static_cast<hipError_t>(error)); }

  static std::vector<opt_flags> tiles(const arch_traits& arch, dtype x) {
    const std::span<const opt_flags> all = hip::catalogue(arch, x);
    return {all.begin(), all.end()};
  }
  static hip::launch_status can_launch(const matmul_args& args, const opt_flags& flags) {
    return hip::can_launch<>(args, flags);
  }
  static std::size_t workspace_bytes(const matmul_args& args, const opt_flags& flags) {
    return hip::workspace_bytes<>(args, flags);
  }
  static hip::launch_status prepare_workspace(void* workspace, std::size_t bytes, stream on) {
    return hip::prepare_workspace(workspace, bytes, on);
  }
  static hip::launch_status launch(const matmul_args& args, const opt_flags& flags, stream on) {
    return hip::launch<>(args, flags, on);
  }
};

}  // namespace

std::unique_ptr<device> open_hip_device(std::string& why) {
  int count = 0;
  if (const hipError_t error = hipGetDeviceCount(&count); error != hipSuccess || count == 0) {
    why = error != hipSuccess ? std::string("no HIP device: ") + hipGetErrorString(error) : "no HIP device";
    return nullptr;
  }
  const hip::device_facts facts = hip::current_device();
  hipDeviceProp_t properties = {};
  if (facts.native_error != 0 || hipGetDeviceProperties(&properties, 0) != hipSuccess) {
    why = "the HIP device does not tell what it is";
    return nullptr;
  }
  auto found = std::make_unique<gpu_device<hip_runtime>>();
  found->arch = facts.arch;
  found->name = std::string(properties.name) + " (" + properties.gcnArchName + ")";
  int driver = 0;
  static_cast<void>(hipDriverGetVersion(&driver));
  found->driver = std::to_string(driver);
  found->toolkit = "HIP " + std::to_string(HIP_VERSION_MAJOR) + "." + std::to_string(HIP_VERSION_MINOR) + "." +
                   std::to_string(HIP_VERSION_PATCH) + ", clang " + __clang_version__;
  return found;
}

}  // namespace tilefit::inline v0::bench
