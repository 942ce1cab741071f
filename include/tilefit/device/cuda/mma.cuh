// L4: matrix instructions of a warp, SM80 and later.
// Knows: ldmatrix, mma.sync m16n8k16, packed 16-bit multiplication. Must not know: where operands come from.
// Lane layouts: lanes.hpp. Source: PTX ISA, "Warp Level Matrix Multiply-Accumulate Instructions".
#pragma once

#include <cstdint>

#include "../../detail/config.hpp"
#include "../../dtype.hpp"
#include "../../float_formats.hpp"

namespace tilefit::inline v0::device {

/// Four 8 x 8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8.
/// PTX: ldmatrix.sync.aligned.m8n8.x4.
__device__ inline void load_matrices(std::uint32_t address, std::uint32_t (&to)[4]) noexcept {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}

/// sum[16, 8] += a[16, 16] * b[16, 8], FP32 accumulation. PTX: mma.sync.aligned.m16n8k16.row.col.f32.
template <dtype X>
__device__ inline void mma_m16n8k16(float* sum, const std::uint32_t (&a)[4], std::uint32_t b0,
                                    std::uint32_t b1) noexcept {
  static_assert(X == dtype::bf16 || X == dtype::fp16);
  if constexpr (X == dtype::bf16)
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, "
        "%2, "
        "%3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
        "%3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Products of two pairs, each rounded once; subnormal numbers count. PTX: fma.rn.bf16x2 / mul.rn.f16x2
/// (mul.bf16x2 needs SM90; adding -0 to a product changes nothing).
template <dtype X>
__device__ inline std::uint32_t multiply_pairs(std::uint32_t a, std::uint32_t b) noexcept {
  static_assert(X == dtype::bf16 || X == dtype::fp16);
  std::uint32_t product = 0;
  if constexpr (X == dtype::bf16)
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(product) : "r"(a), "r"(b), "r"(0x80008000u));
  else
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(product) : "r"(a), "r"(b));
  return product;
}

/// The low or the high half of a pair in both halves: no instruction of its own where a packed one takes it.
/// PTX: mov.b32.
__device__ inline std::uint32_t low_twice(std::uint32_t pair) noexcept {
  std::uint32_t both = 0;
  asm("{ .reg .b16 low, high; mov.b32 {low, high}, %1; mov.b32 %0, {low, low}; }" : "=r"(both) : "r"(pair));
  return both;
}
__device__ inline std::uint32_t high_twice(std::uint32_t pair) noexcept {
  std::uint32_t both = 0;
  asm("{ .reg .b16 low, high; mov.b32 {low, high}, %1; mov.b32 %0, {high, high}; }" : "=r"(both) : "r"(pair));
  return both;
}

/// Two floats rounded to a pair, `low` in the low half. PTX: cvt.rn.bf16x2.f32 / cvt.rn.f16x2.f32.
template <dtype X>
__device__ inline std::uint32_t pack_pair(float low, float high) noexcept {
  static_assert(X == dtype::bf16 || X == dtype::fp16);
  std::uint32_t pair = 0;
  if constexpr (X == dtype::bf16)
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  else
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

/// The float of the low half of a pair. PTX: cvt.f32.f16; BF16 is the top half of a float.
template <dtype X>
__device__ inline float low_of_pair(std::uint32_t pair) noexcept {
  static_assert(X == dtype::bf16 || X == dtype::fp16);
  if constexpr (X == dtype::bf16) return __uint_as_float(pair << 16);
  float value = 0;
  asm("{ .reg .b16 low, high; mov.b32 {low, high}, %1; cvt.f32.f16 %0, low; }" : "=f"(value) : "r"(pair));
  return value;
}

/// Two floats rounded to E4M3 codes as float_to_e4m3 does, `low` in the low byte. PTX (SM89 and later):
/// cvt.rn.satfinite.e4m3x2.f32, which leaves NaN without its sign.
__device__ inline std::uint32_t pack_e4m3(float low, float high) noexcept {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  std::uint16_t pair = 0;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
  const std::uint32_t signs = __byte_perm(__float_as_uint(low), __float_as_uint(high), 0x0073);
  return (pair & 0x7F7Fu) | (signs & 0x8080u);
#else
  return float_to_e4m3(low) | static_cast<std::uint32_t>(float_to_e4m3(high)) << 8;
#endif
}

/// The smaller and the larger of two numbers; NaN when one is. PTX: min.NaN.f32, max.NaN.f32.
__device__ inline float smaller(float a, float b) noexcept {
  float result = 0;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
}
__device__ inline float larger(float a, float b) noexcept {
  float result = 0;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
}

/// 2^x and 1 / x to within 2 and 1 units in the last place. PTX: ex2.approx.ftz.f32, rcp.approx.ftz.f32.
__device__ inline float exp2(float x) noexcept {
  float result = 0;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}
__device__ inline float reciprocal(float x) noexcept {
  float result = 0;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

/// e^x to within 1 unit in the last place (CUDA C++ Programming Guide, "Mathematical Functions": expf).
__device__ inline float exp(float x) noexcept { return expf(x); }

}  // namespace tilefit::inline v0::device
