// L4: single numbers: conversions and the few functions that epilogues need.
// Knows: 16-bit pairs, FP4 to 16 bits, minimum and maximum, 2^x, 1 / x. Must not know: what they are numbers of.
// The same functions for CUDA (all but FP4): ../cuda/mma.cuh. Source: CDNA4 ISA reference, "VOP3 Instructions".
#pragma once

#include <cstdint>

#include "../../detail/config.hpp"
#include "../../dtype.hpp"
#include "../../float_formats.hpp"
#include "types.cuh"

namespace tilefit::inline v0::device {

/// Two floats rounded to a pair, `low` in the low half. gfx950: v_cvt_pk_bf16_f32; v_cvt_f16_f32.
template <dtype X>
__device__ __forceinline__ std::uint32_t pack_pair(float low, float high) noexcept {
  static_assert(X == dtype::bf16 || X == dtype::fp16);
  if constexpr (X == dtype::bf16)
    return bits_as<std::uint32_t>(bf16x2{static_cast<__bf16>(low), static_cast<__bf16>(high)});
  else
    return bits_as<std::uint32_t>(fp16x2{static_cast<_Float16>(low), static_cast<_Float16>(high)});
}

/// The float of the low half of a pair.
template <dtype X>
__device__ __forceinline__ float low_of_pair(std::uint32_t pair) noexcept {
  static_assert(X == dtype::bf16 || X == dtype::fp16);
  if constexpr (X == dtype::bf16)
    return bits_as<float>(pair << 16);
  else
    return static_cast<float>(bits_as<fp16x2>(pair)[0]);
}

/// Two floats rounded to E4M3 codes as float_to_e4m3 does, `low` in the low byte. In software: v_cvt_pk_fp8_f32 makes
/// another format on gfx942, and its infinities and NaN are the mode register's matter on gfx950.
__device__ __forceinline__ std::uint32_t pack_e4m3(float low, float high) noexcept {
  return float_to_e4m3(low) | static_cast<std::uint32_t>(float_to_e4m3(high)) << 8;
}

/// `count` bits (less than 32) of a word from bit `first` on. v_bfe_u32.
__device__ __forceinline__ std::uint32_t bit_field(std::uint32_t word, unsigned first, unsigned count) noexcept {
  return __builtin_amdgcn_ubfe(word, first, count);
}

/// The smaller and the larger of two numbers; NaN when `a` is NaN. (`b` is a limit, which is a number.)
__device__ __forceinline__ float smaller(float a, float b) noexcept { return a > b ? b : a; }
__device__ __forceinline__ float larger(float a, float b) noexcept { return a < b ? b : a; }

/// 2^x and 1 / x to within 1 unit in the last place; subnormal results may be flushed. v_exp_f32, v_rcp_f32.
__device__ __forceinline__ float exp2(float x) noexcept { return __builtin_amdgcn_exp2f(x); }
__device__ __forceinline__ float reciprocal(float x) noexcept { return __builtin_amdgcn_rcpf(x); }

/// e^x, as the compiler takes it apart: v_exp_f32 of x * log2(e) in two parts.
__device__ __forceinline__ float exp(float x) noexcept { return __builtin_elementwise_exp(x); }

/// E2M1 codes times 2^(e8m0 - 127), rounded to X: eight of a word (low nibble first) at a time.
#if defined(__gfx950__) || !defined(__HIP_DEVICE_COMPILE__)
/// v_cvt_scalef32_pk_bf16_fp4 / _f16_fp4: of the float scale only the exponent counts, so that code 0 is 2^-127 and 255
/// gives NaN.
template <dtype X>
class fp4_widener {
  static_assert(X == dtype::bf16 || X == dtype::fp16);

 public:
  __device__ __forceinline__ explicit fp4_widener(std::uint32_t e8m0) noexcept : scale_(bits_as<float>(e8m0 << 23)) {}

  __device__ __forceinline__ u32x4 operator()(std::uint32_t codes) const noexcept {
    if constexpr (X == dtype::bf16)
      return {bits_as<std::uint32_t>(__builtin_amdgcn_cvt_scalef32_pk_bf16_fp4(codes, scale_, 0)),
              bits_as<std::uint32_t>(__builtin_amdgcn_cvt_scalef32_pk_bf16_fp4(codes, scale_, 1)),
              bits_as<std::uint32_t>(__builtin_amdgcn_cvt_scalef32_pk_bf16_fp4(codes, scale_, 2)),
              bits_as<std::uint32_t>(__builtin_amdgcn_cvt_scalef32_pk_bf16_fp4(codes, scale_, 3))};
    else
      return {bits_as<std::uint32_t>(__builtin_amdgcn_cvt_scalef32_pk_f16_fp4(codes, scale_, 0)),
              bits_as<std::uint32_t>(__builtin_amdgcn_cvt_scalef32_pk_f16_fp4(codes, scale_, 1)),
              bits_as<std::uint32_t>(__builtin_amdgcn_cvt_scalef32_pk_f16_fp4(codes, scale_, 2)),
              bits_as<std::uint32_t>(__builtin_amdgcn_cvt_scalef32_pk_f16_fp4(codes, scale_, 3))};
  }

 private:
  float scale_;
};
#else
/// In software: the eight magnitudes times the scale, their upper and their lower bytes as tables of eight bytes, from
/// which v_perm_b32 takes four at a time. About 90 instructions for 32 codes. 255 gives infinity, and NaN for zeros.
template <dtype X>
class fp4_widener {
  static_assert(X == dtype::bf16 || X == dtype::fp16);

 public:
  __device__ __forceinline__ explicit fp4_widener(std::uint32_t e8m0) noexcept {
    const float scale = __builtin_amdgcn_ldexpf(1.0f, static_cast<int>(e8m0) - 127);
    const std::uint32_t pair01 = bytes_of(0.0f * scale, 0.5f * scale), pair23 = bytes_of(scale, 1.5f * scale);
    const std::uint32_t pair45 = bytes_of(2.0f * scale, 3.0f * scale), pair67 = bytes_of(4.0f * scale, 6.0f * scale);
    upper_[0] = __builtin_amdgcn_perm(pair23, pair01, 0x05040100);
    upper_[1] = __builtin_amdgcn_perm(pair67, pair45, 0x05040100);
    lower_[0] = __builtin_amdgcn_perm(pair23, pair01, 0x07060302);
    lower_[1] = __builtin_amdgcn_perm(pair67, pair45, 0x07060302);
  }

  __device__ __forceinline__ u32x4 operator()(std::uint32_t codes) const noexcept {
    const std::uint32_t even = codes & 0x07070707u, odd = codes >> 4 & 0x07070707u;
    const std::uint32_t even_upper = upper(even) | (codes << 4 & 0x80808080u), even_lower = lower(even);
    const std::uint32_t odd_upper = upper(odd) | (codes & 0x80808080u), odd_lower = lower(odd);
    const std::uint32_t even01 = __builtin_amdgcn_perm(even_upper, even_lower, 0x05010400);
    const std::uint32_t even23 = __builtin_amdgcn_perm(even_upper, even_lower, 0x07030602);
    const std::uint32_t odd01 = __builtin_amdgcn_perm(odd_upper, odd_lower, 0x05010400);
    const std::uint32_t odd23 = __builtin_amdgcn_perm(odd_upper, odd_lower, 0x07030602);
    return {__builtin_amdgcn_perm(odd01, even01, 0x05040100), __builtin_amdgcn_perm(odd01, even01, 0x07060302),
            __builtin_amdgcn_perm(odd23, even23, 0x05040100), __builtin_amdgcn_perm(odd23, even23, 0x07060302)};
  }

 private:
  /// Upper byte of a and of b, then their lower bytes, as numbers of 16 bits.
  __device__ __forceinline__ static std::uint32_t bytes_of(float a, float b) noexcept {
    if constexpr (X == dtype::bf16)  // exact: two significant bits
      return __builtin_amdgcn_perm(bits_as<std::uint32_t>(b), bits_as<std::uint32_t>(a), 0x06020703);
    else
      return __builtin_amdgcn_perm(0, pack_pair<dtype::fp16>(a, b), 0x02000301);
  }
  __device__ __forceinline__ std::uint32_t upper(std::uint32_t numbers) const noexcept {
    return __builtin_amdgcn_perm(upper_[1], upper_[0], numbers);
  }
  __device__ __forceinline__ std::uint32_t lower(std::uint32_t numbers) const noexcept {
    return __builtin_amdgcn_perm(lower_[1], lower_[0], numbers);
  }

  std::uint32_t upper_[2], lower_[2];
};
#endif

}  // namespace tilefit::inline v0::device
