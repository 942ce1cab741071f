// A whole expert MLP on the CPU: quantise weights, route, choose tiles, compute.
#include <tilefit/host/moe_mlp.hpp>
#include <tilefit/tilefit.hpp>

#include <cstdio>
#include <vector>

namespace {

constexpr std::int64_t tokens = 5, hidden = 96, intermediate = 64;
constexpr int experts = 4, topk = 2;

/// MXFP4 values and scales of a matrix that is made up on the spot.
struct weights {
  std::vector<std::uint8_t> values, scales;

  explicit weights(std::int64_t rows, std::int64_t columns)
      : values(static_cast<std::size_t>(rows * columns / 2)), scales(static_cast<std::size_t>(rows * columns / 32)) {
    std::vector<float> dense(static_cast<std::size_t>(rows * columns));
    for (std::size_t i = 0; i < dense.size(); ++i) dense[i] = static_cast<float>(i % 13) / 64.0f - 0.1f;
    (void)tilefit::quantize_mxfp4_rows({.rows = rows, .k = columns}, dense, values, scales);
  }
  tilefit::w_operand operand() const { return {.data = values.data(), .block_scales = scales.data()}; }
};

}  // namespace

int main() {
  const weights gate_up(experts * 2 * intermediate, hidden), down(experts * hidden, intermediate);
  std::vector<float> x(tokens * hidden), logits(tokens * experts), y(tokens * hidden);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 7) - 3.0f;
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i * 5 % 11);

  const tilefit::host::moe_layer layer{
      .tokens = tokens,
      .hidden = hidden,
      .intermediate = intermediate,
      .experts = experts,
      .topk = topk,
      .x = {.data = x.data(), .type = tilefit::dtype::fp32, .rows = tokens, .row_stride = hidden},
      .gate_up = gate_up.operand(),
      .down = down.operand(),
      .y = {.data = y.data(), .type = tilefit::dtype::fp32, .rows = tokens, .row_stride = hidden},
      .between = tilefit::dtype::fp32};

  const tilefit::matmul_problem problem{.m = tokens * topk,
                                        .n = 2 * intermediate,
                                        .k = hidden,
                                        .experts = experts,
                                        .topk = topk,
                                        .formats = {.act = tilefit::activation::swiglu, .gather = true}};
  const tilefit::opt_flags flags = tilefit::make_opt_flags(tilefit::arch_v<tilefit::arch_id::sm_90>, problem).flags;
  const tilefit::host::moe_flags both{flags, flags};
  std::vector<std::byte> workspace(tilefit::host::workspace_bytes(layer, both));
  std::vector<std::int32_t> chosen(tokens * topk);
  std::vector<float> share(tokens * topk);
  const tilefit::status_code status = tilefit::host::moe_mlp(layer, both,
                                                             {.logits = logits,
                                                              .expert_index = chosen,
                                                              .expert_weight = share,
                                                              .workspace = workspace.data(),
                                                              .workspace_bytes = workspace.size()});
  std::printf("%s: token 0 went to experts %d and %d, y[0][0] = %f\n", name_of(status).data(), chosen[0], chosen[1],
              static_cast<double>(y[0]));
  return status == tilefit::status_code::ok ? 0 : 1;
}
