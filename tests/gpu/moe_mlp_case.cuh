// One case of the expert MLP for a GPU test: weights, inputs, the answer in float64, and the buffers of a call.
// Knows: formats, weight layouts, what the layer means. Must not know: how it is computed.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "support.cuh"
#include "tilefit/float_formats.hpp"
#include "tilefit/moe_mlp.cuh"
#include "tilefit/routing.hpp"
#include "tilefit/weights.hpp"

namespace gpu_test {

using tilefit::dtype;

enum class input_kind { logits, given, rows };

struct moe_case {
  std::int64_t tokens = 0, hidden = 0, intermediate = 0;
  int experts = 0, topk = 0;
  input_kind input = input_kind::logits;
  dtype logits = dtype::fp32;
  bool mapped = false;  ///< every other expert lives elsewhere, those that are here are numbered backwards
  dtype x = dtype::bf16, between = dtype::bf16, y = dtype::bf16;
  bool accumulate = false;
  bool plain = false;  ///< no biases, and no weights of experts unless they come from logits
  tilefit::swiglu_params swiglu = {};

  int local() const { return mapped ? (experts + 1) / 2 : experts; }
  std::int64_t x_stride() const { return hidden + 8; }
  std::int64_t y_stride() const { return accumulate ? hidden + 1 : hidden + 8; }  // odd: no vectors
  /// Number here of an expert, or -1.
  int home_of(int expert) const {
    if (expert < 0 || expert >= experts) return -1;
    if (!mapped) return expert;
    return expert % 2 == 0 ? local() - 1 - expert / 2 : -1;
  }
};

inline std::string text_of(const moe_case& c) {
  const char* const kinds[] = {"logits", "given", "rows"};
  return std::to_string(c.tokens) + " tokens, " + std::to_string(c.hidden) + " x " + std::to_string(c.intermediate) +
         ", " + std::to_string(c.experts) + " experts" + (c.mapped ? " (half of them here)" : "") + ", top-" +
         std::to_string(c.topk) + ", " + kinds[static_cast<int>(c.input)] + ", " + std::string(name_of(c.x)) + " -> " +
         std::string(name_of(c.between)) + " -> " + std::string(name_of(c.y)) + (c.accumulate ? ", accumulate" : "") +
         (c.plain ? ", plain" : "");
}

inline std::size_t count_of(std::int64_t count) { return static_cast<std::size_t>(count); }

inline std::vector<std::uint8_t> encode(dtype type, const std::vector<float>& values) {
  std::vector<std::uint8_t> out(values.size() * count_of(tilefit::bits_of(type) / 8));
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (type == dtype::fp32) {
      std::memcpy(out.data() + 4 * i, &values[i], 4);
    } else {
      const std::uint16_t code =
          type == dtype::bf16 ? tilefit::float_to_bf16(values[i]) : tilefit::float_to_fp16(values[i]);
      std::memcpy(out.data() + 2 * i, &code, 2);
    }
  }
  return out;
}

inline float decode(dtype type, const std::uint8_t* from) {
  float value = 0.0f;
  std::uint16_t code = 0;
  if (type == dtype::fp32)
    std::memcpy(&value, from, 4);
  else
    std::memcpy(&code, from, 2);
  return type == dtype::fp32   ? value
         : type == dtype::bf16 ? tilefit::bf16_to_float(code)
                               : tilefit::fp16_to_float(code);
}

/// Values that `type` holds exactly.
inline std::vector<float> random_values(std::mt19937& random, dtype type, std::size_t count, float deviation) {
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = decode(type, encode(type, {normal(random)}).data());
  return values;
}

/// X of a case in BF16, without padding between rows.
inline std::vector<std::uint16_t> random_rows(const moe_case& c, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::uint16_t> codes(count_of(c.tokens * c.hidden));
  std::normal_distribution<float> normal;
  for (std::uint16_t& code : codes) code = tilefit::float_to_bf16(normal(random));
  return codes;
}

/// MXFP4 as it is published.
struct mxfp4_rows {
  std::vector<std::uint8_t> values, scales;
};

/// The weights of a case, exact and packed on the device.
class moe_layer {
 public:
  moe_layer(const moe_case& c, unsigned seed)
      : moe_layer(c, make_weights(c.local() * 2 * c.intermediate * c.hidden, seed),
                  make_weights(c.local() * c.hidden * c.intermediate, seed + 1),
                  make_bias(c.local() * 2 * c.intermediate, seed + 2), make_bias(c.local() * c.hidden, seed + 3)) {}

  moe_layer(const moe_case& c, const mxfp4_rows& gate_up_rows, const mxfp4_rows& down_rows,
            const std::vector<float>& gate_up_bias_values, const std::vector<float>& down_bias_values)
      : gate_up(widened(gate_up_rows)),
        down(widened(down_rows)),
        gate_up_bias(gate_up_bias_values),
        down_bias(down_bias_values),
        packed_gate_up(packed({c.local(), 2 * c.intermediate, c.hidden}, gate_up_rows)),
        packed_down(packed({c.local(), c.hidden, c.intermediate}, down_rows)),
        device_gate_up_bias(gate_up_bias),
        device_down_bias(down_bias) {}

  std::vector<float> gate_up;  ///< [local experts, 2 * intermediate, hidden]
  std::vector<float> down;     ///< [local experts, hidden, intermediate]
  std::vector<float> gate_up_bias, down_bias;
  device_buffer<std::uint8_t> packed_gate_up, packed_down;
  device_buffer<float> device_gate_up_bias, device_down_bias;

 private:
  /// Scales of 2^-7 to 2^-4: sums over some 100 columns come out near 1.
  static mxfp4_rows make_weights(std::int64_t elements, unsigned seed) {
    std::mt19937 random(seed);
    mxfp4_rows rows{std::vector<std::uint8_t>(count_of(elements / 2)),
                    std::vector<std::uint8_t>(count_of(elements / 32))};
    for (std::uint8_t& byte : rows.values) byte = static_cast<std::uint8_t>(random());
    for (std::uint8_t& scale : rows.scales) scale = static_cast<std::uint8_t>(120 + random() % 4);
    return rows;
  }
  static std::vector<float> make_bias(std::int64_t count, unsigned seed) {
    std::mt19937 random(seed);
    return random_values(random, dtype::fp32, count_of(count), 0.5f);
  }
  static std::vector<float> widened(const mxfp4_rows& rows) {
    std::vector<float> wide(2 * rows.values.size());
    for (std::size_t i = 0; i < wide.size(); ++i) {
      const auto code = static_cast<std::uint8_t>(rows.values[i / 2] >> (4 * (i % 2)) & 15u);
      wide[i] = tilefit::e2m1_to_float(code) * tilefit::e8m0_to_float(rows.scales[i / 32]);
    }
    return wide;
  }
  static std::vector<std::uint8_t> packed(const tilefit::weight_shape& shape, const mxfp4_rows& rows) {
    constexpr auto layout = tilefit::weight_layout::mma_m16k64;
    std::vector<std::uint8_t> out(count_of(shape.experts * tilefit::bytes_per_expert(layout, shape.n, shape.k)));
    if (!succeeded(
            tilefit::shuffle_weights(layout, shape, {rows.values.data(), rows.scales.data()}, {out.data(), nullptr})))
      require(cudaErrorInvalidValue, "shuffle_weights");
    return out;
  }
};

/// What changes from call to call.
struct moe_input {
  std::vector<float> x = {};       ///< [tokens, hidden]
  std::vector<float> logits = {};  ///< [tokens, experts]
  std::vector<std::int32_t> index =
      {};                          ///< [tokens * topk] experts as the router numbers them, some of them out of range
  std::vector<float> weight = {};  ///< [tokens * topk]
  std::vector<float> y = {};       ///< [tokens, hidden] before the call
};

inline moe_input make_input(const moe_case& c, unsigned seed) {
  std::mt19937 random(seed);
  moe_input input;
  input.x = random_values(random, c.x, count_of(c.tokens * c.hidden), 1.0f);
  input.y = random_values(random, c.y, count_of(c.tokens * c.hidden), 1.0f);
  input.logits = random_values(random, c.logits, count_of(c.tokens * c.experts), 2.0f);
  const auto rows = count_of(c.tokens * c.topk);
  input.index.resize(rows);
  input.weight.resize(rows);
  if (c.input == input_kind::logits) {
    const std::vector<double> exact(input.logits.begin(), input.logits.end());
    static_cast<void>(tilefit::choose_experts<double>({c.tokens, c.experts, c.topk}, exact, input.index, input.weight));
    return input;
  }
  for (std::size_t i = 0; i < rows; ++i) {
    input.index[i] = static_cast<std::int32_t>(random() % static_cast<unsigned>(c.experts));
    if (random() % 8 == 0) input.index[i] = random() % 2 == 0 ? -1 : c.experts;
    input.weight[i] = c.plain ? 1.0f : std::ldexp(static_cast<float>(random() % 4096), -12);
  }
  return input;
}

/// Y in double precision throughout.
inline std::vector<double> reference(const moe_case& c, const moe_layer& layer, const moe_input& input) {
  std::vector<double> y(input.x.size(), 0.0), between(count_of(c.intermediate));
  if (c.accumulate) y.assign(input.y.begin(), input.y.end());
  const auto dot = [](const float* row, const auto* with, std::int64_t count) {
    double sum = 0.0;
    for (std::int64_t i = 0; i < count; ++i) sum += static_cast<double>(row[i]) * static_cast<double>(with[i]);
    return sum;
  };
  for (std::int64_t slot = 0; slot < c.tokens * c.topk; ++slot) {
    const std::int64_t home = c.home_of(input.index[count_of(slot)]);
    if (home < 0) continue;
    const std::int64_t token = slot / c.topk;
    const auto gate_up = [&](std::int64_t column) {
      const std::int64_t row = home * 2 * c.intermediate + column;
      return dot(layer.gate_up.data() + row * c.hidden, input.x.data() + token * c.hidden, c.hidden) +
             (c.plain ? 0.0 : static_cast<double>(layer.gate_up_bias[count_of(row)]));
    };
    const auto alpha = static_cast<double>(c.swiglu.alpha), limit = static_cast<double>(c.swiglu.limit);
    for (std::int64_t i = 0; i < c.intermediate; ++i) {
      const double gate = std::fmin(gate_up(2 * i), limit);
      const double up = std::fmin(std::fmax(gate_up(2 * i + 1), -limit), limit);
      between[count_of(i)] = (up + static_cast<double>(c.swiglu.up_offset)) * gate / (1.0 + std::exp(-alpha * gate));
    }
    for (std::int64_t i = 0; i < c.hidden; ++i) {
      const std::int64_t row = home * c.hidden + i;
      y[count_of(token * c.hidden + i)] +=
          static_cast<double>(input.weight[count_of(slot)]) *
          (dot(layer.down.data() + row * c.intermediate, between.data(), c.intermediate) +
           (c.plain ? 0.0 : static_cast<double>(layer.down_bias[count_of(row)])));
    }
  }
  return y;
}

/// ||got - wanted|| / ||wanted||; where nothing is wanted, anything else is infinitely wrong.
inline double relative_error(const std::vector<double>& wanted, const std::vector<float>& got) {
  double wrong = 0.0, norm = 0.0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    wrong += std::pow(static_cast<double>(got[i]) - wanted[i], 2.0);
    norm += wanted[i] * wanted[i];
  }
  return wrong == 0.0 ? 0.0 : std::sqrt(wrong / norm);
}

/// Device buffers of a case and the call that uses them.
class moe_setup {
 public:
  moe_setup(const moe_case& c, const moe_layer& layer)
      : case_(c),
        layer_(layer),
        x_(count_of(c.tokens * c.x_stride() * 2)),
        logits_(count_of(c.tokens * c.experts * (tilefit::bits_of(c.logits) / 8))),
        index_(count_of(c.tokens * c.topk)),
        offsets_(count_of(c.local()) + 1),
        gather_(index_.size()),
        scatter_(index_.size()),
        map_(count_of(c.mapped ? c.experts : 0)),
        weight_(index_.size()),
        gammas_(index_.size()),
        y_(count_of(c.tokens * c.y_stride() * (tilefit::bits_of(c.y) / 8))) {
    std::vector<std::int32_t> map;
    for (int e = 0; e < c.experts && c.mapped; ++e) map.push_back(c.home_of(e));
    map_.upload(map);
  }

  /// Everything but the workspace.
  tilefit::cuda::moe_args args() const {
    const moe_case& c = case_;
    tilefit::cuda::moe_args args{
        .tokens = c.tokens,
        .hidden = c.hidden,
        .intermediate = c.intermediate,
        .experts = c.experts,
        .topk = c.topk,
        .local_experts = c.mapped ? c.local() : 0,
        .x = {.data = x_.data(), .type = c.x, .rows = c.tokens, .row_stride = c.x_stride()},
        .expert_map = c.mapped ? map_.data() : nullptr,
        .gate_up = {.data = layer_.packed_gate_up.data(), .layout = tilefit::weight_layout::mma_m16k64},
        .down = {.data = layer_.packed_down.data(), .layout = tilefit::weight_layout::mma_m16k64},
        .gate_up_bias = c.plain ? nullptr : layer_.device_gate_up_bias.data(),
        .down_bias = c.plain ? nullptr : layer_.device_down_bias.data(),
        .swiglu = c.swiglu,
        .between = c.between,
        .y = {.data = y_.data(), .type = c.y, .rows = c.tokens, .row_stride = c.y_stride()},
        .accumulate = c.accumulate};
    switch (c.input) {
      case input_kind::logits: args.logits = {logits_.data(), c.logits, c.experts}; break;
      case input_kind::given: args.given = {index_.data(), c.plain ? nullptr : weight_.data()}; break;
      case input_kind::rows:
        args.rows = {offsets_.data(), gather_.data(), scatter_.data(), c.plain ? nullptr : gammas_.data()};
    }
    return args;
  }

  /// Fills all inputs; y with poison, or with its old content where that counts.
  void upload(const moe_input& input) {
    x_.upload(strided(encode(case_.x, input.x), case_.x_stride() * 2, x_.size()));
    logits_.upload(encode(case_.logits, input.logits));
    index_.upload(input.index);
    weight_.upload(input.weight);
    if (case_.input == input_kind::rows) sort(input);
    y_.fill_with_poison();
    const std::int64_t y_row_bytes = case_.y_stride() * (tilefit::bits_of(case_.y) / 8);
    if (case_.accumulate) y_.upload(strided(encode(case_.y, input.y), y_row_bytes, y_.size()));
  }

  /// The bytes of y, padding included, of which it checks that nobody writes there.
  std::vector<std::uint8_t> download_y(report& to) const {
    const std::vector<std::uint8_t> all = y_.download(to, "y");
    bool intact = true;
    const std::size_t size = count_of(tilefit::bits_of(case_.y) / 8);
    const std::size_t row = count_of(case_.y_stride()) * size, used = count_of(case_.hidden) * size;
    for (std::size_t i = 0; i < all.size(); ++i) intact = intact && (i % row < used || all[i] == poison);
    to.check(intact, "%s: written between the rows of y", text_of(case_).c_str());
    return all;
  }

  /// Elements of y from its bytes.
  std::vector<float> values_of(const std::vector<std::uint8_t>& y) const {
    std::vector<float> values;
    const std::int64_t size = tilefit::bits_of(case_.y) / 8;
    for (std::int64_t t = 0; t < case_.tokens; ++t)
      for (std::int64_t i = 0; i < case_.hidden; ++i)
        values.push_back(decode(case_.y, y.data() + (t * case_.y_stride() + i) * size));
    return values;
  }

  /// Nobody may have written into the inputs.
  void check_inputs(report& to, const moe_input& input) const {
    to.check(same_bytes(x_.download(to, "x"), strided(encode(case_.x, input.x), case_.x_stride() * 2, x_.size())) &&
                 same_bytes(index_.download(to, "expert_index"), input.index) &&
                 same_bytes(weight_.download(to, "expert_weight"), input.weight),
             "%s: an input has changed", text_of(case_).c_str());
  }

  const moe_case& parameters() const { return case_; }

 private:
  /// Rows at a stride, poison between them.
  std::vector<std::uint8_t> strided(const std::vector<std::uint8_t>& dense, std::int64_t stride_bytes,
                                    std::size_t total) const {
    std::vector<std::uint8_t> out(total, poison);
    if (case_.tokens == 0) return out;
    const std::size_t row = dense.size() / count_of(case_.tokens);
    for (std::size_t t = 0; t < count_of(case_.tokens); ++t)
      std::memcpy(out.data() + t * count_of(stride_bytes), dense.data() + t * row, row);
    return out;
  }

  /// Rows in the order of local experts.
  void sort(const moe_input& input) {
    std::vector<std::int32_t> offsets(1, 0), gather, scatter;
    std::vector<float> gammas;
    for (int expert = 0; expert < case_.local(); ++expert) {
      for (std::size_t slot = 0; slot < input.index.size(); ++slot) {
        if (case_.home_of(input.index[slot]) != expert) continue;
        gather.push_back(static_cast<std::int32_t>(slot) / case_.topk);
        scatter.push_back(static_cast<std::int32_t>(slot));
        gammas.push_back(input.weight[slot]);
      }
      offsets.push_back(static_cast<std::int32_t>(gather.size()));
    }
    gather.resize(input.index.size(), -1);
    scatter.resize(input.index.size(), -1);
    gammas.resize(input.index.size(), 0.0f);
    offsets_.upload(offsets);
    gather_.upload(gather);
    scatter_.upload(scatter);
    gammas_.upload(gammas);
  }

  moe_case case_;
  const moe_layer& layer_;
  device_buffer<std::uint8_t> x_, logits_;
  device_buffer<std::int32_t> index_, offsets_, gather_, scatter_, map_;
  device_buffer<float> weight_, gammas_;
  device_buffer<std::uint8_t> y_;
};

/// Holds what came out against the reference, as a whole and element by element.
inline void compare(report& to, const std::string& name, const moe_setup& setup, const std::vector<double>& wanted,
                    const std::vector<std::uint8_t>& y) {
  const moe_case& c = setup.parameters();
  const std::vector<float> got = setup.values_of(y);
  // BF16 rounds by up to 2^-9, FP16 by up to 2^-12: between the matmuls, and at the end.
  const bool coarse = c.between == dtype::bf16 || c.y == dtype::bf16;
  const double tolerance = coarse ? 4e-3 : 6e-4;
  const double error = relative_error(wanted, got);
  to.check(error <= tolerance, "%s: relative error %.2e", name.c_str(), error);
  double norm = 0.0;
  for (const double value : wanted) norm += value * value;
  const double deviation = std::sqrt(norm / static_cast<double>(wanted.size()));
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const double wrong = std::fabs(static_cast<double>(got[i]) - wanted[i]);
    if (wrong <= 5.0 * tolerance * (deviation + std::fabs(wanted[i]))) continue;
    to.check(false, "%s: y[%zu][%zu] is %g, should be %g", name.c_str(), i / count_of(c.hidden), i % count_of(c.hidden),
             static_cast<double>(got[i]), wanted[i]);
    return;
  }
}

}  // namespace gpu_test
