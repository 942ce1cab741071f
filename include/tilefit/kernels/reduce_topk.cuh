// L5: the sum over a token's experts, and rows of zeros.
// Knows: parts of a row in fp32, which of them are there, formats of Y. Must not know: who wrote the parts.
// Sums run over the parts in ascending order, in fp32, and are rounded once: the same bits for every launch geometry.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "../detail/math.hpp"
#include "../device/ops.cuh"
#include "../dtype.hpp"
#include "../matmul_args.hpp"
#include "answers.cuh"
#include "reduce_args.hpp"

namespace tilefit::inline v0::detail {

/// Up to this many bytes of parts, all are read before it is known which of them count: at 4 TB/s that takes a quarter
/// of a microsecond, less than waiting for expert_index and then for expert_map before the first read.
inline constexpr std::int64_t eager_reduce_bytes = 1 << 20;

/// Neighbouring numbers that one thread loads or stores at once.
template <class Element, int Count>
struct alignas(sizeof(Element) * Count) number_pack {
  Element values[Count];
};

/// Numbers of Y as they lie in memory.
template <dtype Y>
using y_element = std::conditional_t<Y == dtype::fp32, float, std::uint16_t>;
template <dtype Y>
__device__ inline float to_float(y_element<Y> value) noexcept {
  if constexpr (Y == dtype::fp32)
    return value;
  else
    return device::low_of_pair<Y>(value);
}
template <dtype Y>
__device__ inline y_element<Y> from_float(float value) noexcept {
  if constexpr (Y == dtype::fp32)
    return value;
  else
    return static_cast<std::uint16_t>(device::pack_pair<Y>(value, 0.0f));
}

__device__ inline bool part_is_present(const gpu::reduce_topk_args& args, std::int64_t slot) noexcept {
  if (args.present != nullptr) return args.present[slot] != 0;
  if (args.expert_index == nullptr) return true;
  const int expert = args.expert_index[slot];
  if (expert < 0 || expert >= args.experts) return false;
  return args.expert_map == nullptr || args.expert_map[expert] >= 0;
}

/// Count columns of one token in a thread, blocks_per_token blocks for a token.
template <dtype Y, int Count>
__global__ void __launch_bounds__(reduce_threads)
    sum_parts(const gpu::reduce_topk_args args, unsigned blocks_per_token, bool eager) {
  constexpr int at_once = 4;  // parts: their loads are in flight together
  const unsigned block = device::block_of_grid();
  const std::int64_t token = block / blocks_per_token;
  const std::int64_t column =
      (std::int64_t{block % blocks_per_token} * reduce_threads + device::thread_of_block()) * Count;
  device::let_next_grid_start();
  device::wait_for_previous_grid();
  if (column >= args.columns) return;

  using element = y_element<Y>;
  using pack = number_pack<element, Count>;
  auto* const y = reinterpret_cast<pack*>(static_cast<element*>(args.y.data) + token * args.y.row_stride + column);
  pack old = {};
  if (args.accumulate) old = *y;
  float sum[Count] = {};
  const std::int64_t first_slot = token * args.topk;
  for (int first = 0; first < args.topk; first += at_once) {
    number_pack<float, Count> parts[at_once] = {};
    bool counts[at_once] = {};
    const auto load = [&](int i) {
      parts[i] = *reinterpret_cast<const number_pack<float, Count>*>(args.parts +
                                                                     (first_slot + first + i) * args.columns + column);
    };
    if (eager) {
#pragma unroll
      for (int i = 0; i < at_once; ++i)
        if (first + i < args.topk) load(i);
    }
#pragma unroll
    for (int i = 0; i < at_once; ++i)
      counts[i] = first + i < args.topk && part_is_present(args, first_slot + first + i);
    if (!eager) {
#pragma unroll
      for (int i = 0; i < at_once; ++i)
        if (counts[i]) load(i);
    }
#pragma unroll
    for (int i = 0; i < at_once; ++i)
#pragma unroll
      for (int c = 0; c < Count; ++c)
        if (counts[i]) sum[c] += parts[i].values[c];
  }
  pack result;
#pragma unroll
  for (int c = 0; c < Count; ++c)
    result.values[c] = from_float<Y>(args.accumulate ? sum[c] + to_float<Y>(old.values[c]) : sum[c]);
  *y = result;
}

template <class Word>
__global__ void __launch_bounds__(reduce_threads)
    fill_zeros(void* data, std::int64_t row_words, std::int64_t stride_bytes, unsigned blocks_per_row) {
  const unsigned block = device::block_of_grid();
  const std::int64_t row = block / blocks_per_row;
  const std::int64_t word = std::int64_t{block % blocks_per_row} * reduce_threads + device::thread_of_block();
  device::let_next_grid_start();
  device::wait_for_previous_grid();
  if (word < row_words) reinterpret_cast<Word*>(static_cast<std::uint8_t*>(data) + row * stride_bytes)[word] = Word{};
}

template <dtype Y>
inline gpu::launch_status launch_sum(const gpu::reduce_topk_args& args, device::stream_handle stream,
                                     const gpu::launch_options& options) noexcept {
  constexpr int wide = 4;
  const bool vectors = args.columns % wide == 0 && args.y.row_stride % wide == 0 &&
                       reinterpret_cast<std::uintptr_t>(args.parts) % (wide * sizeof(float)) == 0 &&
                       reinterpret_cast<std::uintptr_t>(args.y.data) % (wide * sizeof(y_element<Y>)) == 0;
  const std::int64_t pieces = vectors ? args.columns / wide : args.columns;
  if (const refusal reason = refuse_grid(args.tokens, pieces, device::most_blocks(reduce_threads)))
    return answer(reason);
  const std::int64_t blocks = ceil_div(pieces, reduce_threads);
  const bool eager = args.tokens * args.topk * args.columns <= eager_reduce_bytes / std::int64_t{sizeof(float)};
  return answer_of_native(
      device::launch_kernel(vectors ? sum_parts<Y, wide> : sum_parts<Y, 1>,
                            {.grid = dim3(static_cast<unsigned>(args.tokens * blocks)), .block = dim3(reduce_threads)},
                            stream, options, args, static_cast<unsigned>(blocks), eager));
}

template <class Word>
inline gpu::launch_status launch_zeros(void* data, std::int64_t rows, std::int64_t row_bytes, std::int64_t stride_bytes,
                                       device::stream_handle stream, const gpu::launch_options& options) noexcept {
  const std::int64_t words = row_bytes / std::int64_t{sizeof(Word)};
  if (const refusal reason = refuse_grid(rows, words, device::most_blocks(reduce_threads))) return answer(reason);
  const std::int64_t blocks = ceil_div(words, reduce_threads);
  return answer_of_native(device::launch_kernel(
      fill_zeros<Word>, {.grid = dim3(static_cast<unsigned>(rows * blocks)), .block = dim3(reduce_threads)}, stream,
      options, data, words, stride_bytes, static_cast<unsigned>(blocks)));
}

/// zero_rows for elements of 8 and 4 bits, whose codes and scales of zero are bytes of zero. Two kernels with scales.
inline gpu::launch_status zero_narrow_rows(const y_operand& y, std::int64_t columns,
                                           device::stream_handle stream) noexcept {
  if (y.rows == 0 || columns == 0) return answer(nothing_to_do("rows or columns of y"));
  const int bits = bits_of(y.type);
  const gpu::launch_status codes =
      launch_zeros<std::uint8_t>(y.data, y.rows, columns * bits / 8, y.row_stride * bits / 8, stream, {});
  if (codes.code != status_code::ok || !has_block_scales(y.type)) return codes;
  return launch_zeros<std::uint8_t>(y.block_scales, y.rows, columns / 32, y.block_scale_stride, stream, {});
}

}  // namespace tilefit::inline v0::detail

namespace tilefit::inline v0::gpu {

/// One kernel. Vectors of four columns where columns, row stride and addresses allow it, single columns elsewhere.
/// empty (no tokens or no columns: nothing is enqueued), invalid_argument or unsupported_dtype, with the reason.
[[nodiscard]] inline launch_status reduce_topk(const reduce_topk_args& args, device::stream_handle stream,
                                               const launch_options& options = {}) noexcept {
  if (const refusal reason = detail::refuse_sum(args)) return detail::answer(reason);
  switch (args.y.type) {
    case dtype::fp32: return detail::launch_sum<dtype::fp32>(args, stream, options);
    case dtype::fp16: return detail::launch_sum<dtype::fp16>(args, stream, options);
    default: return detail::launch_sum<dtype::bf16>(args, stream, options);
  }
}

/// Zeros into `columns` columns of all rows of y (what lies between the rows stays). One kernel.
/// empty (nothing is enqueued), invalid_argument or unsupported_dtype, with the reason.
[[nodiscard]] inline launch_status zero_rows(const y_operand& y, std::int64_t columns, device::stream_handle stream,
                                             const launch_options& options = {}) noexcept {
  if (const refusal reason = detail::refuse_y(y, y.rows, columns)) return detail::answer(reason);
  const std::int64_t size = bits_of(y.type) / 8;
  const std::int64_t row_bytes = columns * size, stride_bytes = y.row_stride * size;
  const auto all = reinterpret_cast<std::uintptr_t>(y.data) | static_cast<std::uintptr_t>(row_bytes | stride_bytes);
  using chunk = detail::number_pack<std::uint32_t, 4>;
  if (all % 16 == 0) return detail::launch_zeros<chunk>(y.data, y.rows, row_bytes, stride_bytes, stream, options);
  if (all % 4 == 0) return detail::launch_zeros<unsigned>(y.data, y.rows, row_bytes, stride_bytes, stream, options);
  return detail::launch_zeros<std::uint16_t>(y.data, y.rows, row_bytes, stride_bytes, stream, options);
}

}  // namespace tilefit::inline v0::gpu
