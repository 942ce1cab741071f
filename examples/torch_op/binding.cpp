// The ops torch.ops.tilefit.*: checks tensors and hands their addresses on (experts_call.hpp).
#include <ATen/ATen.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "experts_call.hpp"

namespace {

using at::Tensor;

void check(const Tensor& tensor, const char* name, at::ScalarType type, at::IntArrayRef sizes) {
  TORCH_CHECK(tensor.is_contiguous() && tensor.scalar_type() == type && tensor.sizes() == sizes, name, " must be ",
              type, " ", sizes, " and contiguous; it is ", tensor.scalar_type(), " ", tensor.sizes());
}

void check(const std::string& sentence) { TORCH_CHECK(sentence.empty(), sentence); }

/// blocks [experts, n, k / 32, 16] and scales [experts, n, k / 32] -> [experts, bytes].
Tensor pack(const Tensor& blocks, const Tensor& scales) {
  const c10::cuda::CUDAGuard guard(blocks.device());
  TORCH_CHECK(blocks.dim() == 4 && scales.device() == blocks.device(), "blocks must be [experts, n, k / 32, 16]");
  const std::int64_t experts = blocks.size(0), n = blocks.size(1), k = 32 * blocks.size(2);
  check(blocks, "blocks", at::kByte, {experts, n, k / 32, 16});
  check(scales, "scales", at::kByte, {experts, n, k / 32});
  Tensor packed = at::empty({experts, tilefit_op::packed_bytes(n, k)}, blocks.options());
  check(tilefit_op::pack(experts, n, k, blocks.data_ptr<std::uint8_t>(), scales.data_ptr<std::uint8_t>(),
                         packed.data_ptr<std::uint8_t>(), c10::cuda::getCurrentCUDAStream().stream()));
  return packed;
}

tilefit_op::experts_call call_of(const Tensor& x, const Tensor& expert_index, const Tensor& expert_weight,
                                 const Tensor& gate_up, const Tensor& gate_up_bias, const Tensor& down,
                                 const Tensor& down_bias, double alpha, double limit) {
  for (const Tensor* tensor : {&expert_index, &expert_weight, &gate_up, &gate_up_bias, &down, &down_bias})
    TORCH_CHECK(tensor->device() == x.device(), "all tensors must be on ", x.device());
  TORCH_CHECK(x.dim() == 2 && x.stride(1) == 1 && (x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kHalf),
              "x must be BF16 or FP16 [tokens, hidden] with whole rows");
  TORCH_CHECK(expert_index.dim() == 2 && gate_up_bias.dim() == 2, "expert_index and gate_up_bias have two dimensions");
  const std::int64_t tokens = x.size(0), hidden = x.size(1), topk = expert_index.size(1);
  const std::int64_t experts = gate_up_bias.size(0), intermediate = gate_up_bias.size(1) / 2;
  check(expert_index, "expert_index", at::kInt, {tokens, topk});
  check(expert_weight, "expert_weight", at::kFloat, {tokens, topk});
  check(gate_up, "gate_up", at::kByte, {experts, tilefit_op::packed_bytes(2 * intermediate, hidden)});
  check(gate_up_bias, "gate_up_bias", at::kFloat, {experts, 2 * intermediate});
  check(down, "down", at::kByte, {experts, tilefit_op::packed_bytes(hidden, intermediate)});
  check(down_bias, "down_bias", at::kFloat, {experts, hidden});
  tilefit_op::experts_call call;
  call.tokens = tokens;
  call.hidden = hidden;
  call.intermediate = intermediate;
  call.experts = static_cast<int>(experts);
  call.topk = static_cast<int>(topk);
  call.fp16 = x.scalar_type() == at::kHalf;
  call.x = x.data_ptr();
  call.x_stride = tokens > 1 ? x.stride(0) : hidden;
  call.expert_index = expert_index.data_ptr<std::int32_t>();
  call.expert_weight = expert_weight.data_ptr<float>();
  call.gate_up = gate_up.data_ptr<std::uint8_t>();
  call.gate_up_bias = gate_up_bias.data_ptr<float>();
  call.down = down.data_ptr<std::uint8_t>();
  call.down_bias = down_bias.data_ptr<float>();
  call.alpha = static_cast<float>(alpha);
  call.limit = static_cast<float>(limit);
  return call;
}

/// Bytes of workspace that `experts` wants for the same arguments.
std::int64_t workspace_bytes(const Tensor& x, const Tensor& expert_index, const Tensor& expert_weight,
                             const Tensor& gate_up, const Tensor& gate_up_bias, const Tensor& down,
                             const Tensor& down_bias, double alpha, double limit) {
  const c10::cuda::CUDAGuard guard(x.device());
  tilefit_op::experts_call call =
      call_of(x, expert_index, expert_weight, gate_up, gate_up_bias, down, down_bias, alpha, limit);
  call.y = const_cast<void*>(call.x);  // only that there is one counts
  return static_cast<std::int64_t>(tilefit_op::workspace_bytes(call));
}

/// x [tokens, hidden], expert_index and expert_weight [tokens, topk] -> y like x. `workspace`: bytes, zeros when new.
Tensor experts(const Tensor& x, const Tensor& expert_index, const Tensor& expert_weight, const Tensor& gate_up,
               const Tensor& gate_up_bias, const Tensor& down, const Tensor& down_bias, double alpha, double limit,
               Tensor& workspace) {
  const c10::cuda::CUDAGuard guard(x.device());
  tilefit_op::experts_call call =
      call_of(x, expert_index, expert_weight, gate_up, gate_up_bias, down, down_bias, alpha, limit);
  check(workspace, "workspace", at::kByte, {workspace.numel()});
  Tensor y = at::empty({x.size(0), x.size(1)}, x.options());
  call.y = y.data_ptr();
  call.workspace = workspace.data_ptr();
  call.workspace_bytes = static_cast<std::size_t>(workspace.numel());
  check(tilefit_op::run(call, c10::cuda::getCurrentCUDAStream().stream()));
  return y;
}

}  // namespace

TORCH_LIBRARY(tilefit, library) {
  library.def("pack(Tensor blocks, Tensor scales) -> Tensor");
  library.def(
      "workspace_bytes(Tensor x, Tensor expert_index, Tensor expert_weight, Tensor gate_up, Tensor gate_up_bias, "
      "Tensor down, Tensor down_bias, float alpha, float limit) -> int");
  library.def(
      "experts(Tensor x, Tensor expert_index, Tensor expert_weight, Tensor gate_up, Tensor gate_up_bias, Tensor down, "
      "Tensor down_bias, float alpha, float limit, Tensor(a!) workspace) -> Tensor");
}

TORCH_LIBRARY_IMPL(tilefit, CUDA, library) {
  library.impl("pack", &pack);
  library.impl("workspace_bytes", &workspace_bytes);
  library.impl("experts", &experts);
}
