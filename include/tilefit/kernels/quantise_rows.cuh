// L5: rows in FP8, MXFP8 and MXFP4, on every GPU.
// Knows: which columns a thread has, where a block's largest number is found.
// Must not know: streams, how a value is rounded (float_formats.hpp, mxfp4.hpp).
//
// A thread has eight neighbouring columns of X, 16 bytes of most formats; four threads side by side have a block of an
// MX format. With a scale for each row a block of threads has a row and reads it twice, the second time from a cache.
#pragma once

#include <cstdint>

#include "../detail/bits.hpp"
#include "../detail/config.hpp"
#include "../detail/math.hpp"
#include "../device/ops.cuh"
#include "../dtype.hpp"
#include "../float_formats.hpp"
#include "../mxfp4.hpp"
#include "../quantise_args.hpp"
#include "quantise_params.hpp"

namespace tilefit::inline v0::kernels {

/// Eight columns of a row from `column` on, zeros behind the last.
template <dtype X>
struct column_run {
  float value[quantise_columns];

  __device__ __forceinline__ void load(const quantise_params& params, std::int64_t row, std::int64_t column) noexcept {
    constexpr int bytes = bits_of(X) / 8;
    const char* const from =
        static_cast<const char*>(params.args.x.data) + (row * params.args.x.row_stride + column) * bytes;
    const std::int64_t left = params.args.columns - column;
    if (params.wide_loads && left >= quantise_columns) {
      if constexpr (X == dtype::fp32) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float4 four = reinterpret_cast<const float4*>(from)[i];
          value[4 * i] = four.x;
          value[4 * i + 1] = four.y;
          value[4 * i + 2] = four.z;
          value[4 * i + 3] = four.w;
        }
      } else {
        const uint4 words = *reinterpret_cast<const uint4*>(from);
        take(words.x, 0);
        take(words.y, 2);
        take(words.z, 4);
        take(words.w, 6);
      }
      return;
    }
#pragma unroll
    for (int i = 0; i < quantise_columns; ++i) {
      value[i] = 0.0f;
      if (i >= left) continue;
      if constexpr (X == dtype::fp32)
        value[i] = reinterpret_cast<const float*>(from)[i];
      else
        value[i] = number(reinterpret_cast<const std::uint16_t*>(from)[i]);
    }
  }

  /// Bits of the largest magnitude; those of a NaN where there is one.
  __device__ __forceinline__ std::int32_t largest() const noexcept {
    std::int32_t amax = 0;
#pragma unroll
    for (const float v : value) amax = detail::max(amax, detail::magnitude(v));
    return amax;
  }

 private:
  /// Of 16 bits. Conversions may leave NaN without its sign.
  __device__ __forceinline__ static float number(std::uint32_t bits) noexcept {
    return detail::with_sign(detail::magnitude(device::low_of_pair<X>(bits)), static_cast<int>(bits >> 15 & 1));
  }
  __device__ __forceinline__ void take(std::uint32_t pair, int at) noexcept {
    value[at] = number(pair & 0xFFFFu);
    value[at + 1] = number(pair >> 16);
  }
};

/// Codes of eight columns, the first in the lowest bits.
template <dtype Y>
struct code_run {
  std::uint32_t words[bits_of(Y) / 4];

  /// Stores the first `left` columns, all of them when there are more.
  __device__ __forceinline__ void store(const quantise_params& params, std::int64_t row, std::int64_t column,
                                        std::int64_t left) const noexcept {
    constexpr int bits = bits_of(Y);
    auto* const to =
        static_cast<std::uint8_t*>(params.args.y.data) + (row * params.args.y.row_stride + column) * bits / 8;
    if (params.wide_stores && left >= quantise_columns) {
      if constexpr (bits == 4)
        *reinterpret_cast<std::uint32_t*>(to) = words[0];
      else
        *reinterpret_cast<uint2*>(to) = make_uint2(words[0], words[1]);
      return;
    }
#pragma unroll
    for (int i = 0; i < bits; ++i)
      if (8 * i < left * bits) to[i] = static_cast<std::uint8_t>(words[i / 4] >> (i % 4 * 8));
  }
};

/// E4M3 codes of value / scale.
template <dtype X>
__device__ __forceinline__ code_run<dtype::fp8_e4m3> encode_scaled(const column_run<X>& x, float scale) noexcept {
  const auto quotient = [&](int i) {
    return detail::magnitude(x.value[i]) > detail::float_infinity ? x.value[i] : x.value[i] / scale;
  };
  code_run<dtype::fp8_e4m3> codes;
#pragma unroll
  for (int i = 0; i < 2; ++i)
    codes.words[i] = device::pack_e4m3(quotient(4 * i), quotient(4 * i + 1)) |
                     device::pack_e4m3(quotient(4 * i + 2), quotient(4 * i + 3)) << 16;
  return codes;
}

/// Codes of a block's eight columns under its scale.
template <dtype Y, dtype X>
__device__ __forceinline__ code_run<Y> encode_block_part(const column_run<X>& x, std::uint8_t scale) noexcept {
  code_run<Y> codes;
  const float inverse = detail::pow2(scale == e8m0_nan ? 0 : detail::float_bias - scale);
  const std::uint32_t finite = scale == e8m0_nan ? 0 : ~0u;
  if constexpr (Y == dtype::mxfp4) {
    std::uint32_t word = 0;
#pragma unroll
    for (int i = 0; i < quantise_columns; ++i)
      word |= static_cast<std::uint32_t>(float_to_e2m1(x.value[i] * inverse)) << (4 * i);
    codes.words[0] = word & finite;
  } else {
#pragma unroll
    for (int i = 0; i < 2; ++i)
      codes.words[i] = finite & (device::pack_e4m3(x.value[4 * i] * inverse, x.value[4 * i + 1] * inverse) |
                                 device::pack_e4m3(x.value[4 * i + 2] * inverse, x.value[4 * i + 3] * inverse) << 16);
  }
  return codes;
}

/// Eight columns to a thread: FP8 with one scale, MXFP8, MXFP4.
template <dtype X, dtype Y>
__global__ void __launch_bounds__(quantise_threads) quantise_columns_of_rows(const quantise_params params) {
  const quantise_args& args = params.args;
  device::let_next_grid_start();
  device::wait_for_previous_grid();
  const std::uint32_t at = device::block_of_grid() * quantise_threads + device::thread_of_block();
  const std::uint32_t row = at / params.runs, run = at % params.runs;
  const std::int64_t column = std::int64_t{run} * quantise_columns;
  const bool there = row < args.rows;
  column_run<X> x = {};
  if (there) x.load(params, row, column);
  if constexpr (has_block_scales(Y)) {
    std::int32_t amax = x.largest();
    amax = detail::max(amax, device::value_of_neighbour<1>(amax));
    amax = detail::max(amax, device::value_of_neighbour<2>(amax));
    const std::uint8_t scale = detail::mx_scale_of(amax, Y == dtype::mxfp4 ? e2m1_emax : e4m3_emax);
    if (!there) return;
    encode_block_part<Y>(x, scale).store(params, row, column, quantise_columns);
    if (run % 4 == 0) args.y.block_scales[row * args.y.block_scale_stride + run / 4] = scale;
  } else {
    if (!there) return;
    encode_scaled(x, args.y.scale == nullptr ? 1.0f : *args.y.scale).store(params, row, column, args.columns - column);
  }
}

/// A row to a block: FP8 with a scale for each row.
template <dtype X>
__global__ void __launch_bounds__(quantise_threads) quantise_whole_rows(const quantise_params params) {
  constexpr unsigned group_lanes = 32, groups = quantise_threads / group_lanes;
  const quantise_args& args = params.args;
  device::let_next_grid_start();
  device::wait_for_previous_grid();
  const std::int64_t row = device::block_of_grid();
  const unsigned thread = device::thread_of_block();
  column_run<X> x;
  std::int32_t amax = 0;
  for (std::uint32_t run = thread; run < params.runs; run += quantise_threads) {
    x.load(params, row, std::int64_t{run} * quantise_columns);
    amax = detail::max(amax, x.largest());
  }
  amax = detail::max(amax, device::value_of_neighbour<1>(amax));
  amax = detail::max(amax, device::value_of_neighbour<2>(amax));
  amax = detail::max(amax, device::value_of_neighbour<4>(amax));
  amax = detail::max(amax, device::value_of_neighbour<8>(amax));
  amax = detail::max(amax, device::value_of_neighbour<16>(amax));
  auto* const largest = reinterpret_cast<std::int32_t*>(device::shared_array<sizeof(std::int32_t) * groups, 0, 16>());
  if (thread % group_lanes == 0) largest[thread / group_lanes] = amax;
  device::meet_block();
#pragma unroll
  for (unsigned group = 0; group < groups; ++group) amax = detail::max(amax, largest[group]);
  const float scale = e4m3_row_scale(amax);
  if (thread == 0) args.row_scales[row] = scale;
  const std::uint32_t finite = amax < detail::float_infinity ? ~0u : 0;
  for (std::uint32_t run = thread; run < params.runs; run += quantise_threads) {
    const std::int64_t column = std::int64_t{run} * quantise_columns;
    x.load(params, row, column);
    code_run<dtype::fp8_e4m3> codes = encode_scaled(x, scale);
#pragma unroll
    for (std::uint32_t& word : codes.words) word &= finite;
    codes.store(params, row, column, args.columns - column);
  }
}

using quantise_kernel = void (*)(quantise_params);

template <dtype X>
quantise_kernel quantise_kernel_from(const quantise_args& args) noexcept {
  if (args.y.type == dtype::mxfp4) return quantise_columns_of_rows<X, dtype::mxfp4>;
  if (args.y.type == dtype::mxfp8) return quantise_columns_of_rows<X, dtype::mxfp8>;
  return args.row_scales != nullptr ? quantise_whole_rows<X> : quantise_columns_of_rows<X, dtype::fp8_e4m3>;
}

/// The kernel for arguments that refuse_quantise has nothing against.
TILEFIT_ALWAYS_INLINE quantise_kernel quantise_kernel_for(const quantise_args& args) noexcept {
  if (args.x.type == dtype::fp32) return quantise_kernel_from<dtype::fp32>(args);
  return args.x.type == dtype::bf16 ? quantise_kernel_from<dtype::bf16>(args) : quantise_kernel_from<dtype::fp16>(args);
}

}  // namespace tilefit::inline v0::kernels
