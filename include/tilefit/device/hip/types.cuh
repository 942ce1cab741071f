// L4: the vectors that CDNA instructions take.
// Knows: names for them, and the address space of LDS.
// Must not know: instructions.
#pragma once

#include <hip/hip_runtime.h>

#include <cstddef>
#include <cstdint>

#include "../../detail/config.hpp"

namespace tilefit::inline v0::device {

using u32x2 = std::uint32_t __attribute__((ext_vector_type(2)));
using u32x4 = std::uint32_t __attribute__((ext_vector_type(4)));
using u32x8 = std::uint32_t __attribute__((ext_vector_type(8)));
using f32x2 = float __attribute__((ext_vector_type(2)));
using f32x4 = float __attribute__((ext_vector_type(4)));
using f32x16 = float __attribute__((ext_vector_type(16)));
using bf16x2 = __bf16 __attribute__((ext_vector_type(2)));
using bf16x8 = __bf16 __attribute__((ext_vector_type(8)));
using fp16x2 = _Float16 __attribute__((ext_vector_type(2)));
using fp16x4 = _Float16 __attribute__((ext_vector_type(4)));
using fp16x8 = _Float16 __attribute__((ext_vector_type(8)));
using i16x4 = short __attribute__((ext_vector_type(4)));

/// A pointer into LDS.
template <class Object>
using lds_pointer = __attribute__((address_space(3))) Object*;

/// `low` in the lower half.
__device__ __forceinline__ u32x8 joined(u32x4 low, u32x4 high) noexcept {
  return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
}

template <class To, class From>
__device__ __forceinline__ To bits_as(const From& from) noexcept {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, from);
}

}  // namespace tilefit::inline v0::device
