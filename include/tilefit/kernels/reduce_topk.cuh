// L5: the sum over a token's experts, and rows of zeros.
// Knows: parts of a row in fp32, which of them are there, formats of Y. Must not know: who wrote the parts.
// Sums run over the parts in ascending order, in fp32, and are rounded once: the same bits for every launch geometry.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "../detail/math.hpp"
#include "../device/cuda/launch_control.cuh"
#include "../dtype.hpp"
#include "../launch_status.hpp"
#include "../matmul_args.hpp"

namespace tilefit::inline v0::cuda {

/// y[token, :] = (accumulate ? y[token, :] : 0) + sum over s = 0 .. topk - 1 of parts[token * topk + s, :], those parts
/// that are present. All pointers are device pointers, aligned to their type.
/// Which are present: with neither `present` nor `expert_index` all; otherwise what one of them says. Absent parts may
/// hold anything: they may be read (the memory must be there), but never count.
struct reduce_topk_args {
  std::int64_t tokens = 0;
  int topk = 1;
  std::int64_t columns = 0;
  const float* parts = nullptr;                ///< [tokens * topk, columns]
  const std::uint8_t* present = nullptr;       ///< [tokens * topk]: 0 = absent
  const std::int32_t* expert_index = nullptr;  ///< [tokens * topk]: absent when out of 0 .. experts - 1 or elsewhere
  const std::int32_t* expert_map = nullptr;    ///< [experts], negative = elsewhere; null: every expert is here
  int experts = 0;                             ///< with expert_index
  y_operand y = {};                            ///< rows = tokens; bf16, fp16 or fp32
  bool accumulate = false;
};

}  // namespace tilefit::inline v0::cuda

namespace tilefit::inline v0::detail {

inline constexpr int reduce_threads = 128;

/// Up to this many bytes of parts, all are read before it is known which of them count: at 4 TB/s that takes a quarter
/// of a microsecond, less than waiting for expert_index and then for expert_map before the first read.
inline constexpr std::int64_t eager_reduce_bytes = 1 << 20;

/// Columns of Y that one thread writes.
template <class Element, int Count>
struct alignas(sizeof(Element) * Count) y_pack {
  Element values[Count];
};

template <int Count>
struct alignas(sizeof(float) * Count) part_pack {
  float values[Count];
};

__device__ inline float to_float(float value) noexcept { return value; }
__device__ inline float to_float(__half value) noexcept { return __half2float(value); }
__device__ inline float to_float(__nv_bfloat16 value) noexcept { return __bfloat162float(value); }
__device__ inline void from_float(float value, float& to) noexcept { to = value; }
__device__ inline void from_float(float value, __half& to) noexcept { to = __float2half_rn(value); }
__device__ inline void from_float(float value, __nv_bfloat16& to) noexcept { to = __float2bfloat16_rn(value); }

__device__ inline bool part_is_present(const cuda::reduce_topk_args& args, std::int64_t slot) noexcept {
  if (args.present != nullptr) return args.present[slot] != 0;
  if (args.expert_index == nullptr) return true;
  const int expert = args.expert_index[slot];
  if (expert < 0 || expert >= args.experts) return false;
  return args.expert_map == nullptr || args.expert_map[expert] >= 0;
}

/// Count columns of one token in a thread, blocks_per_token blocks for a token.
template <class Element, int Count>
__global__ void __launch_bounds__(reduce_threads)
    sum_parts(const cuda::reduce_topk_args args, unsigned blocks_per_token, bool eager) {
  constexpr int at_once = 4;  // parts: their loads are in flight together
  const std::int64_t token = blockIdx.x / blocks_per_token;
  const std::int64_t column = (std::int64_t{blockIdx.x % blocks_per_token} * reduce_threads + threadIdx.x) * Count;
  device::let_next_grid_start();
  device::wait_for_previous_grid();
  if (column >= args.columns) return;

  auto* const y = reinterpret_cast<y_pack<Element, Count>*>(static_cast<Element*>(args.y.data) +
                                                            token * args.y.row_stride + column);
  y_pack<Element, Count> old = {};
  if (args.accumulate) old = *y;
  float sum[Count] = {};
  const std::int64_t first_slot = token * args.topk;
  for (int first = 0; first < args.topk; first += at_once) {
    part_pack<Count> parts[at_once] = {};
    bool counts[at_once] = {};
    const auto load = [&](int i) {
      parts[i] =
          *reinterpret_cast<const part_pack<Count>*>(args.parts + (first_slot + first + i) * args.columns + column);
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
  y_pack<Element, Count> result;
#pragma unroll
  for (int c = 0; c < Count; ++c)
    from_float(args.accumulate ? sum[c] + to_float(old.values[c]) : sum[c], result.values[c]);
  *y = result;
}

template <class Word>
__global__ void __launch_bounds__(reduce_threads)
    fill_zeros(void* data, std::int64_t row_words, std::int64_t stride_bytes, unsigned blocks_per_row) {
  const std::int64_t row = blockIdx.x / blocks_per_row;
  const std::int64_t word = std::int64_t{blockIdx.x % blocks_per_row} * reduce_threads + threadIdx.x;
  device::let_next_grid_start();
  device::wait_for_previous_grid();
  if (word < row_words) reinterpret_cast<Word*>(static_cast<std::uint8_t*>(data) + row * stride_bytes)[word] = Word{};
}

/// Blocks of reduce_threads threads for `rows` rows of `pieces` each, or what is wrong with them.
constexpr refusal refuse_grid(std::int64_t rows, std::int64_t pieces) noexcept {
  const std::int64_t most = INT32_MAX / ceil_div(pieces, reduce_threads);  // blocks along x, as above
  return rows <= most ? refusal{} : bad_number("rows of y", rows, relation::at_most, most);
}

/// What is wrong with rows that are to be written.
constexpr refusal refuse_y(const y_operand& y, std::int64_t rows, std::int64_t columns) noexcept {
  constexpr std::int64_t most = INT32_MAX;
  if (rows < 0) return bad_number("rows of y", rows, relation::at_least, 0);
  if (rows > most) return bad_number("rows of y", rows, relation::at_most, most);
  if (columns < 0) return bad_number("columns of y", columns, relation::at_least, 0);
  if (columns > most) return bad_number("columns of y", columns, relation::at_most, most);
  if (rows == 0) return nothing_to_do("rows of y");
  if (columns == 0) return nothing_to_do("columns of y");
  if (y.type != dtype::fp32 && y.type != dtype::bf16 && y.type != dtype::fp16)
    return {.status = status_code::unsupported_dtype,
            .subject = "number of bits of y",
            .value = bits_of(y.type),
            .must_be = relation::at_least,
            .limit = 16,
            .why = "y is fp32, bf16 or fp16"};
  if (y.data == nullptr) return missing("y");
  if (y.row_stride < columns) return bad_number("row stride of y", y.row_stride, relation::at_least, columns);
  constexpr std::int64_t most_elements = std::int64_t{1} << 56;  // as in check_args: offsets stay below 2^63
  if (y.row_stride > most_elements / rows)
    return bad_number("row stride of y", y.row_stride, relation::at_most, most_elements / rows);
  return {};
}

template <class Element>
inline cuda::launch_status launch_sum(const cuda::reduce_topk_args& args, cudaStream_t stream,
                                      const cuda::launch_options& options) noexcept {
  constexpr int wide = 4;
  const bool vectors = args.columns % wide == 0 && args.y.row_stride % wide == 0 &&
                       reinterpret_cast<std::uintptr_t>(args.parts) % (wide * sizeof(float)) == 0 &&
                       reinterpret_cast<std::uintptr_t>(args.y.data) % (wide * sizeof(Element)) == 0;
  const std::int64_t pieces = vectors ? args.columns / wide : args.columns;
  if (const refusal reason = refuse_grid(args.tokens, pieces)) return answer(reason);
  const std::int64_t blocks = ceil_div(pieces, reduce_threads);
  const bool eager = args.tokens * args.topk * args.columns <= eager_reduce_bytes / std::int64_t{sizeof(float)};
  return answer_of_runtime(
      cuda::launch_kernel(vectors ? sum_parts<Element, wide> : sum_parts<Element, 1>,
                          {.grid = dim3(static_cast<unsigned>(args.tokens * blocks)), .block = dim3(reduce_threads)},
                          stream, options, args, static_cast<unsigned>(blocks), eager));
}

template <class Word>
inline cuda::launch_status launch_zeros(void* data, std::int64_t rows, std::int64_t row_bytes,
                                        std::int64_t stride_bytes, cudaStream_t stream,
                                        const cuda::launch_options& options) noexcept {
  const std::int64_t words = row_bytes / std::int64_t{sizeof(Word)};
  if (const refusal reason = refuse_grid(rows, words)) return answer(reason);
  const std::int64_t blocks = ceil_div(words, reduce_threads);
  return answer_of_runtime(cuda::launch_kernel(
      fill_zeros<Word>, {.grid = dim3(static_cast<unsigned>(rows * blocks)), .block = dim3(reduce_threads)}, stream,
      options, data, words, stride_bytes, static_cast<unsigned>(blocks)));
}

}  // namespace tilefit::inline v0::detail

namespace tilefit::inline v0::cuda {

/// One kernel. Vectors of four columns where columns, row stride and addresses allow it, single columns elsewhere.
/// empty (no tokens or no columns: nothing is enqueued), invalid_argument or unsupported_dtype, with the reason.
[[nodiscard]] inline launch_status reduce_topk(const reduce_topk_args& args, cudaStream_t stream,
                                               const launch_options& options = {}) noexcept {
  if (args.topk < 1) return detail::answer(detail::bad_number("topk", args.topk, relation::at_least, 1));
  if (const refusal reason = detail::refuse_y(args.y, args.tokens, args.columns)) return detail::answer(reason);
  const std::int64_t most_tokens = INT32_MAX / args.topk;
  if (args.tokens > most_tokens)
    return detail::answer(detail::bad_number("tokens", args.tokens, relation::at_most, most_tokens));
  if (args.y.rows != args.tokens)
    return detail::answer(detail::bad_number("rows of y", args.y.rows, relation::exactly, args.tokens));
  if (args.parts == nullptr) return detail::answer(detail::missing("parts"));
  if (args.present != nullptr && args.expert_index != nullptr)
    return detail::answer({.status = status_code::invalid_argument,
                           .subject = "expert_index",
                           .value = 1,
                           .must_be = relation::absent,
                           .why = "the byte map says which parts are present"});
  if (args.expert_index != nullptr && args.experts < 1)
    return detail::answer(detail::bad_number("experts", args.experts, relation::at_least, 1));
  if (args.expert_index == nullptr && args.expert_map != nullptr)
    return detail::answer(detail::missing("expert_index"));
  switch (args.y.type) {
    case dtype::fp32: return detail::launch_sum<float>(args, stream, options);
    case dtype::fp16: return detail::launch_sum<__half>(args, stream, options);
    default: return detail::launch_sum<__nv_bfloat16>(args, stream, options);
  }
}

/// Zeros into `columns` columns of all rows of y (what lies between the rows stays). One kernel.
/// empty (nothing is enqueued), invalid_argument or unsupported_dtype, with the reason.
[[nodiscard]] inline launch_status zero_rows(const y_operand& y, std::int64_t columns, cudaStream_t stream,
                                             const launch_options& options = {}) noexcept {
  if (const refusal reason = detail::refuse_y(y, y.rows, columns)) return detail::answer(reason);
  const std::int64_t size = bits_of(y.type) / 8;
  const std::int64_t row_bytes = columns * size, stride_bytes = y.row_stride * size;
  const auto all = reinterpret_cast<std::uintptr_t>(y.data) | static_cast<std::uintptr_t>(row_bytes | stride_bytes);
  if (all % 16 == 0) return detail::launch_zeros<uint4>(y.data, y.rows, row_bytes, stride_bytes, stream, options);
  if (all % 4 == 0) return detail::launch_zeros<unsigned>(y.data, y.rows, row_bytes, stride_bytes, stream, options);
  return detail::launch_zeros<std::uint16_t>(y.data, y.rows, row_bytes, stride_bytes, stream, options);
}

}  // namespace tilefit::inline v0::cuda
