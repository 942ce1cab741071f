// L5: from the sums of AMD's matrix instructions to rows of Y.
// Knows: bias; that a lane holds four neighbouring columns of the matmul for a token (device/hip/lanes.hpp,
// mfma_c_place). Must not know: how the sums came about, narrow formats (mfma_quantise.cuh).
#pragma once

#include <cstdint>

#include "../device/ops.cuh"
#include "../matmul_args.hpp"
#include "mfma_work.cuh"
#include "ogs_params.hpp"
#include "store_rows.cuh"

namespace tilefit::inline v0::kernels {

/// What all stores of a block have in common, worked out once.
class quad_store {
 public:
  __device__ quad_store(const ogs_params& params, std::int32_t expert) noexcept
      : params_(params),
        bias_(params.args.bias == nullptr ? nullptr : params.args.bias + expert * params.args.n),
        element_bytes_(params.args.y.type == dtype::fp32 ? 4 : 2),
        exponent_(-params.args.swiglu.alpha * 1.4426950408889634f) {}

  /// Bias of columns n .. n + 3 (n is a multiple of 4); zeros behind the last.
  __device__ __forceinline__ device::f32x4 bias(std::int32_t n) const noexcept {
    if (bias_ == nullptr || n >= params_.args.n) return {};
    return {bias_[n], bias_[n + 1], bias_[n + 2], bias_[n + 3]};
  }

  /// Columns of Y that columns n .. n + 3 of the matmul become for one token: two behind swiglu, else four.
  template <activation Act>
  __device__ __forceinline__ device::f32x4 finish(const token_target& target, device::f32x4 sum,
                                                  device::f32x4 bias) const noexcept {
    const device::f32x4 value = sum * target.scale + bias;
    if constexpr (Act == activation::swiglu) {
      const swiglu_params& p = params_.args.swiglu;
      return {swiglu(p, exponent_, value[0], value[1]) * target.gamma,
              swiglu(p, exponent_, value[2], value[3]) * target.gamma, 0.0f, 0.0f};
    } else {
      return value * target.gamma;
    }
  }

  /// Stores columns n .. n + 3 of the matmul for one token.
  template <store_kind Kind, activation Act>
  __device__ __forceinline__ void store(const token_target& target, std::int32_t n, device::f32x4 sum,
                                        device::f32x4 bias) const noexcept {
    if (target.row < 0) return;
    const matmul_args& args = params_.args;
    const device::f32x4 value = finish<Act>(target, sum, bias);
    const std::int64_t row = target.row * args.y.row_stride;
    char* const to = static_cast<char*>(args.y.data) + (row + (Act == activation::swiglu ? n / 2 : n)) * element_bytes_;
    store_pair<Kind>(params_, to, value[0], value[1]);
    if constexpr (Act != activation::swiglu) store_pair<Kind>(params_, to + 2 * element_bytes_, value[2], value[3]);
  }

  /// Calls with<Act>() for the launch's activation.
  template <class With>
  __device__ __forceinline__ void choose_activation(const With& with) const noexcept {
    if (params_.args.act == activation::swiglu)
      with.template operator()<activation::swiglu>();
    else
      with.template operator()<activation::none>();
  }

  /// Calls with<Kind, Act>() for the launch's kind of stores, which is not `quantised`, and its activation.
  template <class With>
  __device__ __forceinline__ void choose(const With& with) const noexcept {
    choose_activation([&]<activation Act>() __attribute__((always_inline)) {
      switch (params_.store) {
        case store_kind::bf16: return with.template operator()<store_kind::bf16, Act>();
        case store_kind::fp16: return with.template operator()<store_kind::fp16, Act>();
        case store_kind::fp32: return with.template operator()<store_kind::fp32, Act>();
        case store_kind::generally: return with.template operator()<store_kind::generally, Act>();
        case store_kind::quantised: return;
      }
    });
  }

 private:
  const ogs_params& params_;
  const float* bias_;
  std::int32_t element_bytes_;
  float exponent_;
};

}  // namespace tilefit::inline v0::kernels
