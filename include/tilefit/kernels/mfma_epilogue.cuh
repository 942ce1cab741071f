// L5: from the sums of AMD's matrix instructions to rows of Y.
// Knows: bias; that a lane holds four neighbouring columns of Y for a token (device/hip/lanes.hpp, mfma_c_place).
// Must not know: how the sums came about.
#pragma once

#include <cstdint>

#include "../device/ops.cuh"
#include "../matmul_args.hpp"
#include "ogs_params.hpp"
#include "store_rows.cuh"

namespace tilefit::inline v0::kernels {

/// What all stores of a block have in common, worked out once.
class quad_store {
 public:
  /// `scale_of_x`: one number for all of X.
  __device__ quad_store(const ogs_params& params, std::int32_t expert, float scale_of_x) noexcept
      : params_(params),
        bias_(params.args.bias == nullptr ? nullptr : params.args.bias + expert * params.args.n),
        element_bytes_(params.args.y.type == dtype::fp32 ? 4 : 2),
        exponent_(-params.args.swiglu.alpha * 1.4426950408889634f),
        scale_of_x_(scale_of_x) {}

  /// Bias of columns n .. n + 3 (n < args.n, a multiple of 4).
  __device__ __forceinline__ device::f32x4 bias(std::int32_t n) const noexcept {
    if (bias_ == nullptr) return {};
    return {bias_[n], bias_[n + 1], bias_[n + 2], bias_[n + 3]};
  }

  /// Stores columns n .. n + 3 of the matmul for one token.
  template <store_kind Kind, activation Act>
  __device__ __forceinline__ void store(const row_target& target, std::int32_t n, device::f32x4 sum,
                                        device::f32x4 bias) const noexcept {
    if (target.row < 0) return;
    const matmul_args& args = params_.args;
    const device::f32x4 value = sum * scale_of_x_ + bias;
    const std::int64_t row = target.row * args.y.row_stride;
    char* const y = static_cast<char*>(args.y.data);
    if constexpr (Act == activation::swiglu) {
      store_pair<Kind>(params_, y + (row + n / 2) * element_bytes_,
                       swiglu(args.swiglu, exponent_, value[0], value[1]) * target.gamma,
                       swiglu(args.swiglu, exponent_, value[2], value[3]) * target.gamma);
    } else {
      char* const to = y + (row + n) * element_bytes_;
      store_pair<Kind>(params_, to, value[0] * target.gamma, value[1] * target.gamma);
      store_pair<Kind>(params_, to + 2 * element_bytes_, value[2] * target.gamma, value[3] * target.gamma);
    }
  }

  /// Calls with<Kind, Act>() for the launch's kind of stores and activation.
  template <class With>
  __device__ __forceinline__ void choose(const With& with) const noexcept {
    const auto kinds = [&]<activation Act>() __attribute__((always_inline)) {
      switch (params_.store) {
        case store_kind::bf16: return with.template operator()<store_kind::bf16, Act>();
        case store_kind::fp16: return with.template operator()<store_kind::fp16, Act>();
        case store_kind::fp32: return with.template operator()<store_kind::fp32, Act>();
        case store_kind::generally: return with.template operator()<store_kind::generally, Act>();
      }
    };
    if (params_.args.act == activation::swiglu)
      kinds.template operator()<activation::swiglu>();
    else
      kinds.template operator()<activation::none>();
  }

 private:
  const ogs_params& params_;
  const float* bias_;
  std::int32_t element_bytes_;
  float exponent_;
  float scale_of_x_;
};

}  // namespace tilefit::inline v0::kernels
