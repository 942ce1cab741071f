// L4: from memory to registers and to LDS, and from LDS to registers.
// Knows: buffer resources with bounds, LDS-direct loads, transposing reads. Must not know: what is loaded.
// Sources: LLVM, "User Guide for AMDGPU Backend" (buffer resources, llvm.amdgcn.raw.ptr.buffer.load.lds); CDNA3 and
// CDNA4 ISA references, "Buffer Instructions" and "Data Share Instructions".
#pragma once

#include <cstddef>
#include <cstdint>

#include "../../detail/config.hpp"
#include "types.cuh"

namespace tilefit::inline v0::device {

/// A range of memory whose loads give zeros behind its end. Must be the same in all lanes of a wave.
/// Whether the scalar part of an offset counts against the end differs between chips: what is to be left out must have
/// an `offset` that is too large by itself.
class buffer {
 public:
  /// More than any buffer holds, with room for a scalar offset of as much again.
  static constexpr std::uint32_t outside = 0x8000'0000u;
  static constexpr std::int64_t most_bytes = 0x7FFF'FFFF;

  __device__ __forceinline__ buffer(const void* data, std::int64_t bytes) noexcept
      : resource_(__builtin_amdgcn_make_buffer_rsrc(const_cast<void*>(data), 0, static_cast<int>(bytes), raw_32_bit)) {}

  /// 1, 4, 8 or 16 bytes from offset + scalar + Constant. buffer_load_ubyte / dword / dwordx2 / dwordx4.
  __device__ __forceinline__ std::uint32_t load_byte(std::uint32_t offset, std::uint32_t scalar,
                                                     std::uint32_t constant = 0) const noexcept {
    return __builtin_amdgcn_raw_buffer_load_b8(resource_, static_cast<int>(offset + constant), static_cast<int>(scalar),
                                               0);
  }
  __device__ __forceinline__ std::uint32_t load_word(std::uint32_t offset, std::uint32_t scalar,
                                                     std::uint32_t constant = 0) const noexcept {
    return __builtin_amdgcn_raw_buffer_load_b32(resource_, static_cast<int>(offset + constant),
                                                static_cast<int>(scalar), 0);
  }
  __device__ __forceinline__ u32x4 load_chunk(std::uint32_t offset, std::uint32_t scalar,
                                              std::uint32_t constant = 0) const noexcept {
    return __builtin_amdgcn_raw_buffer_load_b128(resource_, static_cast<int>(offset + constant),
                                                 static_cast<int>(scalar), 0);
  }

  /// 16 bytes of each lane straight into LDS: lane l's to `to` + 16 * l, zeros for what lies behind the end. `to` is
  /// the same in all lanes. There when the wave has waited for it. buffer_load_dwordx4 ... lds; gfx950 alone: elsewhere
  /// nothing calls it.
  __device__ __forceinline__ void load_chunk_to_lds([[maybe_unused]] std::byte* to,
                                                    [[maybe_unused]] std::uint32_t offset,
                                                    [[maybe_unused]] std::uint32_t scalar) const noexcept {
#if defined(__gfx950__) || !defined(__HIP_DEVICE_COMPILE__)
    __builtin_amdgcn_raw_ptr_buffer_load_lds(resource_, (__attribute__((address_space(3))) void*)to, 16,
                                             static_cast<int>(offset), static_cast<int>(scalar), 0, 0);
#endif
  }
  /// The same with one byte of each lane, which becomes a word at `to` + 4 * l. buffer_load_ubyte ... lds.
  __device__ __forceinline__ void load_byte_to_lds(std::byte* to, std::uint32_t offset,
                                                   std::uint32_t scalar) const noexcept {
    __builtin_amdgcn_raw_ptr_buffer_load_lds(resource_, (__attribute__((address_space(3))) void*)to, 1,
                                             static_cast<int>(offset), static_cast<int>(scalar), 0, 0);
  }

 private:
  static constexpr int raw_32_bit = 0x27000;  // word 3: 32-bit data, no stride, no swizzle

  __amdgpu_buffer_rsrc_t resource_;
};

#if defined(__gfx950__) || !defined(__HIP_DEVICE_COMPILE__)
/// The same from a pointer of each lane's own. global_load_lds_dwordx4 (gfx950).
__device__ __forceinline__ void global_chunk_to_lds(std::byte* to, const void* from) noexcept {
  __builtin_amdgcn_global_load_lds((__attribute__((address_space(1))) void*)const_cast<void*>(from),
                                   (__attribute__((address_space(3))) void*)to, 16, 0, 0);
}

/// Transposing reads of gfx950, for groups of 16 lanes with all lanes active: ds_read_b64_tr_b16, _b8, _b4.
__device__ __forceinline__ u32x2 read_transposed_16bit(const std::byte* from) noexcept {
  return bits_as<u32x2>(__builtin_amdgcn_ds_read_tr16_b64_v4i16((lds_pointer<i16x4>)(const_cast<std::byte*>(from))));
}
using i32x2 = int __attribute__((ext_vector_type(2)));
__device__ __forceinline__ u32x2 read_transposed_8bit(const std::byte* from) noexcept {
  return bits_as<u32x2>(__builtin_amdgcn_ds_read_tr8_b64_v2i32((lds_pointer<i32x2>)(const_cast<std::byte*>(from))));
}
__device__ __forceinline__ u32x2 read_transposed_4bit(const std::byte* from) noexcept {
  return bits_as<u32x2>(__builtin_amdgcn_ds_read_tr4_b64_v2i32((lds_pointer<i32x2>)(const_cast<std::byte*>(from))));
}
#endif

/// The one parameter of the kernel that runs, read from memory here: what is read of it takes no scalar registers
/// before. The compiler reads everything else of parameters at a kernel's start.
template <class Parameter>
__device__ __forceinline__ const Parameter& parameter_again(const Parameter&) noexcept {
  auto* at = __builtin_amdgcn_kernarg_segment_ptr();
  asm volatile("" : "+s"(at));
  return *(const Parameter*)(const __attribute__((address_space(4))) Parameter*)at;
}

/// An array of LDS of its own, known by its number.
template <std::size_t Bytes, int Number = 0, std::size_t Alignment = 1024>
__device__ __forceinline__ std::byte* shared_array() noexcept {
  __shared__ alignas(Alignment) std::byte bytes[Bytes];
  return bytes;
}

/// Adds to a number in LDS that other threads add to as well. Orders nothing. ds_add_u32.
__device__ __forceinline__ void add_to_shared(std::int32_t* sum, std::int32_t value) noexcept {
  __hip_atomic_fetch_add(sum, value, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
}

/// 4 or 16 bytes from LDS, aligned. ds_read_b32, ds_read_b128.
__device__ __forceinline__ std::uint32_t read_word(const std::byte* from) noexcept {
  return *(lds_pointer<const std::uint32_t>)(from);
}
__device__ __forceinline__ u32x4 read_chunk(const std::byte* from) noexcept {
  return *(lds_pointer<const u32x4>)(from);
}
__device__ __forceinline__ void write_chunk(std::byte* to, u32x4 chunk) noexcept { *(lds_pointer<u32x4>)(to) = chunk; }

}  // namespace tilefit::inline v0::device
