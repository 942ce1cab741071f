// The CPU backend as a device.
#include <cstdlib>
#include <cstring>

#include <tilefit/explain.hpp>
#include <tilefit/host/matmul_ogs.hpp>
#include <tilefit/ogs_policy.hpp>

#include "commands.hpp"
#include "device.hpp"

namespace tilefit::inline v0::bench {
namespace {

class host_device final : public device {
 public:
  host_device() {
    kind = "cpu";
    name = host_name();
#ifdef __VERSION__
    toolkit = std::string("compiler ") + __VERSION__;
#endif
  }
  /// The CPU takes any tile: those for few and for many rows of the smaller GPUs.
  std::vector<opt_flags> tiles(dtype) const override {
    return {ogs_policy::generic_tiles.begin(), ogs_policy::generic_tiles.end()};
  }
  void* allocate(std::size_t bytes) override {
    void* const memory = std::malloc(bytes > 0 ? bytes : 1);
    if (memory == nullptr) throw device_failure("out of memory", false);
    return memory;
  }
  void release(void* memory) noexcept override { std::free(memory); }
  void upload(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  void download(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  cuda::launch_status can_launch(const matmul_args& args, const opt_flags&) override {
    return {.code = check_args(args)};
  }
  std::size_t workspace_bytes(const matmul_args& args, const opt_flags& flags) override {
    return host::workspace_bytes(args, flags);
  }
  cuda::launch_status prepare_workspace(void*, std::size_t) override { return {}; }
  cuda::launch_status launch(const matmul_args& args, const opt_flags& flags) override {
    return {.code = host::matmul_ogs(args, flags)};
  }
  void wait() override {}
};

}  // namespace

std::unique_ptr<device> open_host_device() { return std::make_unique<host_device>(); }

#ifndef TILEFIT_WITH_CUDA
std::unique_ptr<device> open_cuda_device(std::string& why) {
  why = "this program was built without CUDA (TILEFIT_CUDA=ON builds it in where nvcc is)";
  return nullptr;
}
#endif
#ifndef TILEFIT_WITH_HIP
std::unique_ptr<device> open_hip_device(std::string& why) {
  why = "this program was built without HIP (TILEFIT_HIP=ON builds it in where a HIP compiler and libamdhip64 are)";
  return nullptr;
}
#endif

std::string text_of(const cuda::launch_status& status) {
  std::string text(name_of(status.code));
  if (status.reason) {
    text += ": ";
    text += status.reason.subject;
    text += " is " + std::to_string(status.reason.value);
    if (!status.reason.why.empty()) text += " (" + std::string(status.reason.why) + ")";
  }
  return text;
}

}  // namespace tilefit::inline v0::bench
