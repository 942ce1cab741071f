// L6: rows in FP8, MXFP8 and MXFP4 on the CPU: what kernels/quantise_rows.cuh is held against.
// Knows: quantise_args, how rows lie in memory (convert.hpp).
// Must not know: how a value is rounded (float_formats.hpp, mxfp4.hpp).
#pragma once

#include <cstdint>

#include "../detail/bits.hpp"
#include "../quantise_args.hpp"
#include "convert.hpp"

namespace tilefit::inline v0::host {

/// quantise_args on the calling thread. ok, or what refuse_quantise says: nothing is written then.
[[nodiscard]] inline status_code quantise_rows(const quantise_args& args) noexcept {
  if (const refusal reason = refuse_quantise(args)) return reason.status;
  constexpr std::int64_t run = mx_block_size;
  const y_operand& y = args.y;
  const auto load = [&](std::int64_t row, std::int64_t column, float(&values)[run]) {
    const std::int64_t left = args.columns - column, count = left < run ? left : run;
    for (std::int64_t i = count; i < run; ++i) values[i] = 0.0f;
    detail::load_x(args.x, row, column, count, values);
    return count;
  };
  float values[run];
  for (std::int64_t row = 0; row < args.rows; ++row) {
    float scale = detail::factor_of(y.type, y.scale);
    if (args.row_scales != nullptr) {
      std::int32_t amax = 0;
      for (std::int64_t column = 0; column < args.columns; column += run) {
        load(row, column, values);
        for (const float value : values) amax = detail::max(amax, detail::magnitude(value));
      }
      args.row_scales[row] = scale = e4m3_row_scale(amax);
    }
    for (std::int64_t column = 0; column < args.columns; column += run) {
      const std::int64_t count = load(row, column, values);
      auto* const to = static_cast<std::uint8_t*>(y.data) + (row * y.row_stride + column) * bits_of(y.type) / 8;
      if (has_block_scales(y.type))
        y.block_scales[row * y.block_scale_stride + column / run] = detail::encode_block(y.type, values, to);
      else
        for (std::int64_t i = 0; i < count; ++i)
          to[i] = scale != scale ? std::uint8_t{0} : float_to_scaled_e4m3(values[i], scale);
    }
  }
  return status_code::ok;
}

}  // namespace tilefit::inline v0::host
