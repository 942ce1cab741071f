// What the PyTorch side (binding.cpp) asks of the GPU side (experts_call.cu): plain numbers and addresses.
// Knows: neither PyTorch nor CUDA, so that each compiler reads only the headers that it must.
// A function that can fail answers with a sentence; an empty one is success.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace tilefit_op {

/// The experts of one layer for experts and weights that a router has chosen. Device addresses.
struct experts_call {
  std::int64_t tokens = 0, hidden = 0, intermediate = 0;
  int experts = 0, topk = 0;
  bool fp16 = false;  ///< x and y; else BF16
  const void* x = nullptr;
  std::int64_t x_stride = 0;
  const std::int32_t* expert_index = nullptr;
  const float* expert_weight = nullptr;
  const std::uint8_t* gate_up = nullptr;  ///< packed, as `pack` leaves them
  const float* gate_up_bias = nullptr;
  const std::uint8_t* down = nullptr;
  const float* down_bias = nullptr;
  float alpha = 0, limit = 0;
  void* y = nullptr;
  void* workspace = nullptr;  ///< zeros when it is new
  std::size_t workspace_bytes = 0;
};

std::size_t workspace_bytes(const experts_call& call);
std::string run(const experts_call& call, void* stream);

/// MXFP4 weights [experts, n, k] as they are published -> the order that the kernels read.
std::int64_t packed_bytes(std::int64_t n, std::int64_t k);  ///< of one expert
std::string pack(std::int64_t experts, std::int64_t n, std::int64_t k, const std::uint8_t* blocks,
                 const std::uint8_t* scales, std::uint8_t* packed, void* stream);

}  // namespace tilefit_op
