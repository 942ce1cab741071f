// L5: what the kernels that quantise rows are given, and how many blocks of them there are.
// Knows: plain data, how threads are laid over rows.
// Must not know: kernels, streams.
#pragma once

#include <cstdint>

#include "../detail/math.hpp"
#include "../dtype.hpp"
#include "../launch_status.hpp"
#include "../quantise_args.hpp"

namespace tilefit::inline v0::kernels {

inline constexpr int quantise_threads = 256;
inline constexpr int quantise_columns = 8;  ///< of a thread

/// Kernel parameter.
struct quantise_params {
  quantise_args args{};
  std::uint32_t runs = 0;    ///< of a row: pieces of quantise_columns, of output_columns(args)
  bool wide_loads = false;   ///< rows of X start at multiples of 16 bytes
  bool wide_stores = false;  ///< eight columns of Y start at a multiple of their size
};

/// What a launch works out from arguments that refuse_quantise has nothing against.
inline quantise_params quantise_params_of(const quantise_args& args) noexcept {
  const auto aligned = [](const void* data, std::int64_t row_bits, int to) {
    return reinterpret_cast<std::uintptr_t>(data) % static_cast<unsigned>(to) == 0 && row_bits % (8 * to) == 0;
  };
  const int x_bits = bits_of(args.x.type), y_bits = bits_of(args.y.type);
  return {.args = args,
          .runs = static_cast<std::uint32_t>(detail::ceil_div(output_columns(args), quantise_columns)),
          .wide_loads = aligned(args.x.data, args.x.row_stride * x_bits, 16),
          .wide_stores = aligned(args.y.data, args.y.row_stride * y_bits, y_bits)};
}

/// Blocks of quantise_threads threads.
constexpr std::int64_t quantise_blocks(const quantise_params& params) noexcept {
  if (params.args.row_scales != nullptr) return params.args.rows;
  return detail::ceil_div(detail::saturating_mul(params.args.rows, params.runs), quantise_threads);
}

/// Threads are counted in 31 bits.
constexpr refusal refuse_quantise_grid(const quantise_params& params) noexcept {
  constexpr std::int64_t most = INT32_MAX / quantise_threads;
  const std::int64_t blocks = quantise_blocks(params);
  return blocks <= most ? refusal{} : detail::bad_number("blocks of the grid", blocks, relation::at_most, most);
}

}  // namespace tilefit::inline v0::kernels
