// L6: the device at hand, as the engine's facts.
// Knows: which CUDA attributes tell them, and how to ask once.
// Must not know: kernels, tiles.
#pragma once

#include <cuda_runtime.h>

#include <atomic>
#include <cstdint>

#include "arch.hpp"
#include "arch_lookup.hpp"
#include "arch_table.hpp"
#include "device_report.hpp"

namespace tilefit::inline v0::cuda {

/// Facts of one CUDA device.
struct device_facts {
  int native_error = 0;  ///< cudaError_t: the device could not be asked, and nothing else here counts
  int device = 0;
  arch_traits arch{};  ///< the row of its architecture, bounded by what the driver reports (device_report.hpp)
  arch_match match = arch_match::exact;
};

/// Asks the driver about a device: by attribute, because some drivers fill cudaDeviceProp with nonsense
/// (ggml-org/llama.cpp#22338).
[[nodiscard]] inline device_facts ask_device(int device) noexcept {
  device_facts facts{.device = device};
  const auto ask = [&](cudaDeviceAttr attribute) {
    int value = 0;
    const cudaError_t error = cudaDeviceGetAttribute(&value, attribute, device);
    if (error != cudaSuccess) facts.native_error = error;
    return value;
  };
  const compute_capability version{.major = ask(cudaDevAttrComputeCapabilityMajor),
                                   .minor = ask(cudaDevAttrComputeCapabilityMinor)};
  const device_report report{.sm_count = ask(cudaDevAttrMultiProcessorCount),
                             .smem_optin = ask(cudaDevAttrMaxSharedMemoryPerBlockOptin),
                             .smem_per_sm = ask(cudaDevAttrMaxSharedMemoryPerMultiprocessor),
                             .smem_reserved = ask(cudaDevAttrReservedSharedMemoryPerBlock),
                             .l2_bytes = ask(cudaDevAttrL2CacheSize),
                             .clock_mhz = ask(cudaDevAttrClockRate) / 1000};
  if (facts.native_error != 0) return facts;
  const auto found = resolve_arch(version);
  if (!found) {
    facts.native_error = cudaErrorInvalidDevice;
    return facts;
  }
  facts.match = found->match;
  facts.arch = merge(found->traits, report).traits;
  return facts;
}

/// Facts of the current device. Each device is asked once; the answer is kept for the life of the process.
[[nodiscard]] inline device_facts current_device() noexcept {
  constexpr int most_devices = 64;
  struct kept_facts {
    std::atomic<int> state{0};  // 0 = unknown, 1 = being written, 2 = there
    device_facts facts{};
  };
  static kept_facts kept[most_devices];
  int device = 0;
  if (const cudaError_t error = cudaGetDevice(&device); error != cudaSuccess) return {.native_error = error};
  if (device < 0 || device >= most_devices) return ask_device(device);
  kept_facts& own = kept[device];
  if (own.state.load(std::memory_order_acquire) == 2) return own.facts;
  const device_facts facts = ask_device(device);
  int unknown = 0;
  if (facts.native_error == 0 && own.state.compare_exchange_strong(unknown, 1)) {
    own.facts = facts;
    own.state.store(2, std::memory_order_release);
  }
  return facts;
}

}  // namespace tilefit::inline v0::cuda
