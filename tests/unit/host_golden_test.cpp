// The CPU backend against whole layers computed by somebody else (tests/golden/README.md).
#include <cmath>
#include <cstdint>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "safetensors.hpp"
#include "tilefit/host/moe_mlp.hpp"

using namespace tilefit;
using bench::file_dtype;

namespace {

struct golden_layer {
  explicit golden_layer(bench::safetensors_file opened) : file(std::move(opened)) {}

  bench::safetensors_file file;
  std::int64_t tokens = 0;
  std::vector<std::uint16_t> hidden;
  std::vector<float> hidden_fp32, router_weight, router_bias, gate_up_bias, down_bias, expected;
  std::vector<std::int32_t> expected_index;
  std::vector<float> expected_weight;

  const std::uint8_t* raw(const char* name) const {
    return reinterpret_cast<const std::uint8_t*>(file.contents.find(name)->data.data());
  }
};

constexpr int experts = 8, topk = 4, width = 320;

template <class T>
std::vector<T> copied(const bench::safetensors& contents, const char* name) {
  const bench::tensor_info* tensor = contents.find(name);
  REQUIRE(tensor != nullptr);
  auto values = bench::copy_as<T>(*tensor);
  REQUIRE(values);
  return *values;
}

std::vector<float> widened(const bench::safetensors& contents, const char* name) {
  std::vector<float> out;
  for (const std::uint16_t code : copied<std::uint16_t>(contents, name)) out.push_back(bf16_to_float(code));
  return out;
}

golden_layer load(const std::string& name) {
  auto file = bench::safetensors_file::open(std::string(TILEFIT_GOLDEN_DIR) + "/" + name);
  REQUIRE(file);
  golden_layer layer(std::move(*file));
  const bench::safetensors& c = layer.file.contents;
  layer.hidden = copied<std::uint16_t>(c, "hidden_states");
  layer.hidden_fp32 = widened(c, "hidden_states");
  layer.router_weight = widened(c, "router_weight");
  layer.router_bias = widened(c, "router_bias");
  layer.gate_up_bias = widened(c, "gate_up_proj_bias");
  layer.down_bias = widened(c, "down_proj_bias");
  layer.expected = copied<float>(c, "expected_output");
  layer.expected_index = copied<std::int32_t>(c, "expected_expert_index");
  layer.expected_weight = copied<float>(c, "expected_expert_weight");
  layer.tokens = static_cast<std::int64_t>(layer.hidden.size()) / width;
  return layer;
}

struct outcome {
  double error = 0;  ///< ||y - ref|| / ||ref||
  std::vector<std::int32_t> index;
  std::vector<float> weight;
};

/// Computes the layer with activations and output in `type`, and what lies between the matmuls in `between`, FP8 under
/// a scale of a quarter.
outcome compute(const golden_layer& layer, dtype type, dtype between, const host::moe_flags& flags,
                const host::execution& how) {
  const auto rows = static_cast<std::size_t>(layer.tokens);
  std::vector<float> logits(rows * experts);
  REQUIRE(host::router_logits(layer.hidden_fp32, layer.router_weight, layer.router_bias, width, logits) ==
          status_code::ok);
  std::vector<std::uint8_t> y(rows * width * static_cast<std::size_t>(bits_of(type) / 8), 0xA5);
  const bool fp32 = type == dtype::fp32;
  const float quarter = 0.25f;
  const host::moe_layer moe{
      .tokens = layer.tokens,
      .hidden = width,
      .intermediate = width,
      .experts = experts,
      .topk = topk,
      .x = {.data = fp32 ? static_cast<const void*>(layer.hidden_fp32.data()) : layer.hidden.data(),
            .type = type,
            .rows = layer.tokens,
            .row_stride = width},
      .gate_up = {.data = layer.raw("gate_up_proj_blocks"), .block_scales = layer.raw("gate_up_proj_scales")},
      .gate_up_bias = layer.gate_up_bias.data(),
      .down = {.data = layer.raw("down_proj_blocks"), .block_scales = layer.raw("down_proj_scales")},
      .down_bias = layer.down_bias.data(),
      .y = {.data = y.data(), .type = type, .rows = layer.tokens, .row_stride = width},
      .between = between,
      .between_scale = &quarter};
  outcome out;
  out.index.resize(rows * topk);
  out.weight.resize(rows * topk);
  std::vector<std::byte> workspace(host::workspace_bytes(moe, flags, how));
  REQUIRE(host::moe_mlp(moe, flags,
                        {.logits = logits,
                         .expert_index = out.index,
                         .expert_weight = out.weight,
                         .workspace = workspace.data(),
                         .workspace_bytes = workspace.size()},
                        how) == status_code::ok);
  double wrong = 0, norm = 0;
  for (std::size_t i = 0; i < layer.expected.size(); ++i) {
    float value = 0;
    detail::load_elements(type, y.data(), static_cast<std::int64_t>(i), 1, 1, 1.0f, &value);
    const double ref = double{layer.expected[i]};
    wrong += (double{value} - ref) * (double{value} - ref);
    norm += ref * ref;
  }
  out.error = std::sqrt(wrong / norm);
  return out;
}

}  // namespace

TEST_CASE("host: golden layers", "[host][golden]") {
  const char* name = GENERATE("moe_layer_h320_e8.safetensors", "moe_layer_h320_e8_skew.safetensors");
  const golden_layer layer = load(name);
  const opt_flags flags[] = {{.block_m = 16, .block_n = 64, .block_k = 64},
                             {.block_m = 64, .block_n = 128, .block_k = 128, .group_m = 8},
                             {.block_m = 128, .block_n = 256, .block_k = 32, .split_k = 3}};
  for (const host::isa level : {host::isa::portable, host::isa::avx2, host::isa::avx512, host::isa::avx512_bf16})
    for (const opt_flags& tile : flags) {
      if (!host::supports(level)) continue;
      const host::execution how{.thread_count = 2, .level = level};
      INFO(name << ", " << host::name_of(level) << ", block_m " << tile.block_m);
      const outcome exact = compute(layer, dtype::fp32, dtype::fp32, {tile, tile}, how);
      CHECK(exact.index == layer.expected_index);
      for (std::size_t i = 0; i < exact.weight.size(); ++i)
        CHECK(std::abs(exact.weight[i] - layer.expected_weight[i]) <= 1e-6f);
      CHECK(exact.error <= 1e-5);
      const outcome bf16 = compute(layer, dtype::bf16, dtype::bf16, {tile, tile}, how);
      CHECK(bf16.error <= 4e-3);
    }
}

TEST_CASE("host: golden layers with 8 and 4 bits between the matmuls", "[host][golden]") {
  const golden_layer layer = load("moe_layer_h320_e8.safetensors");
  const opt_flags tile{.block_m = 64, .block_n = 128, .block_k = 128};
  // E4M3 rounds by up to 2^-4 of a number, E2M1 by up to a quarter: an error of all of them, not of one.
  const std::tuple<dtype, double, double> formats[] = {
      {dtype::fp8_e4m3, 4e-3, 0.04}, {dtype::mxfp8, 4e-3, 0.04}, {dtype::mxfp4, 0.04, 0.2}};
  for (const auto& [between, least, most] : formats) {
    INFO(name_of(between));
    const outcome out = compute(layer, dtype::fp32, between, {tile, tile}, {});
    CHECK(out.error >= least);
    CHECK(out.error <= most);
  }
}

TEST_CASE("host: an expert-parallel layer is the sum of its parts", "[host][golden]") {
  const golden_layer layer = load("moe_layer_h320_e8.safetensors");
  const opt_flags tile{.block_m = 16, .block_n = 64, .block_k = 64};
  const auto rows = static_cast<std::size_t>(layer.tokens);
  std::vector<float> logits(rows * experts), y(rows * width), weight(rows * topk);
  std::vector<std::int32_t> index(rows * topk);
  REQUIRE(host::router_logits(layer.hidden_fp32, layer.router_weight, layer.router_bias, width, logits) ==
          status_code::ok);
  for (int part = 0; part < 2; ++part) {
    // Four experts each; the second part adds to the first one's result.
    std::vector<std::int32_t> map(experts, -1);
    for (int e = 0; e < 4; ++e) map[static_cast<std::size_t>(4 * part + e)] = e;
    const std::int64_t first = 4 * part;
    const host::moe_layer moe{
        .tokens = layer.tokens,
        .hidden = width,
        .intermediate = width,
        .experts = experts,
        .topk = topk,
        .local_experts = 4,
        .expert_map = map,
        .x = {.data = layer.hidden.data(), .type = dtype::bf16, .rows = layer.tokens, .row_stride = width},
        .gate_up = {.data = layer.raw("gate_up_proj_blocks") + first * 2 * width * width / 2,
                    .block_scales = layer.raw("gate_up_proj_scales") + first * 2 * width * width / 32},
        .gate_up_bias = layer.gate_up_bias.data() + first * 2 * width,
        .down = {.data = layer.raw("down_proj_blocks") + first * width * width / 2,
                 .block_scales = layer.raw("down_proj_scales") + first * width * width / 32},
        .down_bias = layer.down_bias.data() + first * width,
        .y = {.data = y.data(), .type = dtype::fp32, .rows = layer.tokens, .row_stride = width},
        .between = dtype::fp32,
        .accumulate = part == 1};
    std::vector<std::byte> workspace(host::workspace_bytes(moe, {tile, tile}));
    REQUIRE(host::moe_mlp(moe, {tile, tile},
                          {.logits = logits,
                           .expert_index = index,
                           .expert_weight = weight,
                           .workspace = workspace.data(),
                           .workspace_bytes = workspace.size()}) == status_code::ok);
  }
  double wrong = 0, norm = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    const double ref = double{layer.expected[i]};
    wrong += (double{y[i]} - ref) * (double{y[i]} - ref);
    norm += ref * ref;
  }
  CHECK(std::sqrt(wrong / norm) <= 1e-5);
}

TEST_CASE("host: refused layers leave Y as it was", "[host]") {
  host::moe_layer layer{.tokens = 2, .hidden = 32, .intermediate = 32, .experts = 2, .topk = 1};
  std::vector<float> x(64), y(64, 7.0f), logits(4), weight(2);
  std::vector<std::int32_t> index(2);
  std::vector<std::uint8_t> values(2 * 64 * 16), scales(2 * 64);
  layer.x = {.data = x.data(), .type = dtype::fp32, .rows = 2, .row_stride = 32};
  layer.gate_up = layer.down = {.data = values.data(), .block_scales = scales.data()};
  layer.y = {.data = y.data(), .type = dtype::fp32, .rows = 2, .row_stride = 32};
  const opt_flags tile{.block_m = 16, .block_n = 64, .block_k = 64};
  std::vector<std::byte> workspace(host::workspace_bytes(layer, {tile, tile}));
  const auto run = [&](const host::moe_layer& moe, std::size_t bytes) {
    return host::moe_mlp(moe, {tile, tile},
                         {.logits = logits,
                          .expert_index = index,
                          .expert_weight = weight,
                          .workspace = workspace.data(),
                          .workspace_bytes = bytes});
  };
  const status_code bad = status_code::invalid_argument;
  CHECK(run(layer, workspace.size() - 1) == bad);
  host::moe_layer other = layer;
  other.topk = 3;
  CHECK(run(other, workspace.size()) == bad);
  other = layer;
  other.hidden = 48;
  CHECK(run(other, workspace.size()) == bad);
  other = layer;
  other.between = dtype::mxfp4;
  other.intermediate = 48;
  CHECK(run(other, workspace.size()) == bad);
  other = layer;
  other.tokens = other.x.rows = other.y.rows = 0;
  CHECK(run(other, workspace.size()) == status_code::empty);
  logits.pop_back();
  CHECK(run(layer, workspace.size()) == bad);
  CHECK(y == std::vector<float>(64, 7.0f));
  logits.push_back(0.0f);
  CHECK(run(layer, workspace.size()) == status_code::ok);
  CHECK(y == std::vector<float>(64, 0.0f));
}
