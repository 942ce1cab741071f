#include "moe_layer.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include <tilefit/float_formats.hpp>

namespace tilefit::inline v0::bench {
namespace {

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): the same numbers
/// everywhere.
class random_source {
 public:
  explicit random_source(std::uint64_t seed) noexcept : state_(seed) {}
  std::uint64_t next() noexcept {
    state_ += 0x9E3779B97F4A7C15u;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  /// Evenly spread in [-1, 1).
  float symmetric() noexcept { return static_cast<float>(static_cast<std::int32_t>(next() >> 32)) * 0x1p-31f; }

 private:
  std::uint64_t state_;
};

std::vector<std::uint16_t> random_rows(random_source& random, std::int64_t tokens, std::int64_t hidden) {
  std::vector<std::uint16_t> x(static_cast<std::size_t>(tokens * hidden));
  for (std::uint16_t& value : x) value = float_to_bf16(random.symmetric());
  return x;
}

std::vector<float> widened(const std::vector<std::uint16_t>& values) {
  std::vector<float> wide(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) wide[i] = bf16_to_float(values[i]);
  return wide;
}

std::span<const std::uint8_t> as_bytes(const tensor_info& tensor) {
  return {reinterpret_cast<const std::uint8_t*>(tensor.data.data()), tensor.data.size()};
}

/// Collects tensors until the first one that is missing or has another shape.
class tensor_reader {
 public:
  explicit tensor_reader(const safetensors& contents) : contents_(contents) {}

  const tensor_info* get(const std::string& name, file_dtype type, std::initializer_list<std::int64_t> shape) {
    if (!error_.empty()) return nullptr;
    result<const tensor_info*> found = contents_.require(name, type, shape);
    if (found) return *found;
    error_ = found.error();
    return nullptr;
  }
  std::vector<std::uint16_t> bf16(const std::string& name, std::initializer_list<std::int64_t> shape) {
    const tensor_info* tensor = get(name, file_dtype::bf16, shape);
    if (tensor == nullptr) return {};
    result<std::vector<std::uint16_t>> values = copy_as<std::uint16_t>(*tensor);
    if (values) return *std::move(values);
    error_ = values.error();
    return {};
  }
  std::span<const std::uint8_t> bytes(const std::string& name, std::initializer_list<std::int64_t> shape) {
    const tensor_info* tensor = get(name, file_dtype::u8, shape);
    return tensor != nullptr ? as_bytes(*tensor) : std::span<const std::uint8_t>{};
  }
  const std::string& error() const noexcept { return error_; }

 private:
  const safetensors& contents_;
  std::string error_;
};

/// A number in the file's metadata, `otherwise` where it has none, or NaN where it is no number.
double metadata_number(const safetensors& contents, std::string_view key, double otherwise) {
  const auto entry = contents.metadata().find(key);
  if (entry == contents.metadata().end()) return otherwise;
  const std::string& text = entry->second;
  double value = 0.0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = failure == std::errc{} && end == text.data() + text.size();
  return whole ? value : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

result<moe_layer_data> load_layer(const layer_source& source) try {
  result<safetensors_file> opened = safetensors_file::open(source.path);
  if (!opened) return file_error{opened.error()};
  moe_layer_data data;
  data.file.emplace(*std::move(opened));
  const safetensors& contents = data.file->contents;
  const auto fail = [&](const std::string& sentence) { return file_error{source.path + ": " + sentence}; };

  const bool checkpoint = !source.prefix.empty();
  const std::string prefix = source.prefix.ends_with('.') ? source.prefix : source.prefix + ".";
  const std::string experts = checkpoint ? prefix + "experts." : "";
  const std::string router = checkpoint ? prefix + "router." : "router_";
  if (!checkpoint && contents.find("router_weight") == nullptr && !contents.tensors().empty())
    return fail("no tensor 'router_weight'; is this a checkpoint, of which a layer has to be named (--prefix)?");
  tensor_reader read(contents);
  const auto size = [](std::uint64_t extent) { return static_cast<std::int64_t>(extent); };
  const tensor_info* weight = read.get(router + "weight", file_dtype::bf16, {-1, -1});
  if (weight == nullptr) return fail(read.error());
  const std::int64_t count = size(weight->shape[0]), hidden = size(weight->shape[1]);
  const tensor_info* down = read.get(experts + "down_proj_blocks", file_dtype::u8, {count, hidden, -1, 16});
  if (down == nullptr) return fail(read.error());
  if (count < 1 || count > 65536 || hidden < 32 || hidden % 32 != 0 || down->shape[2] < 1)
    return fail(
        fmt::format("{} experts of hidden size {} are no layer (a hidden size is a multiple of 32)", count, hidden));
  const std::int64_t intermediate = 32 * size(down->shape[2]);
  data.experts = static_cast<int>(count);
  data.hidden = hidden;
  data.intermediate = intermediate;
  data.router_weight = widened(read.bf16(router + "weight", {count, hidden}));
  data.router_bias = widened(read.bf16(router + "bias", {count}));
  data.gate_up_bias = widened(read.bf16(experts + "gate_up_proj_bias", {count, 2 * intermediate}));
  data.down_bias = widened(read.bf16(experts + "down_proj_bias", {count, hidden}));
  data.gate_up_blocks = read.bytes(experts + "gate_up_proj_blocks", {count, 2 * intermediate, hidden / 32, 16});
  data.gate_up_scales = read.bytes(experts + "gate_up_proj_scales", {count, 2 * intermediate, hidden / 32});
  data.down_blocks = read.bytes(experts + "down_proj_blocks", {count, hidden, intermediate / 32, 16});
  data.down_scales = read.bytes(experts + "down_proj_scales", {count, hidden, intermediate / 32});
  if (!read.error().empty()) return fail(read.error());

  const double topk = metadata_number(contents, "experts_per_token", 4.0);
  if (!(topk >= 1.0 && topk <= static_cast<double>(count)) || topk != std::floor(topk))
    return fail(fmt::format("experts_per_token is {}, must be a whole number from 1 to {}", topk, count));
  data.topk = static_cast<int>(topk);
  data.swiglu.alpha = static_cast<float>(metadata_number(contents, "swiglu_alpha", 1.702));
  data.swiglu.limit = static_cast<float>(metadata_number(contents, "swiglu_limit", 7.0));
  if (!std::isfinite(data.swiglu.alpha) || !(data.swiglu.limit > 0.0f))
    return fail(fmt::format("swiglu_alpha {} and swiglu_limit {} are no SwiGLU", data.swiglu.alpha, data.swiglu.limit));

  const tensor_info* rows = contents.find("hidden_states");
  if (checkpoint || rows == nullptr) {
    random_source random(source.seed);
    data.tokens = source.tokens.value_or(64);
    data.x = random_rows(random, data.tokens, hidden);
    return data;
  }
  data.x = read.bf16("hidden_states", {-1, hidden});
  if (!read.error().empty()) return fail(read.error());
  data.tokens = size(rows->shape[0]);
  if (contents.find("expected_output") != nullptr) {
    const tensor_info* output = read.get("expected_output", file_dtype::f32, {data.tokens, hidden});
    const tensor_info* index = read.get("expected_expert_index", file_dtype::i32, {data.tokens, data.topk});
    if (!read.error().empty()) return fail(read.error());
    result<std::vector<float>> expected = copy_as<float>(*output);
    result<std::vector<std::int32_t>> chosen = copy_as<std::int32_t>(*index);
    if (!expected || !chosen) return fail("out of memory");
    data.expected_output = *std::move(expected);
    data.expected_index = *std::move(chosen);
  }
  if (source.tokens) {
    if (*source.tokens > data.tokens)
      return fail(fmt::format("{} tokens are asked for and the file has {}", *source.tokens, data.tokens));
    data.tokens = *source.tokens;
    const auto keep = [&](auto& values, std::int64_t width) {
      if (!values.empty()) values.resize(static_cast<std::size_t>(data.tokens * width));
    };
    keep(data.x, hidden);
    keep(data.expected_output, hidden);
    keep(data.expected_index, data.topk);
  }
  return data;
} catch (const std::bad_alloc&) {
  return file_error{source.path + ": out of memory"};
}

result<moe_layer_data> make_layer(const model_shape& model, std::int64_t tokens, std::uint64_t seed) try {
  random_source random(seed);
  moe_layer_data data;
  data.tokens = tokens;
  data.hidden = model.hidden;
  data.intermediate = model.intermediate;
  data.experts = model.experts;
  data.topk = model.topk;
  data.x = random_rows(random, tokens, model.hidden);

  const auto fill = [&random](std::vector<float>& values, std::int64_t count, float range) {
    values.resize(static_cast<std::size_t>(count));
    for (float& value : values) value = bf16_to_float(float_to_bf16(random.symmetric() * range));
  };
  fill(data.router_weight, model.experts * model.hidden, 0.1f);
  fill(data.router_bias, model.experts, 0.1f);
  fill(data.gate_up_bias, 2 * model.experts * model.intermediate, 0.1f);
  fill(data.down_bias, model.experts * model.hidden, 0.1f);

  const std::int64_t weights = model.experts * model.hidden * model.intermediate;
  const std::int64_t bytes[] = {weights, weights / 16, weights / 2,
                                weights / 32};  // gate_up, its scales, down, its scales
  data.owned.resize(static_cast<std::size_t>(bytes[0] + bytes[1] + bytes[2] + bytes[3]));
  std::uint8_t* at = data.owned.data();
  const auto take = [&at](std::int64_t count) {
    const std::span<std::uint8_t> piece(at, static_cast<std::size_t>(count));
    at += count;
    return piece;
  };
  // Random FP4 codes are about 2.9 in root mean square; scales of 2^-9 to 2^-6 keep the sums near those of a model.
  const auto fill_values = [&random](std::span<std::uint8_t> values) {
    std::size_t i = 0;
    for (; i + 8 <= values.size(); i += 8) {
      const std::uint64_t bits = random.next();
      std::memcpy(values.data() + i, &bits, 8);
    }
    for (; i < values.size(); ++i) values[i] = static_cast<std::uint8_t>(random.next());
    return std::span<const std::uint8_t>(values);
  };
  const auto fill_scales = [&](std::span<std::uint8_t> scales) {
    fill_values(scales);
    for (std::uint8_t& scale : scales) scale = static_cast<std::uint8_t>(118 + scale % 4);
    return std::span<const std::uint8_t>(scales);
  };
  data.gate_up_blocks = fill_values(take(bytes[0]));
  data.gate_up_scales = fill_scales(take(bytes[1]));
  data.down_blocks = fill_values(take(bytes[2]));
  data.down_scales = fill_scales(take(bytes[3]));
  return data;
} catch (const std::bad_alloc&) {
  return file_error{fmt::format("no memory for a layer of {} with {} tokens", model.name, tokens)};
}

host::moe_layer host_layer(const moe_layer_data& data, const x_operand& x, float* y) {
  return {.tokens = data.tokens,
          .hidden = data.hidden,
          .intermediate = data.intermediate,
          .experts = data.experts,
          .topk = data.topk,
          .local_experts = data.experts,
          .x = x,
          .gate_up = {.data = data.gate_up_blocks.data(), .block_scales = data.gate_up_scales.data()},
          .gate_up_bias = data.gate_up_bias.data(),
          .down = {.data = data.down_blocks.data(), .block_scales = data.down_scales.data()},
          .down_bias = data.down_bias.data(),
          .y = {.data = y, .type = dtype::fp32, .rows = data.tokens, .row_stride = data.hidden},
          .swiglu = data.swiglu,
          .between = x.type == dtype::fp32 ? dtype::fp32 : dtype::bf16};
}

namespace {

/// Dot product of `x` with row `row` of an MXFP4 matrix whose rows are x.size() long.
double mxfp4_dot(std::span<const double> x, std::span<const std::uint8_t> blocks, std::span<const std::uint8_t> scales,
                 std::int64_t row) {
  const std::size_t blocks_per_row = x.size() / 32;
  double sum = 0.0;
  for (std::size_t b = 0; b < blocks_per_row; ++b) {
    const std::size_t block = static_cast<std::size_t>(row) * blocks_per_row + b;
    double part = 0.0;
    for (std::size_t i = 0; i < 32; ++i) {
      const unsigned code = (static_cast<unsigned>(blocks[16 * block + i / 2]) >> (4 * (i % 2))) & 0xFu;
      part += x[32 * b + i] * static_cast<double>(e2m1_to_float(static_cast<std::uint8_t>(code)));
    }
    sum += part * static_cast<double>(e8m0_to_float(scales[block]));
  }
  return sum;
}

}  // namespace

std::vector<double> reference_row(const moe_layer_data& data, std::int64_t token, std::span<const std::int32_t> experts,
                                  std::span<const float> weights) {
  std::vector<double> x(static_cast<std::size_t>(data.hidden));
  for (std::size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<double>(bf16_to_float(data.x[static_cast<std::size_t>(token * data.hidden) + i]));
  std::vector<double> between(static_cast<std::size_t>(data.intermediate)), y(x.size());
  const auto alpha = static_cast<double>(data.swiglu.alpha), limit = static_cast<double>(data.swiglu.limit);
  for (std::size_t rank = 0; rank < experts.size(); ++rank) {
    const std::int64_t expert = experts[rank];
    const auto gate_up = [&](std::int64_t row) {
      const std::int64_t at = expert * 2 * data.intermediate + row;
      return mxfp4_dot(x, data.gate_up_blocks, data.gate_up_scales, at) +
             static_cast<double>(data.gate_up_bias[static_cast<std::size_t>(at)]);
    };
    for (std::size_t i = 0; i < between.size(); ++i) {
      const double gate = std::fmin(gate_up(2 * static_cast<std::int64_t>(i)), limit);
      const double up = std::fmin(std::fmax(gate_up(2 * static_cast<std::int64_t>(i) + 1), -limit), limit);
      between[i] = (up + static_cast<double>(data.swiglu.up_offset)) * gate / (1.0 + std::exp(-alpha * gate));
    }
    for (std::size_t i = 0; i < y.size(); ++i) {
      const std::int64_t at = expert * data.hidden + static_cast<std::int64_t>(i);
      y[i] += static_cast<double>(weights[rank]) * (mxfp4_dot(between, data.down_blocks, data.down_scales, at) +
                                                    static_cast<double>(data.down_bias[static_cast<std::size_t>(at)]));
    }
  }
  return y;
}

}  // namespace tilefit::inline v0::bench
