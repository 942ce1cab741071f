// L5: the functions of weights.hpp for memory on a device: row-major or transposed weights <-> the layout of its matrix
// cores, mma_m16k64 (NVIDIA) or mfma_m16k128 (AMD).
// Knows: which sizes, layouts and addresses the kernels take. Must not know: how they move bits
// (detail/shuffle_kernels.cuh, detail/mfma_shuffle_kernels.cuh), where weights come from.
// Out of place, on a run of experts: a caller with little memory does one expert at a time. No allocation, no
// synchronisation, capturable.
#pragma once

#include <cstdint>

#include "../detail/math.hpp"
#include "../device/ops.cuh"
#include "../launch_status.hpp"
#include "../weight_layout.hpp"
#include "../weights.hpp"
#include "answers.cuh"
#include "detail/mfma_shuffle_kernels.cuh"
#include "detail/shuffle_kernels.cuh"

namespace tilefit::inline v0::detail {

inline constexpr int most_grid_y = 65535;  ///< blocks of y and z; CUDA C++ Programming Guide, "Compute Capabilities"

/// What the matmuls of this device read. The CPU executor plays both vendors, and they differ in their waves.
inline constexpr weight_layout layout_of_device =
    device::wave_lanes == 64 ? weight_layout::mfma_m16k128 : weight_layout::mma_m16k64;

/// What is wrong with a call. `from` is in layout `from_layout`, `to` in `to_layout`; one of them is row_major, which
/// stands for transposed weights too.
constexpr refusal refuse_shuffle(weight_layout from_layout, weight_layout to_layout, const weight_shape& shape,
                                 weight_source from, weight_storage to) noexcept {
  const weight_layout packed = from_layout == weight_layout::row_major ? to_layout : from_layout;
  if (packed != layout_of_device)
    return {.status = status_code::unsupported_feature,
            .subject = "layout of the weights",
            .value = static_cast<std::int64_t>(packed),
            .must_be = relation::exactly,
            .limit = static_cast<std::int64_t>(layout_of_device),
            .why = layout_of_device == weight_layout::mma_m16k64 ? "these kernels pack and unpack mma_m16k64"
                                                                 : "these kernels pack and unpack mfma_m16k128"};
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

/// The widest accesses for rows in pieces of `row_piece` bytes and atoms in pieces of 16.
inline access_width width_of(const void* rows, const void* packed, unsigned row_piece) noexcept {
  const auto row_address = reinterpret_cast<std::uintptr_t>(rows);
  const auto packed_address = reinterpret_cast<std::uintptr_t>(packed);
  if (row_address % row_piece == 0 && packed_address % 16 == 0) return access_width::vector;
  return row_address % 4 == 0 && packed_address % 4 == 0 ? access_width::word : access_width::byte;
}

using shuffle_kernel = void (*)(weight_source, weight_storage, std::int64_t, std::int64_t);

/// The kernels that pack and unpack a layout, and what they take.
template <weight_layout Layout>
struct shuffle_kernels {
  static constexpr bool mma = Layout == weight_layout::mma_m16k64;
  static constexpr int threads = mma ? shuffle_threads : mfma_run::threads;
  static constexpr int atoms_of_block = mma ? shuffle_atoms : mfma_run::atoms_of_block;
  static constexpr unsigned row_piece = mma ? 8 : 16;

  static shuffle_kernel rows(access_width width) noexcept {
    using enum access_width;
    if constexpr (mma)
      return width == vector ? pack_rows<vector> : width == word ? pack_rows<word> : pack_rows<byte>;
    else
      return width == vector ? pack_mfma_rows<vector> : width == word ? pack_mfma_rows<word> : pack_mfma_rows<byte>;
  }
  static shuffle_kernel columns(access_width width) noexcept {
    using enum access_width;
    if constexpr (mma)
      return width == vector ? pack_columns<vector> : width == word ? pack_columns<word> : pack_columns<byte>;
    else
      return width == vector ? pack_mfma_columns<vector>
             : width == word ? pack_mfma_columns<word>
                             : pack_mfma_columns<byte>;
  }
  static shuffle_kernel unpacked_rows(access_width width) noexcept {
    using enum access_width;
    if constexpr (mma)
      return width == vector ? unpack_rows<vector> : width == word ? unpack_rows<word> : unpack_rows<byte>;
    else
      return width == vector ? unpack_mfma_rows<vector>
             : width == word ? unpack_mfma_rows<word>
                             : unpack_mfma_rows<byte>;
  }
};
using own_shuffle_kernels = shuffle_kernels<layout_of_device>;

inline gpu::launch_status launch_shuffle(shuffle_kernel kernel, const weight_shape& shape, weight_source from,
                                         weight_storage to, device::stream_handle stream,
                                         const gpu::launch_options& options) noexcept {
  constexpr int atom_k = atom_of(layout_of_device).k;
  const std::int64_t runs = ceil_div(ceil_div(shape.k, atom_k), own_shuffle_kernels::atoms_of_block);
  const dim3 grid(static_cast<unsigned>(runs), static_cast<unsigned>(ceil_div(shape.n, weight_atom::group_rows)),
                  static_cast<unsigned>(shape.experts));
  return answer_of_native(device::launch_kernel(kernel, {.grid = grid, .block = dim3(own_shuffle_kernels::threads)},
                                                stream, options, from, to, shape.n, shape.k));
}

}  // namespace tilefit::inline v0::detail

namespace tilefit::inline v0::gpu {

/// tilefit::shuffle_weights on a device, byte for byte: values [experts, n, k / 32, 16] and scales [experts, n, k / 32]
/// become `layout`, padding included. Pointers are device pointers of any alignment; multiples of 8 (rows; AMD: 16) and
/// 16 (packed) are the fast ones. `from` and `to` must not overlap.
/// empty (no experts), invalid_argument, or unsupported_feature for a layout other than mma_m16k64 (AMD: mfma_m16k128),
/// with the reason: nothing is enqueued.
[[nodiscard]] inline launch_status shuffle_weights(weight_layout layout, const weight_shape& shape, weight_source from,
                                                   weight_storage to, device::stream_handle stream,
                                                   const launch_options& options = {}) noexcept {
  using kernels = detail::own_shuffle_kernels;
  const refusal reason = detail::refuse_shuffle(weight_layout::row_major, layout, shape, from, to);
  if (reason) return detail::answer(reason);
  const detail::access_width width = detail::width_of(from.values, to.values, kernels::row_piece);
  return detail::launch_shuffle(kernels::rows(width), shape, from, to, stream, options);
}

/// tilefit::unshuffle_weights on a device: the inverse of shuffle_weights, bit for bit.
[[nodiscard]] inline launch_status unshuffle_weights(weight_layout layout, const weight_shape& shape,
                                                     weight_source from, weight_storage to,
                                                     device::stream_handle stream,
                                                     const launch_options& options = {}) noexcept {
  using kernels = detail::own_shuffle_kernels;
  const refusal reason = detail::refuse_shuffle(layout, weight_layout::row_major, shape, from, to);
  if (reason) return detail::answer(reason);
  const detail::access_width width = detail::width_of(to.values, from.values, kernels::row_piece);
  return detail::launch_shuffle(kernels::unpacked_rows(width), shape, from, to, stream, options);
}

/// tilefit::shuffle_transposed_weights on a device: values [experts, k / 2, n] (low nibble = even k) and scales
/// [experts, k / 32, n] become `layout`.
[[nodiscard]] inline launch_status shuffle_transposed_weights(weight_layout layout, const weight_shape& shape,
                                                              weight_source from, weight_storage to,
                                                              device::stream_handle stream,
                                                              const launch_options& options = {}) noexcept {
  using kernels = detail::own_shuffle_kernels;
  const refusal reason = detail::refuse_shuffle(weight_layout::row_major, layout, shape, from, to);
  if (reason) return detail::answer(reason);
  const detail::access_width width = detail::width_of(from.values, to.values, kernels::row_piece);
  return detail::launch_shuffle(kernels::columns(width), shape, from, to, stream, options);
}

}  // namespace tilefit::inline v0::gpu
