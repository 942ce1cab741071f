// L4: single numbers for lanes on a CPU: 16-bit pairs, minimum and maximum, 2^x, 1 / x. Same names and meaning as in
// device/cuda/mma.cuh and device/hip/numbers.cuh.
// Knows: formats of numbers. Must not know: lanes.
#pragma once

#include <cmath>
#include <cstdint>

#include "../../dtype.hpp"
#include "../../float_formats.hpp"

namespace tilefit::inline v0::device {

/// The float of the low half of a pair.
template <dtype X>
inline float low_of_pair(std::uint32_t pair) noexcept {
  static_assert(X == dtype::bf16 || X == dtype::fp16);
  if constexpr (X == dtype::bf16) return bf16_to_float(static_cast<std::uint16_t>(pair));
  return fp16_to_float(static_cast<std::uint16_t>(pair));
}

template <dtype X>
inline std::uint32_t pack_pair(float low, float high) noexcept {
  static_assert(X == dtype::bf16 || X == dtype::fp16);
  if constexpr (X == dtype::bf16)
    return float_to_bf16(low) | static_cast<std::uint32_t>(float_to_bf16(high)) << 16;
  else
    return float_to_fp16(low) | static_cast<std::uint32_t>(float_to_fp16(high)) << 16;
}

/// Two E4M3 codes, `low` in the low byte.
inline std::uint32_t pack_e4m3(float low, float high) noexcept {
  return float_to_e4m3(low) | static_cast<std::uint32_t>(float_to_e4m3(high)) << 8;
}

/// Rounded once: a product of two BF16 or FP16 numbers is exact in FP32, but for what lies below its range.
template <dtype X>
inline std::uint32_t multiply_pairs(std::uint32_t a, std::uint32_t b) noexcept {
  return pack_pair<X>(low_of_pair<X>(a) * low_of_pair<X>(b), low_of_pair<X>(a >> 16) * low_of_pair<X>(b >> 16));
}
inline std::uint32_t low_twice(std::uint32_t pair) noexcept { return (pair & 0xFFFFu) | pair << 16; }
inline std::uint32_t high_twice(std::uint32_t pair) noexcept { return (pair & 0xFFFF'0000u) | pair >> 16; }

inline float smaller(float a, float b) noexcept { return a != a ? a : b != b ? b : a < b ? a : b; }
inline float larger(float a, float b) noexcept { return a != a ? a : b != b ? b : a > b ? a : b; }
inline float exp2(float x) noexcept { return std::exp2(x); }
inline float exp(float x) noexcept { return std::exp(x); }
inline float reciprocal(float x) noexcept { return 1.0f / x; }

}  // namespace tilefit::inline v0::device
