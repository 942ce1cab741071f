// L5: the functions of weights.hpp for memory on a device: row-major or transposed weights <-> mma_m16k64.
// Knows: which sizes, layouts and addresses the kernels take. Must not know: how they move bits
// (detail/shuffle_kernels.cuh), where weights come from.
// Out of place, on a run of experts: a caller with little memory does one expert at a time. No allocation, no
// synchronisation, capturable.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../detail/math.hpp"
#include "../device/cuda/launch_control.cuh"
#include "../launch_status.hpp"
#include "../weight_layout.hpp"
#include "../weights.hpp"
#include "detail/shuffle_kernels.cuh"

namespace tilefit::inline v0::detail {

inline constexpr int most_grid_y = 65535;  ///< blocks of y and z; CUDA C++ Programming Guide, "Compute Capabilities"

/// What is wrong with a call. `from` is in layout `from_layout`, `to` in `to_layout`; one of them is row_major, which
/// stands for transposed weights too.
constexpr refusal refuse_shuffle(weight_layout from_layout, weight_layout to_layout, const weight_shape& shape,
                                 weight_source from, weight_storage to) noexcept {
  const weight_layout packed = from_layout == weight_layout::row_major ? to_layout : from_layout;
  if (packed != weight_layout::mma_m16k64)
    return {.status = status_code::unsupported_feature,
            .subject = "layout of the weights",
            .value = static_cast<std::int64_t>(packed),
            .must_be = relation::exactly,
            .limit = static_cast<std::int64_t>(weight_layout::mma_m16k64),
            .why = "these kernels pack and unpack mma_m16k64"};
  constexpr std::int64_t most_n = std::int64_t{most_grid_y} * weight_atom::group_rows;
  if (shape.experts < 0) return bad_number("experts", shape.experts, relation::at_least, 0);
  if (shape.experts > most_grid_y) return bad_number("experts", shape.experts, relation::at_most, most_grid_y);
  if (shape.experts == 0) return nothing_to_do("experts");
  if (shape.n < 32) return bad_number("n", shape.n, relation::at_least, 32);
  if (shape.n > most_n) return bad_number("n", shape.n, relation::at_most, most_n);
  if (shape.n % 32 != 0) return bad_number("n", shape.n, relation::multiple_of, 32);
  if (shape.k < 32) return bad_number("k", shape.k, relation::at_least, 32);
  if (shape.k >= std::int64_t{1} << 31)
    return bad_number("k", shape.k, relation::at_most, (std::int64_t{1} << 31) - 32);
  if (shape.k % 32 != 0) return bad_number("k", shape.k, relation::multiple_of, 32);
  if (from.values == nullptr) return missing("values to read");
  if (to.values == nullptr) return missing("values to write");
  if ((from_layout == weight_layout::row_major ? from.scales : to.scales) == nullptr)
    return missing("scales of the row-major side");
  if ((from_layout == weight_layout::row_major ? to.scales : from.scales) != nullptr)
    return {.status = status_code::invalid_argument,
            .subject = "scales of the packed side",
            .value = 1,
            .must_be = relation::absent,
            .why = "they travel with the values"};
  const std::int64_t most_experts = INT64_MAX / bytes_per_expert(packed, shape.n, shape.k);
  if (shape.experts > most_experts) return bad_number("experts", shape.experts, relation::at_most, most_experts);
  return {};
}

inline access_width width_of(const void* rows, const void* packed) noexcept {
  const auto row_address = reinterpret_cast<std::uintptr_t>(rows);
  const auto packed_address = reinterpret_cast<std::uintptr_t>(packed);
  if (row_address % 8 == 0 && packed_address % 16 == 0) return access_width::vector;
  return row_address % 4 == 0 && packed_address % 4 == 0 ? access_width::word : access_width::byte;
}

using shuffle_kernel = void (*)(weight_source, weight_storage, std::int64_t, std::int64_t);

inline cuda::launch_status launch_shuffle(shuffle_kernel kernel, const weight_shape& shape, weight_source from,
                                          weight_storage to, cudaStream_t stream,
                                          const cuda::launch_options& options) noexcept {
  const std::int64_t runs = ceil_div(ceil_div(shape.k, mma_atom.k), shuffle_atoms);
  const dim3 grid(static_cast<unsigned>(runs), static_cast<unsigned>(ceil_div(shape.n, weight_atom::group_rows)),
                  static_cast<unsigned>(shape.experts));
  return answer_of_runtime(cuda::launch_kernel(kernel, {.grid = grid, .block = dim3(shuffle_threads)}, stream, options,
                                               from, to, shape.n, shape.k));
}

}  // namespace tilefit::inline v0::detail

namespace tilefit::inline v0::cuda {

/// tilefit::shuffle_weights on a device, byte for byte: values [experts, n, k / 32, 16] and scales [experts, n, k / 32]
/// become `layout`, padding included. Pointers are device pointers of any alignment; multiples of 8 (rows) and 16
/// (packed) are the fast ones. `from` and `to` must not overlap.
/// empty (no experts), invalid_argument, or unsupported_feature for a layout other than mma_m16k64, with the reason:
/// nothing is enqueued.
[[nodiscard]] inline launch_status shuffle_weights(weight_layout layout, const weight_shape& shape, weight_source from,
                                                   weight_storage to, cudaStream_t stream,
                                                   const launch_options& options = {}) noexcept {
  const refusal reason = detail::refuse_shuffle(weight_layout::row_major, layout, shape, from, to);
  if (reason) return detail::answer(reason);
  detail::shuffle_kernel kernel = detail::pack_rows<detail::access_width::byte>;
  switch (detail::width_of(from.values, to.values)) {
    case detail::access_width::vector: kernel = detail::pack_rows<detail::access_width::vector>; break;
    case detail::access_width::word: kernel = detail::pack_rows<detail::access_width::word>; break;
    case detail::access_width::byte: break;
  }
  return detail::launch_shuffle(kernel, shape, from, to, stream, options);
}

/// tilefit::unshuffle_weights on a device: the inverse of shuffle_weights, bit for bit.
[[nodiscard]] inline launch_status unshuffle_weights(weight_layout layout, const weight_shape& shape,
                                                     weight_source from, weight_storage to, cudaStream_t stream,
                                                     const launch_options& options = {}) noexcept {
  const refusal reason = detail::refuse_shuffle(layout, weight_layout::row_major, shape, from, to);
  if (reason) return detail::answer(reason);
  detail::shuffle_kernel kernel = detail::unpack_rows<detail::access_width::byte>;
  switch (detail::width_of(to.values, from.values)) {
    case detail::access_width::vector: kernel = detail::unpack_rows<detail::access_width::vector>; break;
    case detail::access_width::word: kernel = detail::unpack_rows<detail::access_width::word>; break;
    case detail::access_width::byte: break;
  }
  return detail::launch_shuffle(kernel, shape, from, to, stream, options);
}

/// tilefit::shuffle_transposed_weights on a device: values [experts, k / 2, n] (low nibble = even k) and scales
/// [experts, k / 32, n] become `layout`.
[[nodiscard]] inline launch_status shuffle_transposed_weights(weight_layout layout, const weight_shape& shape,
                                                              weight_source from, weight_storage to,
                                                              cudaStream_t stream,
                                                              const launch_options& options = {}) noexcept {
  const refusal reason = detail::refuse_shuffle(weight_layout::row_major, layout, shape, from, to);
  if (reason) return detail::answer(reason);
  detail::shuffle_kernel kernel = detail::pack_columns<detail::access_width::byte>;
  switch (detail::width_of(from.values, to.values)) {
    case detail::access_width::vector: kernel = detail::pack_columns<detail::access_width::vector>; break;
    case detail::access_width::word: kernel = detail::pack_columns<detail::access_width::word>; break;
    case detail::access_width::byte: break;
  }
  return detail::launch_shuffle(kernel, shape, from, to, stream, options);
}

}  // namespace tilefit::inline v0::cuda
