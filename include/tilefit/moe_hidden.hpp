// L6: the activations between the two matmuls of a layer, as gate_up writes them and as down reads them.
// Knows: formats, scales, bytes.
// Must not know: the rest of a layer, where a workspace begins.
#pragma once

#include <cstddef>
#include <cstdint>

#include "detail/math.hpp"
#include "dtype.hpp"
#include "matmul_args.hpp"
#include "mxfp4.hpp"
#include "status.hpp"

namespace tilefit::inline v0::detail {

struct moe_hidden {
  y_operand written = {};
  x_operand read = {};
};

/// What is wrong with so many columns of a format.
constexpr refusal refuse_hidden(dtype type, std::int64_t columns) noexcept {
  if (has_block_scales(type) && columns % mx_block_size != 0)
    return {.status = status_code::invalid_argument,
            .subject = "intermediate",
            .value = columns,
            .must_be = relation::multiple_of,
            .limit = mx_block_size,
            .why = "the activations between the matmuls have a scale for 32 columns"};
  return {};
}

/// Their place in a workspace: place(bytes) is where so many bytes may lie. `scale`: see y_operand.
template <class Place>
moe_hidden place_hidden(dtype type, const float* scale, std::int64_t rows, std::int64_t columns, Place place) noexcept {
  std::byte* const elements = place(saturating_mul(saturating_mul(rows, columns), bits_of(type)) / 8);
  moe_hidden hidden{.written = {.data = elements, .type = type, .rows = rows, .row_stride = columns},
                    .read = {.data = elements, .type = type, .rows = rows, .row_stride = columns}};
  if (has_block_scales(type)) {
    const std::int64_t blocks = columns / mx_block_size;
    auto* const scales = reinterpret_cast<std::uint8_t*>(place(rows * blocks));
    hidden.written.block_scales = scales;
    hidden.read.block_scales = scales;
    hidden.written.block_scale_stride = hidden.read.block_scale_stride = blocks;
  } else if (type == dtype::fp8_e4m3) {
    hidden.written.scale = hidden.read.scale = scale;
  }
  return hidden;
}

}  // namespace tilefit::inline v0::detail
