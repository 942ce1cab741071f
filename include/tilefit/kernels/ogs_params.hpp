// L5: what a matmul_ogs kernel is given: the caller's arguments, and what the launch worked out from them.
// Knows: plain data.
// Must not know: tiles' code, streams.
#pragma once

#include <cstdint>

#include "../matmul_args.hpp"

namespace tilefit::inline v0::kernels {

/// How a kernel stores: what all stores of a launch have in common.
enum class store_kind : std::uint8_t {
  bf16,       ///< aligned pairs, nothing added
  fp16,       ///< likewise
  fp32,       ///< likewise
  quantised,  ///< FP8, MXFP8 or MXFP4, nothing added; FP8 at multiples of 2 bytes
  generally   ///< everything else, in 16 or 32 bits
};

/// Kernel parameter.
struct ogs_params {
  matmul_args args{};      ///< y replaced by `parts` of the workspace when rows are summed over topk afterwards
  std::int32_t atoms = 0;  ///< of 16 columns
  std::int32_t steps = 0;  ///< block_k pieces of K
  /// More than 1: blocks take runs of steps, not whole tiles, this many to a tile at most; on AMD GPUs equal pieces of
  /// a tile, this many or as many as it has steps.
  std::int32_t split_k = 1;
  store_kind store = store_kind::generally;
  float* partials = nullptr;          ///< [grid][2][block_m * block_n], when split
  std::uint32_t* arrivals = nullptr;  ///< [grid][teams of a block] zeros, when split; left as zeros
  std::uint32_t* tickets = nullptr;   ///< two zeros, left as zeros: tickets drawn, blocks that are done; may be null
  std::uint8_t* present = nullptr;    ///< [rows of Y] set to 1 for every row that is written; may be null
};

}  // namespace tilefit::inline v0::kernels
