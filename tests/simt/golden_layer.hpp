// Whole layers computed by somebody else (tests/golden/README.md) in the executor: router on the CPU, both matmuls as
// kernels. Knows: the files' tensors.
// Must not know: tiles.
#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "../support/catch.hpp"
#include "matmul_case.hpp"
#include "quantise_kernels.hpp"
#include "safetensors.hpp"
#include "tilefit/host/quantise_rows.hpp"
#include "tilefit/routing.hpp"

namespace tilefit_simt {

inline constexpr int golden_experts = 8, golden_topk = 4;
inline constexpr std::int64_t golden_width = 320;
inline constexpr const char* golden_names[] = {"moe_layer_h320_e8.safetensors", "moe_layer_h320_e8_skew.safetensors"};

inline bench::safetensors_file open_golden(const char* name) {
  auto file = bench::safetensors_file::open(std::string(TILEFIT_GOLDEN_DIR) + "/" + name);
  REQUIRE(file);
  return std::move(*file);
}

template <class T>
std::vector<T> read_golden(const bench::safetensors& contents, const std::string& name) {
  const bench::tensor_info* const tensor = contents.find(name);
  REQUIRE(tensor != nullptr);
  auto values = bench::copy_as<T>(*tensor);
  REQUIRE(values);
  return *values;
}
/// A BF16 tensor as floats.
inline std::vector<float> widened_golden(const bench::safetensors& contents, const std::string& name) {
  std::vector<float> wide;
  for (const std::uint16_t code : read_golden<std::uint16_t>(contents, name)) wide.push_back(bf16_to_float(code));
  return wide;
}

/// [tokens, experts]
inline std::vector<float> golden_logits(const bench::safetensors& contents) {
  const std::vector<float> hidden = widened_golden(contents, "hidden_states");
  const std::vector<float> router = widened_golden(contents, "router_weight");
  const std::vector<float> bias = widened_golden(contents, "router_bias");
  std::vector<float> logits;
  for (std::size_t token = 0; token < hidden.size() / golden_width; ++token)
    for (std::size_t e = 0; e < golden_experts; ++e) {
      auto sum = static_cast<double>(bias[e]);
      for (std::size_t i = 0; i < golden_width; ++i)
        sum +=
            static_cast<double>(hidden[token * golden_width + i]) * static_cast<double>(router[e * golden_width + i]);
      logits.push_back(static_cast<float>(sum));
    }
  return logits;
}

/// MXFP4 weights of all experts in a layout of their own, in watched memory.
struct golden_weights {
  const std::uint8_t* packed = nullptr;
  const float* bias = nullptr;
  std::vector<float> numbers;  ///< [experts, n, width]
};
template <class T>
T* place_golden(simt::memory& memory, const std::vector<T>& from, const char* name) {
  T* const to = memory.take<T>(static_cast<std::int64_t>(from.size()), name, simt::memory_use::input);
  std::copy(from.begin(), from.end(), to);
  return to;
}
inline golden_weights pack_golden(simt::memory& memory, const bench::safetensors& contents, const std::string& name,
                                  std::int64_t n, weight_layout layout) {
  const std::vector<std::uint8_t> blocks = read_golden<std::uint8_t>(contents, name + "_blocks");
  const std::vector<std::uint8_t> scales = read_golden<std::uint8_t>(contents, name + "_scales");
  auto* const packed = memory.take<std::uint8_t>(golden_experts * bytes_per_expert(layout, n, golden_width), "W",
                                                 simt::memory_use::input);
  REQUIRE(shuffle_weights(layout, {golden_experts, n, golden_width}, {blocks.data(), scales.data()},
                          {packed, nullptr}) == status_code::ok);
  return {packed, place_golden(memory, widened_golden(contents, name + "_bias"), "bias"),
          mxfp4_numbers(blocks, scales)};
}

/// A layer in watched memory.
class golden_layer {
  static constexpr int experts = golden_experts, topk = golden_topk;
  static constexpr std::int64_t width = golden_width;

 public:
  /// X, and what comes between the matmuls, in `x_type`. `per_row`: FP8 with a scale for each row.
  golden_layer(const bench::safetensors& contents, dtype x_type, weight_layout layout, bool per_row = false)
      : type_(x_type), per_row_(per_row), layout_(layout) {
    const std::vector<float> hidden = widened_golden(contents, "hidden_states");
    tokens_ = static_cast<std::int64_t>(hidden.size()) / width;
    rows_ = tokens_ * topk;
    expected_ = read_golden<float>(contents, "expected_output");
    route(contents);
    x_ = store_x(memory_, type_, hidden, tokens_, width, false, per_row_);
    const dtype between = type_ == dtype::fp16 ? dtype::fp16 : dtype::bf16;
    between_ = memory_.take<std::uint16_t>(rows_ * width, "the intermediate", simt::memory_use::scratch);
    parts_ = memory_.take<float>(rows_ * width, "parts", simt::memory_use::scratch);
    present_ = memory_.take<std::uint8_t>(rows_, "present", simt::memory_use::flags);
    gate_up_ = pack_golden(memory_, contents, "gate_up_proj", 2 * width, layout_);
    down_ = pack_golden(memory_, contents, "down_proj", width, layout_);
    first_ = {.m = rows_,
              .n = 2 * width,
              .k = width,
              .experts = experts,
              .x = x_.operand,
              .w = {.data = gate_up_.packed, .layout = layout_},
              .y = {.data = between_, .type = between, .rows = rows_, .row_stride = width},
              .bias = gate_up_.bias,
              .expert_offsets = offsets_,
              .gather_indx = gather_,
              .act = activation::swiglu};
    second_ = {.m = rows_,
               .n = width,
               .k = width,
               .experts = experts,
               .w = {.data = down_.packed, .layout = layout_},
               .y = {.data = parts_, .type = dtype::fp32, .rows = rows_, .row_stride = width},
               .bias = down_.bias,
               .expert_offsets = offsets_,
               .scatter_indx = scatter_,
               .gammas = gammas_};
  }

  bool same_experts = false;
  std::int64_t rows() const noexcept { return rows_; }  ///< of both matmuls

  /// Both matmuls with one kernel; what went wrong, or nothing. Against float64 of what each is given, and against the
  /// file.
  std::string run(const matmul_kernel& kernel, unsigned grid, const simt::grid_options& options) {
    const std::size_t buffers = memory_.size();
    std::fill_n(present_, rows_, std::uint8_t{0});
    using enum kernels::store_kind;
    std::string text = launch(kernel, first_, first_.y.type == dtype::bf16 ? bf16 : fp16, nullptr, grid, options);
    text += compare(first_, reference(first_, x_.numbers, gate_up_.numbers));
    second_.x = {.data = between_, .type = first_.y.type, .rows = rows_, .row_stride = width};
    text += launch(kernel, second_, fp32, present_, grid, options);
    text += compare(second_, reference(second_, between_numbers(), down_.numbers));
    text += compare_layer();
    memory_.keep(buffers);
    return text;
  }

  /// The same with 8- and 4-bit X, from end to end against float64 that quantises in the same places: what comes
  /// between is stored narrow by the first kernel, or comes from the kernel that quantises rows where the first one
  /// stores BF16 (a scale for each row; a tile that has not all columns of a block).
  std::string run_narrow(const matmul_kernel& kernel, unsigned grid, const simt::grid_options& options) {
    const std::size_t buffers = memory_.size();
    const bool blocks = has_block_scales(type_), fused = !per_row_ && !(blocks && kernel.flags.block_n < 64);
    const std::vector<double> exact = reference(first_, x_.numbers, gate_up_.numbers);
    std::vector<float> wide(exact.begin(), exact.end());
    float largest = 0;
    for (float& number : wide) {
      if (!fused) number = bf16_to_float(float_to_bf16(number));
      largest = std::max(largest, std::fabs(number));
    }
    // What the reference quantises, and what the kernels do: operands of their own, the same scale where it is given.
    const y_operand expected = narrow_rows(largest / 448), narrow = narrow_rows(largest / 448);
    float* const expected_scales = memory_.take<float>(rows_, "scales of rows", simt::memory_use::scratch);
    float* const row_scales = memory_.take<float>(rows_, "scales of rows", simt::memory_use::scratch);
    const auto quantise = [&](const void* from, dtype type, y_operand to, float* scales) {
      if (per_row_) to.scale = nullptr;
      return quantise_args{.rows = rows_,
                           .columns = width,
                           .x = {.data = from, .type = type, .row_stride = width},
                           .y = to,
                           .row_scales = per_row_ ? scales : nullptr};
    };
    REQUIRE(host::quantise_rows(quantise(wide.data(), dtype::fp32, expected, expected_scales)) == status_code::ok);
    const x_operand read = x_of(expected, expected_scales);
    std::vector<float> numbers(wide.size());
    for (std::int64_t row = 0; row < rows_; ++row) detail::load_x(read, row, 0, width, numbers.data() + row * width);

    std::string text;
    matmul_args first = first_;
    if (fused) {
      first.y = narrow;
      text += launch(kernel, first, kernels::store_kind::quantised, nullptr, grid, options);
    } else {
      text += launch(kernel, first, kernels::store_kind::bf16, nullptr, grid, options);
      const quantise_args args = quantise(between_, dtype::bf16, narrow, row_scales);
      const kernels::quantise_params params = kernels::quantise_params_of(args);
      simt::executor executor(memory_);
      text += executor
                  .run({.grid = static_cast<unsigned>(kernels::quantise_blocks(params)),
                        .block = kernels::quantise_threads,
                        .shared_bytes = per_row_ ? std::size_t{32} : std::size_t{0}},
                       options, quantise_kernel_of(args), params)
                  .faults.text();
    }
    std::fill_n(present_, rows_, std::uint8_t{0});
    second_.x = x_of(narrow, row_scales);
    text += launch(kernel, second_, kernels::store_kind::fp32, present_, grid, options);
    const double error = error_of(second_, reference(second_, numbers, down_.numbers));
    if (!(error <= 4e-3)) text += "error of both matmuls " + std::to_string(error) + "\n";
    memory_.keep(buffers);
    return text;
  }

 private:
  void route(const bench::safetensors& contents) {
    const std::vector<float> logits = golden_logits(contents);
    std::vector<std::int32_t> index(static_cast<std::size_t>(rows_)), offsets(experts + 1), histogram(experts),
        gather(index.size()), scatter(index.size()), map(experts);
    std::vector<float> weight(index.size()), gammas(index.size());
    REQUIRE(choose_experts<float>({tokens_, experts, topk}, logits, index, weight) == status_code::ok);
    same_experts = index == read_golden<std::int32_t>(contents, "expected_expert_index");
    for (int e = 0; e < experts; ++e) map[static_cast<std::size_t>(e)] = e;
    REQUIRE(sort_rows({tokens_, experts, topk}, index, weight, map, {histogram, offsets, gather, scatter, gammas}) ==
            status_code::ok);
    offsets_ = place_golden(memory_, offsets, "expert_offsets");
    gather_ = place_golden(memory_, gather, "gather_indx");
    scatter_ = place_golden(memory_, scatter, "scatter_indx");
    gammas_ = place_golden(memory_, gammas, "gammas");
  }

  std::string launch(const matmul_kernel& kernel, const matmul_args& args, kernels::store_kind store,
                     std::uint8_t* present, unsigned grid, const simt::grid_options& options) {
    const kernels::ogs_params params = params_of(kernel, args, store, present);
    simt::executor executor(memory_);
    return executor
        .run({.grid = grid, .block = static_cast<unsigned>(kernel.threads), .shared_bytes = kernel.smem_bytes}, options,
             kernel.run, params)
        .faults.text();
  }

  /// Rows for what comes between the matmuls, in type_.
  y_operand narrow_rows(float scale) {
    y_operand y{.data = memory_.take(static_cast<std::size_t>(rows_ * width * bits_of(type_) / 8), "the intermediate",
                                     simt::memory_use::scratch),
                .type = type_,
                .rows = rows_,
                .row_stride = width};
    if (has_block_scales(type_)) {
      y.block_scales = memory_.take<std::uint8_t>(rows_ * width / 32, "its scales", simt::memory_use::scratch);
      y.block_scale_stride = width / 32;
    } else {
      y.scale = place_golden(memory_, std::vector<float>{scale}, "its scale");
    }
    return y;
  }
  x_operand x_of(const y_operand& y, const float* row_scales) const {
    return {.data = y.data,
            .type = type_,
            .rows = rows_,
            .row_stride = width,
            .block_scales = y.block_scales,
            .block_scale_stride = y.block_scale_stride,
            .scale = per_row_ ? nullptr : y.scale,
            .row_scales = per_row_ ? row_scales : nullptr};
  }
  std::vector<float> between_numbers() const {
    std::vector<float> numbers(static_cast<std::size_t>(rows_ * width));
    for (std::size_t i = 0; i < numbers.size(); ++i)
      numbers[i] = static_cast<float>(load_number(first_.y.type, between_, static_cast<std::int64_t>(i)));
    return numbers;
  }

  /// Y [rows, columns] of a matmul in float64.
  std::vector<double> reference(const matmul_args& args, const std::vector<float>& x,
                                const std::vector<float>& w) const {
    const std::int64_t columns = output_columns(args);
    std::vector<double> out(static_cast<std::size_t>(rows_ * columns));
    int expert = 0;
    std::vector<double> sums(static_cast<std::size_t>(args.n));
    for (std::int64_t row = 0; row < args.m; ++row) {
      while (args.expert_offsets[expert + 1] <= row) ++expert;
      const std::int64_t from = args.gather_indx != nullptr ? args.gather_indx[row] : row;
      const std::int64_t to = args.scatter_indx != nullptr ? args.scatter_indx[row] : row;
      for (std::int64_t n = 0; n < args.n; ++n) {
        double sum = double{args.bias[expert * args.n + n]};
        for (std::int64_t k = 0; k < args.k; ++k)
          sum += double{x[static_cast<std::size_t>(from * args.k + k)]} *
                 double{w[static_cast<std::size_t>((expert * args.n + n) * args.k + k)]};
        sums[static_cast<std::size_t>(n)] = sum;
      }
      const double gamma = args.gammas != nullptr ? double{args.gammas[row]} : 1.0;
      for (std::int64_t column = 0; column < columns; ++column)
        out[static_cast<std::size_t>(to * columns + column)] = activated(args, sums, column) * gamma;
    }
    return out;
  }

  /// ||y - ref|| / ||ref|| of a matmul's Y.
  double error_of(const matmul_args& args, const std::vector<double>& ref) const {
    const std::int64_t columns = output_columns(args);
    double wrong = 0, norm = 0;
    for (std::int64_t row = 0; row < rows_; ++row)
      for (std::int64_t column = 0; column < columns; ++column) {
        const double right = ref[static_cast<std::size_t>(row * columns + column)];
        const double difference = load_number(args.y.type, args.y.data, row * args.y.row_stride + column) - right;
        wrong += difference * difference;
        norm += right * right;
      }
    return std::sqrt(wrong / norm);
  }
  /// It must not be above 4e-3 (FP16: 1e-3, FP32: 2e-5).
  std::string compare(const matmul_args& args, const std::vector<double>& ref) const {
    const double error = error_of(args, ref);
    return error <= error_limit(args.y.type) ? "" : "matmul's error " + std::to_string(error) + "\n";
  }

  /// The sum over a token's experts against the file.
  std::string compare_layer() const {
    double wrong = 0, norm = 0;
    for (std::int64_t token = 0; token < tokens_; ++token)
      for (std::int64_t column = 0; column < width; ++column) {
        float sum = 0;
        for (std::int64_t s = token * topk; s < (token + 1) * topk; ++s)
          if (present_[s] != 0) sum += parts_[s * width + column];
        std::uint16_t rounded[2] = {};  // as large as any format, so that compilers see no overflow
        store_number(type_, rounded, 0, sum);
        const auto ref = double{expected_[static_cast<std::size_t>(token * width + column)]};
        const double difference = load_number(type_, rounded, 0) - ref;
        wrong += difference * difference;
        norm += ref * ref;
      }
    const double error = std::sqrt(wrong / norm);
    return error <= 4e-3 ? "" : "layer's error " + std::to_string(error) + "\n";
  }

  simt::memory memory_;
  dtype type_;
  bool per_row_;
  weight_layout layout_;
  std::int64_t tokens_ = 0, rows_ = 0;
  std::vector<float> expected_;
  x_rows x_;
  std::uint16_t* between_ = nullptr;
  float* parts_ = nullptr;
  std::uint8_t* present_ = nullptr;
  const std::int32_t *offsets_ = nullptr, *gather_ = nullptr, *scatter_ = nullptr;
  const float* gammas_ = nullptr;
  golden_weights gate_up_, down_;
  matmul_args first_, second_;
};

}  // namespace tilefit_simt
