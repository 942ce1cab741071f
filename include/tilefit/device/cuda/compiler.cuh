// L4: words with the compiler.
// Knows: what keeps it from moving computations.
// Must not know: what is computed.
#pragma once

#include <cstdint>

#include "../../detail/config.hpp"

namespace tilefit::inline v0::device {

/// `value`, of which the compiler knows nothing any more: what is worked out from it is worked out here, not ahead of
/// a loop where it would take a register all the time.
__device__ inline int hidden(int value) noexcept {
  asm volatile("" : "+r"(value));
  return value;
}
__device__ inline unsigned hidden(unsigned value) noexcept {
  asm volatile("" : "+r"(value));
  return value;
}
__device__ inline std::int64_t hidden(std::int64_t value) noexcept {
  asm volatile("" : "+l"(value));
  return value;
}

/// Lane 0's value, known to the compiler as the same in all lanes: what follows from it takes uniform registers and
/// instructions. All lanes of a warp call.
__device__ inline std::int32_t uniform(std::int32_t value) noexcept { return __shfl_sync(0xFFFFFFFFu, value, 0); }
__device__ inline std::uint32_t uniform(std::uint32_t value) noexcept { return __shfl_sync(0xFFFFFFFFu, value, 0); }

}  // namespace tilefit::inline v0::device
