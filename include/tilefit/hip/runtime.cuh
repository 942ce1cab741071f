// L6: the AMD device at hand, as the engine's facts.
// Knows: what the HIP runtime tells of a device, and how to ask once.
// Must not know: kernels, tiles.
#pragma once

#include <hip/hip_runtime.h>

#include <atomic>

#include "../arch.hpp"
#include "../arch_lookup.hpp"
#include "../device_report.hpp"

namespace tilefit::inline v0::hip {

/// Facts of one device.
struct device_facts {
  int native_error = 0;  ///< hipError_t: the device could not be asked, and nothing else here counts
  int device = 0;
  arch_traits arch{};  ///< the row of its architecture, bounded by what the runtime reports
  arch_match match = arch_match::exact;
};

/// Asks the runtime about a device. LDS is the architecture's: runtimes have reported 64 KiB for gfx950.
[[nodiscard]] inline device_facts ask_device(int device) noexcept {
  device_facts facts{.device = device};
  hipDeviceProp_t properties = {};
  if (const hipError_t error = hipGetDeviceProperties(&properties, device); error != hipSuccess) {
    facts.native_error = error;
    return facts;
  }
  const auto found = resolve_arch(std::string_view(properties.gcnArchName));
  if (!found) {
    facts.native_error = hipErrorInvalidDevice;
    return facts;
  }
  facts.match = found->match;
  facts.arch = merge(found->traits, device_report{.sm_count = properties.multiProcessorCount,
                                                  .l2_bytes = properties.l2CacheSize,
                                                  .clock_mhz = properties.clockRate / 1000})
                   .traits;
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
  if (const hipError_t error = hipGetDevice(&device); error != hipSuccess) return {.native_error = error};
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

}  // namespace tilefit::inline v0::hip
