// L5: what epilogues share: where a row of the tile goes, the activation, stores to Y.
// Knows: scatter, gamma, SwiGLU, accumulation, formats of Y.
// Must not know: which lane holds what (epilogue.cuh, mfma_epilogue.cuh).
#pragma once

#include <cstdint>

#include "../detail/config.hpp"
#include "../device/ops.cuh"
#include "../matmul_args.hpp"
#include "ogs_params.hpp"

namespace tilefit::inline v0::kernels {

/// Where a row of the tile goes.
struct row_target {
  std::int32_t row = -1;  ///< of Y; -1 = nowhere
  float gamma = 1.0f;
};

/// Target of sorted row `row`.
__device__ inline row_target target_of(const matmul_args& args, std::int32_t row) noexcept {
  row_target target{.row = args.scatter_indx == nullptr ? row : args.scatter_indx[row],
                    .gamma = args.gammas == nullptr ? 1.0f : args.gammas[row]};
  if (args.gather_indx != nullptr && args.gather_indx[row] < 0) target.row = -1;
  return target;
}

/// swiglu_params' formula; NaN stays NaN. `exponent` is -alpha * log2(e).
__device__ inline float swiglu(const swiglu_params& p, float exponent, float gate, float up) noexcept {
  gate = device::smaller(gate, p.limit);
  up = device::larger(device::smaller(up, p.limit), -p.limit);
  return (up + p.up_offset) * gate * device::reciprocal(1.0f + device::exp2(exponent * gate));
}

/// Stores two neighbouring columns of Y, in every way that arguments can ask for.
__device__ __forceinline__ void store_pair_generally(const ogs_params& params, char* to, float a, float b) noexcept {
  const bool add = params.args.accumulate;
  if (params.args.y.type == dtype::fp32) {
    auto* const y = reinterpret_cast<float*>(to);
    y[0] = add ? a + y[0] : a;
    y[1] = add ? b + y[1] : b;
  } else {
    auto* const y = reinterpret_cast<std::uint16_t*>(to);
    const bool bf16 = params.args.y.type == dtype::bf16;
    const float old_a = !add   ? 0
                        : bf16 ? device::low_of_pair<dtype::bf16>(y[0])
                               : device::low_of_pair<dtype::fp16>(y[0]);
    const float old_b = !add   ? 0
                        : bf16 ? device::low_of_pair<dtype::bf16>(y[1])
                               : device::low_of_pair<dtype::fp16>(y[1]);
    const std::uint32_t pair = bf16 ? device::pack_pair<dtype::bf16>(add ? a + old_a : a, add ? b + old_b : b)
                                    : device::pack_pair<dtype::fp16>(add ? a + old_a : a, add ? b + old_b : b);
    y[0] = static_cast<std::uint16_t>(pair);
    y[1] = static_cast<std::uint16_t>(pair >> 16);
  }
}

template <store_kind Kind>
__device__ __forceinline__ void store_pair(const ogs_params& params, char* to, float a, float b) noexcept {
  if constexpr (Kind == store_kind::bf16)
    *reinterpret_cast<std::uint32_t*>(to) = device::pack_pair<dtype::bf16>(a, b);
  else if constexpr (Kind == store_kind::fp16)
    *reinterpret_cast<std::uint32_t*>(to) = device::pack_pair<dtype::fp16>(a, b);
  else if constexpr (Kind == store_kind::fp32)
    *reinterpret_cast<float2*>(to) = make_float2(a, b);
  else
    store_pair_generally(params, to, a, b);
}

}  // namespace tilefit::inline v0::kernels
