// L5: the sum over a token's experts, and rows of zeros, on AMD GPUs.
// Knows: parts of a row in fp32, which of them are there, formats of Y. Must not know: who wrote the parts.
// Sums run over the parts in ascending order, in fp32, and are rounded once.
#pragma once

#include <cstdint>

#include "../device/ops.cuh"
#include "../dtype.hpp"
#include "../matmul_args.hpp"

namespace tilefit::inline v0::kernels {

inline constexpr int reduce_block = 256;

/// Kernel parameter: y[token, :] = (accumulate ? y[token, :] : 0) + the present ones of parts[token * topk + s, :].
/// Without parts: zeros.
struct mfma_reduce_params {
  y_operand y = {};
  const float* parts = nullptr;           ///< [rows * topk, columns]
  const std::uint8_t* present = nullptr;  ///< [rows * topk]: 0 = absent
  int topk = 1;
  std::int64_t columns = 0;
  bool accumulate = false;
  unsigned blocks_per_row = 1;
};

/// Element `at` of Y.
__device__ __forceinline__ float read_y(const y_operand& y, std::int64_t at) noexcept {
  if (y.type == dtype::fp32) return static_cast<const float*>(y.data)[at];
  const std::uint32_t bits = static_cast<const std::uint16_t*>(y.data)[at];
  return y.type == dtype::bf16 ? device::low_of_pair<dtype::bf16>(bits) : device::low_of_pair<dtype::fp16>(bits);
}
__device__ __forceinline__ void write_y(const y_operand& y, std::int64_t at, float value) noexcept {
  if (y.type == dtype::fp32)
    static_cast<float*>(y.data)[at] = value;
  else
    static_cast<std::uint16_t*>(y.data)[at] = static_cast<std::uint16_t>(
        y.type == dtype::bf16 ? device::pack_pair<dtype::bf16>(value, 0) : device::pack_pair<dtype::fp16>(value, 0));
}

/// A column to a thread, blocks_per_row blocks to a row.
template <int Block = reduce_block>
__global__ void __attribute__((amdgpu_flat_work_group_size(Block, Block)))
mfma_reduce(const mfma_reduce_params params) {
  const unsigned block = device::block_of_grid();
  const std::int64_t row = block / params.blocks_per_row;
  const std::int64_t column = std::int64_t{block % params.blocks_per_row} * Block + device::thread_of_block();
  if (column >= params.columns) return;
  const std::int64_t at = row * params.y.row_stride + column;
  float sum = 0;
  if (params.parts != nullptr)
    for (std::int64_t slot = row * params.topk; slot < (row + 1) * params.topk; ++slot)
      if (params.present[slot] != 0) sum += params.parts[slot * params.columns + column];
  write_y(params.y, at, params.accumulate ? sum + read_y(params.y, at) : sum);
}

}  // namespace tilefit::inline v0::kernels
