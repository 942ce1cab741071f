// L4: matrix instructions of a wave.
// Knows: v_mfma with 16-bit operands, v_mfma_scale with FP8 and FP4. Must not know: where operands come from.
// Lane layouts: lanes.hpp. Sources: CDNA3 and CDNA4 ISA references, "VOP3P-MAI".
#pragma once

#include <cstdint>
#include <type_traits>

#include "../../detail/config.hpp"
#include "../../dtype.hpp"
#include "lanes.hpp"
#include "types.cuh"

namespace tilefit::inline v0::device {

/// A lane's accumulators of a tile of 16 x 16 or 32 x 32.
template <int Tile>
using mfma_accumulators = std::conditional_t<Tile == 16, f32x4, f32x16>;

/// The matrix instructions that these sums come from keep before this place: they access no memory, so that keep_order
/// alone leaves the compiler free. No instruction.
__device__ __forceinline__ void keep_products_before(f32x4& sums) noexcept { asm volatile("" : "+v"(sums)); }

/// sum += A * B over 8 K of every lane group: 32 K with tiles of 16, 16 K with tiles of 32. One instruction on gfx950
/// (v_mfma_f32_16x16x32, 32x32x16), two of half the K before (16x16x16, 32x32x8), whose lanes take 4 K each.
template <int Tile, dtype X>
__device__ __forceinline__ void multiply_16bit(mfma_accumulators<Tile>& sum, u32x4 a, u32x4 b) noexcept {
  static_assert((Tile == 16 || Tile == 32) && (X == dtype::bf16 || X == dtype::fp16));
#if defined(__gfx950__) || !defined(__HIP_DEVICE_COMPILE__)
  if constexpr (Tile == 16 && X == dtype::bf16)
    sum = __builtin_amdgcn_mfma_f32_16x16x32_bf16(bits_as<bf16x8>(a), bits_as<bf16x8>(b), sum, 0, 0, 0);
  else if constexpr (Tile == 16)
    sum = __builtin_amdgcn_mfma_f32_16x16x32_f16(bits_as<fp16x8>(a), bits_as<fp16x8>(b), sum, 0, 0, 0);
  else if constexpr (X == dtype::bf16)
    sum = __builtin_amdgcn_mfma_f32_32x32x16_bf16(bits_as<bf16x8>(a), bits_as<bf16x8>(b), sum, 0, 0, 0);
  else
    sum = __builtin_amdgcn_mfma_f32_32x32x16_f16(bits_as<fp16x8>(a), bits_as<fp16x8>(b), sum, 0, 0, 0);
#else
  for (int half = 0; half < 2; ++half) {
    const u32x2 left = half == 0 ? a.lo : a.hi, right = half == 0 ? b.lo : b.hi;
    if constexpr (Tile == 16 && X == dtype::bf16)
      sum = __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(bits_as<i16x4>(left), bits_as<i16x4>(right), sum, 0, 0, 0);
    else if constexpr (Tile == 16)
      sum = __builtin_amdgcn_mfma_f32_16x16x16f16(bits_as<fp16x4>(left), bits_as<fp16x4>(right), sum, 0, 0, 0);
    else if constexpr (X == dtype::bf16)
      sum = __builtin_amdgcn_mfma_f32_32x32x8bf16_1k(bits_as<i16x4>(left), bits_as<i16x4>(right), sum, 0, 0, 0);
    else
      sum = __builtin_amdgcn_mfma_f32_32x32x8f16(bits_as<fp16x4>(left), bits_as<fp16x4>(right), sum, 0, 0, 0);
  }
#endif
}

/// sum += A * B over 32 K of every lane group, with block scales: v_mfma_scale_f32_16x16x128_f8f6f4, 32x32x64.
/// A is MXFP4 (4 words of a lane); B is FP8 E4M3 (8 words) or MXFP4 (4). ByteOfA, ByteOfB: which byte of a lane's scale
/// word is its E8M0 scale. gfx950 alone: elsewhere nothing calls it.
template <int Tile, int BitsOfB, int ByteOfA, int ByteOfB>
__device__ __forceinline__ void multiply_scaled([[maybe_unused]] mfma_accumulators<Tile>& sum, [[maybe_unused]] u32x4 a,
                                                [[maybe_unused]] std::uint32_t scale_of_a, [[maybe_unused]] u32x8 b,
                                                [[maybe_unused]] std::uint32_t scale_of_b) noexcept {
  static_assert((Tile == 16 || Tile == 32) && (BitsOfB == 4 || BitsOfB == 8));
#if defined(__gfx950__) || !defined(__HIP_DEVICE_COMPILE__)
  using operand = int __attribute__((ext_vector_type(8)));
  constexpr int fp4 = 4, format_of_b = BitsOfB == 4 ? fp4 : 0;
  const u32x8 left = {a[0], a[1], a[2], a[3], 0, 0, 0, 0};
  if constexpr (Tile == 16)
    sum = __builtin_amdgcn_mfma_scale_f32_16x16x128_f8f6f4(bits_as<operand>(left), bits_as<operand>(b), sum, fp4,
                                                           format_of_b, ByteOfA, static_cast<int>(scale_of_a), ByteOfB,
                                                           static_cast<int>(scale_of_b));
  else
    sum = __builtin_amdgcn_mfma_scale_f32_32x32x64_f8f6f4(bits_as<operand>(left), bits_as<operand>(b), sum, fp4,
                                                          format_of_b, ByteOfA, static_cast<int>(scale_of_a), ByteOfB,
                                                          static_cast<int>(scale_of_b));
#endif
}

}  // namespace tilefit::inline v0::device
