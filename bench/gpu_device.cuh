// A GPU as a device of tilefit-bench, the same for both runtimes.
// Knows: that a Runtime has allocate, release, copy, launch and the others under one name; how long work may take.
// Must not know: CUDA, HIP, tiles.
#pragma once

#include <chrono>
#include <string>
#include <thread>

#include "device.hpp"

namespace tilefit::inline v0::bench {

/// `Runtime`: static functions over a toolkit's runtime, which return its error as an int (0 = none), and the launch
/// interface of matmul_ogs. device_cuda.cu and device_hip.hip have one each.
template <class Runtime>
class gpu_device final : public device {
 public:
  gpu_device() {
    kind = Runtime::kind;
    layout = Runtime::layout;
    check(Runtime::make_stream(stream_), "stream");
  }
  ~gpu_device() override { Runtime::end_stream(stream_); }

  std::vector<opt_flags> tiles(dtype x) const override { return Runtime::tiles(arch, x); }
  void* allocate(std::size_t bytes) override {
    void* memory = nullptr;
    check(Runtime::allocate(&memory, bytes > 0 ? bytes : 1), "memory");
    return memory;
  }
  void release(void* memory) noexcept override { Runtime::release(memory); }
  void upload(void* to, const void* from, std::size_t bytes) override {
    check(Runtime::copy(to, from, bytes, true, stream_), "copy to the device");
    wait();
  }
  void download(void* to, const void* from, std::size_t bytes) override {
    check(Runtime::copy(to, from, bytes, false, stream_), "copy from the device");
    wait();
  }
  cuda::launch_status can_launch(const matmul_args& args, const opt_flags& flags) override {
    return Runtime::can_launch(args, flags);
  }
  std::size_t workspace_bytes(const matmul_args& args, const opt_flags& flags) override {
    return Runtime::workspace_bytes(args, flags);
  }
  cuda::launch_status prepare_workspace(void* workspace, std::size_t bytes) override {
    return Runtime::prepare_workspace(workspace, bytes, stream_);
  }
  cuda::launch_status launch(const matmul_args& args, const opt_flags& flags) override {
    return Runtime::launch(args, flags, stream_);
  }
  /// Until the stream is through; a kernel that takes 20 s hangs.
  void wait() override {
    const auto start = std::chrono::steady_clock::now();
    for (long polls = 0;; ++polls) {
      const int state = Runtime::query(stream_);
      if (state == 0) return;
      if (state != Runtime::not_ready) check(state, "work on the device");
      if (std::chrono::steady_clock::now() - start > std::chrono::seconds(20))
        throw device_failure("the device is not through after 20 s", true);
      if (polls > 20000) std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

 private:
  /// An error that stays when the stream is asked again has taken the context with it.
  void check(int error, const char* what) {
    if (error == 0) return;
    const int now = Runtime::query(stream_);
    throw device_failure(std::string(what) + ": " + Runtime::error_text(error), now != 0 && now != Runtime::not_ready);
  }

  typename Runtime::stream stream_ = {};
};

}  // namespace tilefit::inline v0::bench
