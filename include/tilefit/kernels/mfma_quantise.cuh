// L5: from columns of Y in the registers of AMD's matrix instructions to FP8, MXFP8 and MXFP4.
// Knows: which lanes have a block of 32 columns (device/hip/lanes.hpp, mfma_c_place), how a code is stored.
// Must not know: how the columns came about.
//
// One path for all formats, whose numbers lie in scalar registers: the code of a kernel does not grow with them.
#pragma once

#include <cstdint>

#include "../detail/bits.hpp"
#include "../detail/math.hpp"
#include "../device/ops.cuh"
#include "../dtype.hpp"
#include "../float_formats.hpp"
#include "../matmul_args.hpp"
#include "../mxfp4.hpp"
#include "mfma_epilogue.cuh"
#include "ogs_params.hpp"

namespace tilefit::inline v0::kernels {

/// Columns of the matmul that become 32 columns of Y.
template <activation Act>
inline constexpr int columns_of_block = Act == activation::swiglu ? 64 : 32;

/// What all stores of a block of threads have in common. Groups: lanes that share a token, four columns of the matmul
/// in turn: 64 / tile.
template <int Groups>
class quantised_store {
  static_assert(Groups == 2 || Groups == 4);

 public:
  /// Between a lane's fours of columns of the matmul.
  static constexpr int step = 4 * Groups;

  __device__ __forceinline__ explicit quantised_store(const ogs_params& params) noexcept
      : args_(params.args),
        y_(device::parameter_again(params).args.y),
        fp4_(y_.type == dtype::mxfp4),
        blocks_(has_block_scales(y_.type)),
        format_(fp4_ ? detail::e2m1_format::numbers() : detail::e4m3_format::numbers()),
        largest_(fp4_ ? 7 : 0x7E),
        bits_(fp4_ ? 4 : 8),
        emax_(fp4_ ? e2m1_emax : e4m3_emax),
        scale_(blocks_ || y_.scale == nullptr ? 1.0f : *y_.scale) {}

  /// Stores what a lane has of 32 columns of Y for one token (of 16 in FP8 where the tile has no more): value(i), as
  /// quad_store::finish has it, for the columns of the matmul from n + step * i on. All lanes of a wave call.
  template <activation Act, int Quads, class Value>
  __device__ __forceinline__ void store(std::int32_t row, std::int32_t n, const Value& value) const noexcept {
    constexpr int columns = Act == activation::swiglu ? 2 : 4;  // of a quad
    float values[Quads * columns];
#pragma unroll
    for (int i = 0; i < Quads; ++i) {
      const device::f32x4 four = value(i);
#pragma unroll
      for (int c = 0; c < columns; ++c) values[i * columns + c] = four[c];
    }
    std::uint32_t keep = ~0u;
    const std::int32_t first_column = n / 4 * columns;
    if (blocks_) {
      std::int32_t amax = 0;
#pragma unroll
      for (const float v : values) amax = detail::max(amax, detail::magnitude(v));
      if constexpr (Groups == 4) amax = detail::max(amax, device::value_of_neighbour<16>(amax));
      amax = detail::max(amax, device::value_of_neighbour<32>(amax));
      const std::uint8_t scale = detail::mx_scale_of(amax, emax_);
      const float inverse = detail::pow2(scale == e8m0_nan ? 0 : detail::float_bias - scale);
      keep = scale == e8m0_nan ? 0 : ~0u;
#pragma unroll
      for (float& v : values) v *= inverse;
      if (row >= 0 && first_column % mx_block_size == 0)
        y_.block_scales[row * y_.block_scale_stride + first_column / mx_block_size] = scale;
    } else {
#pragma unroll
      for (float& v : values) v = v / scale_;
    }
    if (row < 0) return;
    const std::int64_t at = row * y_.row_stride + first_column;
    auto* const to = static_cast<std::uint8_t*>(y_.data) + (fp4_ ? at / 2 : at);
#pragma unroll
    for (int i = 0; i < Quads; ++i) {
      if (n + step * i >= args_.n) continue;
#pragma unroll
      for (int c = 0; c < columns; c += 2) {
        const std::uint32_t pair = (code(values[i * columns + c]) | code(values[i * columns + c + 1]) << bits_) & keep;
        const int column = step / 4 * columns * i + c;
        if (fp4_)
          to[column / 2] = static_cast<std::uint8_t>(pair);
        else
          *reinterpret_cast<std::uint16_t*>(to + column) = static_cast<std::uint16_t>(pair);
      }
    }
  }

 private:
  /// float_to_e2m1 and float_to_e4m3 (NaN with E2M1 is the caller's).
  __device__ __forceinline__ std::uint32_t code(float value) const noexcept {
    const std::int32_t bits = detail::magnitude(value);
    const std::int32_t nan = detail::mask_if_less(detail::float_infinity, bits) & 1;
    const std::int32_t rounded = detail::smaller(detail::narrow_magnitude(format_, bits), largest_ | nan);
    return static_cast<std::uint32_t>(rounded | detail::sign_of(value) << (bits_ - 1));
  }

  const matmul_args& args_;
  y_operand y_;
  bool fp4_, blocks_;
  detail::narrowing format_;
  std::int32_t largest_;
  int bits_, emax_;
  float scale_;
};

}  // namespace tilefit::inline v0::kernels
