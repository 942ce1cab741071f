// The devices that tilefit-bench runs matmuls on, behind one interface: memory, copies, kernels of matmul_ogs.
// Knows: matmul_args, tiles, what a device can be asked for.
// Must not know: any GPU toolkit, what is multiplied. gpu_device.cuh is the form for GPUs, host_device.cpp the CPU's.
#pragma once

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <tilefit/arch.hpp>
#include <tilefit/dtype.hpp>
#include <tilefit/launch_status.hpp>
#include <tilefit/matmul_args.hpp>
#include <tilefit/opt_flags.hpp>

namespace tilefit::inline v0::bench {

/// A call of the runtime failed, or work does not end. Nothing more can be expected of the device when `lost`.
struct device_failure : std::runtime_error {
  device_failure(const std::string& text, bool is_lost) : std::runtime_error(text), lost(is_lost) {}
  bool lost;
};

class device {
 public:
  device() = default;
  virtual ~device() = default;
  device(const device&) = delete;
  device& operator=(const device&) = delete;

  std::string kind;                                 ///< "cuda", "hip" or "cpu"
  std::string name;                                 ///< as the driver tells it
  std::string driver;                               ///< version, "" on the CPU
  std::string toolkit;                              ///< what the program was built with
  arch_traits arch{};                               ///< of a GPU
  weight_layout layout = weight_layout::row_major;  ///< that its kernels take MXFP4 weights in

  /// Tiles that there are kernels for, for X of this format.
  virtual std::vector<opt_flags> tiles(dtype x) const = 0;

  // Memory is the device's own; copies are done when a call returns. All of these throw device_failure.
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void release(void* memory) noexcept = 0;
  virtual void upload(void* to, const void* from, std::size_t bytes) = 0;
  virtual void download(void* to, const void* from, std::size_t bytes) = 0;

  // matmul_ogs, with device pointers in `args`. launch enqueues (the CPU computes at once), wait returns when all is
  // done.
  virtual cuda::launch_status can_launch(const matmul_args& args, const opt_flags& flags) = 0;
  virtual std::size_t workspace_bytes(const matmul_args& args, const opt_flags& flags) = 0;
  virtual cuda::launch_status prepare_workspace(void* workspace, std::size_t bytes) = 0;
  virtual cuda::launch_status launch(const matmul_args& args, const opt_flags& flags) = 0;
  virtual void wait() = 0;
};

/// The first device of its kind, or nothing and a sentence that says why.
std::unique_ptr<device> open_cuda_device(std::string& why);
std::unique_ptr<device> open_hip_device(std::string& why);
std::unique_ptr<device> open_host_device();

/// What a status says, in a sentence.
std::string text_of(const cuda::launch_status& status);

/// Memory of a device, given back at the end.
class device_memory {
 public:
  explicit device_memory(device& on) : on_(on) {}
  ~device_memory() {
    for (void* const piece : pieces_) on_.release(piece);
  }
  device_memory(const device_memory&) = delete;
  device_memory& operator=(const device_memory&) = delete;

  void* take(std::size_t bytes) {
    pieces_.push_back(nullptr);
    return pieces_.back() = on_.allocate(bytes);
  }
  /// A copy of host data on the device; null for nothing.
  template <class T>
  T* copy(const std::vector<T>& from) {
    if (from.empty()) return nullptr;
    void* const to = take(from.size() * sizeof(T));
    on_.upload(to, from.data(), from.size() * sizeof(T));
    return static_cast<T*>(to);
  }

 private:
  device& on_;
  std::vector<void*> pieces_;
};

}  // namespace tilefit::inline v0::bench
