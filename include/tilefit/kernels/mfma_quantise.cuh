// L5: from columns of Y in the registers of AMD's matrix instructions to FP8, MXFP8 and MXFP4.
// Knows: which lanes have a block of 32 columns (device/hip/lanes.hpp, mfma_c_place), how a code is stored.
// Must not know: how the columns came about.
#pragma once

#include <cstdint>

#include "../detail/bits.hpp"
#include "../detail/config.hpp"
#include "../detail/math.hpp"
#include "../device/ops.cuh"
#include "../matmul_args.hpp"
#include "../mxfp4.hpp"
#include "narrow_codes.cuh"
#include "ogs_params.hpp"

namespace tilefit::inline v0::kernels {

/// What all stores of a block of threads have in common. Groups: lanes that share a token, four columns of the matmul
/// in turn: 64 / tile.
template <int Groups>
class quantised_store {
  static_assert(Groups == 2 || Groups == 4);

 public:
  /// Between a lane's fours of columns of the matmul.
  static constexpr int step = 4 * Groups;

  __device__ __forceinline__ explicit quantised_store(const ogs_params& params) noexcept
      : quantised_store(params.args, device::parameter_again(params).args.y) {}

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
    if (codes_.has_blocks()) {
      std::int32_t amax = 0;
#pragma unroll
      for (const float v : values) amax = detail::max(amax, detail::magnitude(v));
      if constexpr (Groups == 4) amax = detail::max(amax, device::value_of_neighbour<16>(amax));
      amax = detail::max(amax, device::value_of_neighbour<32>(amax));
      const std::uint8_t scale = codes_.scale_of(amax);
      const float inverse = codes_.inverse_of(scale);
      keep = codes_.kept(scale);
#pragma unroll
      for (float& v : values) v *= inverse;
      if (row >= 0 && first_column % mx_block_size == 0) codes_.store_scale(row, first_column, scale);
    } else {
#pragma unroll
      for (float& v : values) v = v / codes_.scale();
    }
    if (row < 0) return;
    std::uint8_t* const to = codes_.place(row, first_column);
#pragma unroll
    for (int i = 0; i < Quads; ++i) {
      if (n + step * i >= args_.n) continue;
#pragma unroll
      for (int c = 0; c < columns; c += 2)
        codes_.store_pair(to, step / 4 * columns * i + c, values[i * columns + c], values[i * columns + c + 1], keep);
    }
  }

 private:
  __device__ __forceinline__ quantised_store(const matmul_args& args, const y_operand& y) noexcept
      : args_(args), codes_(y, y.type) {}

  const matmul_args& args_;
  narrow_codes<y_operand> codes_;
};

}  // namespace tilefit::inline v0::kernels
