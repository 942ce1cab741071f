// The expert MLP behind the PyTorch op: arguments for tilefit, tiles from its engine, answers as sentences.
#include "experts_call.hpp"

#include <tilefit/kernels/shuffle_weights.cuh>
#include <tilefit/moe_mlp.cuh>

namespace tilefit_op {
namespace {

constexpr auto layout = tilefit::weight_layout::mma_m16k64;

tilefit::cuda::moe_args args_of(const experts_call& call) {
  const tilefit::dtype type = call.fp16 ? tilefit::dtype::fp16 : tilefit::dtype::bf16;
  return {.tokens = call.tokens,
          .hidden = call.hidden,
          .intermediate = call.intermediate,
          .experts = call.experts,
          .topk = call.topk,
          .x = {.data = call.x, .type = type, .rows = call.tokens, .row_stride = call.x_stride},
          .given = {call.expert_index, call.expert_weight},
          .gate_up = {.data = call.gate_up, .layout = layout},
          .down = {.data = call.down, .layout = layout},
          .gate_up_bias = call.gate_up_bias,
          .down_bias = call.down_bias,
          .swiglu = {.alpha = call.alpha, .limit = call.limit},
          .between = type,
          .y = {.data = call.y, .type = type, .rows = call.tokens, .row_stride = call.hidden},
          .workspace = call.workspace,
          .workspace_bytes = call.workspace_bytes};
}

std::string sentence(tilefit::status_code code, const tilefit::refusal& reason, int native_error) {
  if (succeeded(code)) return {};
  std::string text = "tilefit: " + std::string(name_of(code)) + ": " + std::string(reason.subject) + " is " +
                     std::to_string(reason.value) + ", limit " + std::to_string(reason.limit);
  if (!reason.why.empty()) text += ": " + std::string(reason.why);
  if (native_error != 0) text += ", CUDA error " + std::to_string(native_error);
  return text;
}

std::string sentence(const tilefit::cuda::launch_status& status) {
  return sentence(status.code, status.reason, status.native_error);
}

}  // namespace

std::size_t workspace_bytes(const experts_call& call) {
  const tilefit::cuda::moe_args args = args_of(call);
  const tilefit::cuda::moe_selection choice = choose_moe(args);
  return choice.ok() ? moe_workspace_bytes(args, choice.flags()) : 0;
}

std::string run(const experts_call& call, void* stream) {
  const tilefit::cuda::moe_args args = args_of(call);
  const tilefit::cuda::moe_selection choice = choose_moe(args);
  for (const tilefit::selection& each : {choice.gate_up, choice.down})
    if (!each.ok()) return sentence(each.status, each.refused, 0);
  return sentence(moe_mlp(args, choice.flags(), static_cast<cudaStream_t>(stream)));
}

std::int64_t packed_bytes(std::int64_t n, std::int64_t k) {
  return tilefit::valid_weight_size(n, k) ? bytes_per_expert(layout, n, k) : 0;
}

std::string pack(std::int64_t experts, std::int64_t n, std::int64_t k, const std::uint8_t* blocks,
                 const std::uint8_t* scales, std::uint8_t* packed, void* stream) {
  return sentence(tilefit::cuda::shuffle_weights(layout, {.experts = experts, .n = n, .k = k}, {blocks, scales},
                                                 {packed, nullptr}, static_cast<cudaStream_t>(stream)));
}

}  // namespace tilefit_op
