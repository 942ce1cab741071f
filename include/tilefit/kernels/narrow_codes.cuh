// L5: numbers of Y in FP8, MXFP8 or MXFP4, whichever a launch asks for.
// Knows: how a number becomes a code, what a block's scale is, how two codes are stored.
// Must not know: which lane has which columns (mfma_quantise.cuh, atom_quantise.cuh).
//
// One path for all formats, whose numbers lie in registers: the code of a kernel does not grow with them.
#pragma once

#include <cstdint>

#include "../detail/bits.hpp"
#include "../detail/config.hpp"
#include "../detail/math.hpp"
#include "../dtype.hpp"
#include "../float_formats.hpp"
#include "../matmul_args.hpp"
#include "../mxfp4.hpp"

namespace tilefit::inline v0::kernels {

/// Columns of the matmul that become 32 columns of Y.
template <activation Act>
inline constexpr int columns_of_block = Act == activation::swiglu ? 64 : 32;

/// The format of a Y of less than 16 bits. `Y`: y_operand, or const y_operand& where copies would take registers.
template <class Y>
class narrow_codes {
 public:
  /// `type` is the operand's.
  __device__ __forceinline__ narrow_codes(const y_operand& y, dtype type) noexcept
      : y_(y),
        fp4_(type == dtype::mxfp4),
        blocks_(has_block_scales(type)),
        format_(fp4_ ? detail::e2m1_format::numbers() : detail::e4m3_format::numbers()),
        largest_(fp4_ ? 7 : 0x7E),
        bits_(fp4_ ? 4 : 8),
        emax_(fp4_ ? e2m1_emax : e4m3_emax),
        scale_(blocks_ || y_.scale == nullptr ? 1.0f : *y_.scale) {}

  /// MXFP8 and MXFP4.
  __device__ __forceinline__ bool has_blocks() const noexcept { return blocks_; }

  /// Of a block whose largest magnitude has these bits. Grows with them.
  __device__ __forceinline__ std::uint8_t scale_of(std::int32_t amax) const noexcept {
    return detail::mx_scale_of(amax, emax_);
  }
  /// What numbers of a block are multiplied by.
  __device__ __forceinline__ static float inverse_of(std::uint8_t scale) noexcept {
    return detail::pow2(scale == e8m0_nan ? 0 : detail::float_bias - scale);
  }
  /// Bits of a pair that are kept: a block whose scale is NaN has zeros.
  __device__ __forceinline__ static std::uint32_t kept(std::uint8_t scale) noexcept {
    return scale == e8m0_nan ? 0 : ~0u;
  }
  __device__ __forceinline__ void store_scale(std::int32_t row, std::int32_t column,
                                              std::uint8_t scale) const noexcept {
    y_.block_scales[row * y_.block_scale_stride + column / mx_block_size] = scale;
  }

  /// FP8's scale, which numbers are divided by.
  __device__ __forceinline__ float scale() const noexcept { return scale_; }

  /// Where the codes from an even column on lie.
  __device__ __forceinline__ std::uint8_t* place(std::int32_t row, std::int32_t column) const noexcept {
    const std::int64_t at = row * y_.row_stride + column;
    return static_cast<std::uint8_t*>(y_.data) + (fp4_ ? at / 2 : at);
  }
  /// Stores the codes of scaled numbers a and b in columns `column`, which is even, and the next one behind `to`.
  __device__ __forceinline__ void store_pair(std::uint8_t* to, int column, float a, float b,
                                             std::uint32_t keep) const noexcept {
    const std::uint32_t pair = (code(a) | code(b) << bits_) & keep;
    if (fp4_)
      to[column / 2] = static_cast<std::uint8_t>(pair);
    else
      *reinterpret_cast<std::uint16_t*>(to + column) = static_cast<std::uint16_t>(pair);
  }

 private:
  /// float_to_e2m1 and float_to_e4m3 (NaN with E2M1 is the caller's).
  __device__ __forceinline__ std::uint32_t code(float value) const noexcept {
    const std::int32_t bits = detail::magnitude(value);
    const std::int32_t nan = detail::mask_if_less(detail::float_infinity, bits) & 1;
    const std::int32_t rounded = detail::smaller(detail::narrow_magnitude(format_, bits), largest_ | nan);
    return static_cast<std::uint32_t>(rounded | detail::sign_of(value) << (bits_ - 1));
  }

  Y y_;
  bool fp4_, blocks_;
  detail::narrowing format_;
  std::int32_t largest_;
  int bits_, emax_;
  float scale_;
};

}  // namespace tilefit::inline v0::kernels
