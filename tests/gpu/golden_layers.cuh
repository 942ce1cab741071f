// Whole layers computed by somebody else (tests/golden/README.md): router and row order on the CPU, both matmuls on the
// GPU, from one launch after the other, from a graph, and in two halves as expert parallelism has it.
// Knows: the files' tensors. Must not know: tiles.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "matmul_behaviour.cuh"
#include "safetensors.hpp"
#include "tilefit/routing.hpp"

namespace tilefit_gpu {

class golden_layer {
 public:
  static constexpr int experts = 8, topk = 4;
  static constexpr std::int64_t width = 320;

  /// Experts [first, first + local) of the layer are on this device.
  struct part {
    int first = 0;
    int local = experts;
    bool accumulate = false;
  };

  golden_layer(matmul_test& test, const bench::safetensors& contents, dtype y_type)
      : test_(test), lane_(test.gpu.lane_at(0)), y_type_(y_type) {
    lane_.memory.clear();
    const cudaStream_t stream = test.gpu.main;
    const std::vector<std::uint16_t> hidden = read<std::uint16_t>(contents, "hidden_states");
    tokens_ = static_cast<std::int64_t>(hidden.size()) / width;
    rows_ = tokens_ * topk;
    expected_ = read<float>(contents, "expected_output");
    route(contents, hidden);
    x_ = place(hidden, "X");
    gate_up_ = pack(contents, "gate_up_proj", 2 * width);
    down_ = pack(contents, "down_proj", width);
    gate_up_bias_ = place(widened(contents, "gate_up_proj_bias"), "gate_up bias");
    down_bias_ = place(widened(contents, "down_proj_bias"), "down bias");
    between_ = lane_.memory.take(stream, static_cast<std::size_t>(rows_ * width * 2), "between");
    y_ = lane_.memory.take(stream, y_bytes(), "Y");
    offsets_ = lane_.memory.take<std::int32_t>(stream, experts + 1, "offsets");
    gather_ = lane_.memory.take<std::int32_t>(stream, rows_, "gather");
    scatter_ = lane_.memory.take<std::int32_t>(stream, rows_, "scatter");
    gammas_ = lane_.memory.take<float>(stream, rows_, "gammas");
    wait_for(stream);
  }

  bool same_experts = false;

  void poison_y() {
    poison(test_.gpu.main, y_, y_bytes());
    poison(test_.gpu.main, between_, static_cast<std::size_t>(rows_ * width * 2));
  }

  /// Row order of a part, and its two calls with flags and a workspace each.
  std::string prepare(const part& which, const std::function<opt_flags(const matmul_args&)>& choose) {
    std::vector<std::int32_t> map(experts, -1), offsets(static_cast<std::size_t>(which.local) + 1),
        histogram(static_cast<std::size_t>(which.local)), gather(static_cast<std::size_t>(rows_)), scatter = gather;
    std::vector<float> gammas(static_cast<std::size_t>(rows_));
    for (int e = 0; e < which.local; ++e) map[static_cast<std::size_t>(which.first + e)] = e;
    const status_code sorted =
        sort_rows({tokens_, experts, topk}, index_, weight_, map, {histogram, offsets, gather, scatter, gammas});
    if (sorted != status_code::ok) return "sort_rows answers " + std::string(name_of(sorted));
    const cudaStream_t stream = test_.gpu.main;
    upload(stream, offsets_, offsets);
    upload(stream, gather_, gather);
    upload(stream, scatter_, scatter);
    upload(stream, gammas_, gammas);
    const std::int64_t gate_up_bytes = bytes_per_expert(weight_layout::mma_m16k64, 2 * width, width);
    const std::int64_t down_bytes = bytes_per_expert(weight_layout::mma_m16k64, width, width);
    args_[0] = {.m = rows_,
                .n = 2 * width,
                .k = width,
                .experts = which.local,
                .x = {.data = x_, .type = dtype::bf16, .rows = tokens_, .row_stride = width},
                .w = {.data = gate_up_ + which.first * gate_up_bytes, .layout = weight_layout::mma_m16k64},
                .y = {.data = between_, .type = dtype::bf16, .rows = rows_, .row_stride = width},
                .bias = gate_up_bias_ + which.first * 2 * width,
                .expert_offsets = offsets_,
                .gather_indx = gather_,
                .act = activation::swiglu};
    args_[1] = {.m = rows_,
                .n = width,
                .k = width,
                .experts = which.local,
                .x = {.data = between_, .type = dtype::bf16, .rows = rows_, .row_stride = width},
                .w = {.data = down_ + which.first * down_bytes, .layout = weight_layout::mma_m16k64},
                .y = {.data = y_, .type = y_type_, .rows = tokens_, .row_stride = width},
                .bias = down_bias_ + which.first * width,
                .expert_offsets = offsets_,
                .scatter_indx = scatter_,
                .gammas = gammas_,
                .topk = topk,
                .accumulate = which.accumulate};
    lane_.workspace.clear();
    for (int i = 0; i < 2; ++i) {
      flags_[i] = choose(args_[i]);
      const cuda::launch_status possible = ogs::can_launch(args_[i], flags_[i]);
      if (!succeeded(possible.code)) return "refused: " + text_of(possible);
      args_[i].workspace_bytes = ogs::workspace_bytes(args_[i], flags_[i]);
      if (args_[i].workspace_bytes == 0) continue;
      args_[i].workspace = lane_.workspace.take(stream, args_[i].workspace_bytes, "the workspace");
      poison(stream, args_[i].workspace, args_[i].workspace_bytes);
      const cuda::launch_status ready = cuda::prepare_workspace(args_[i].workspace, args_[i].workspace_bytes, stream);
      if (ready.code != status_code::ok) return "prepare_workspace answers " + text_of(ready);
    }
    wait_for(stream);
    return {};
  }

  /// Both matmuls, one behind the other.
  std::string enqueue_layer() {
    for (int i = 0; i < 2; ++i) {
      const cuda::launch_status status = ogs::launch(args_[i], flags_[i], test_.gpu.main);
      if (status.code != status_code::ok) return "launch answers " + text_of(status);
    }
    return {};
  }

  /// Verdict on what Y holds.
  outcome judge() {
    outcome result;
    result.limit = 4e-3;
    wait_for(test_.gpu.main, test_.gpu.most_wait_seconds);
    check(cudaGetLastError(), "after a layer");
    const std::vector<std::uint8_t> bytes = download(static_cast<const std::uint8_t*>(y_), y_bytes());
    double error2 = 0, norm2 = 0;
    for (std::size_t i = 0; i < expected_.size(); ++i) {
      const double value = static_cast<double>(load_element(y_type_, bytes.data(), static_cast<std::int64_t>(i)));
      const double ref = static_cast<double>(expected_[i]);
      error2 += (value - ref) * (value - ref);
      norm2 += ref * ref;
    }
    result.error = std::sqrt(error2 / norm2);
    if (!(result.error <= result.limit)) result.fault = "error " + std::to_string(result.error);
    if (!same_experts) result.fault += "; other experts than in the file";
    const std::string guards =
        lane_.memory.broken_guards(test_.gpu.main) + lane_.workspace.broken_guards(test_.gpu.main);
    if (!guards.empty()) result.fault += "; written outside: " + guards;
    return result;
  }

 private:
  template <class T>
  static std::vector<T> read(const bench::safetensors& contents, const std::string& name) {
    const bench::tensor_info* tensor = contents.find(name);
    if (tensor == nullptr) throw std::runtime_error("no tensor " + name);
    bench::result<std::vector<T>> values = bench::copy_as<T>(*tensor);
    if (!values) throw std::runtime_error(values.error());
    return *values;
  }
  static std::vector<float> widened(const bench::safetensors& contents, const std::string& name) {
    std::vector<float> wide;
    for (const std::uint16_t code : read<std::uint16_t>(contents, name)) wide.push_back(bf16_to_float(code));
    return wide;
  }
  std::size_t y_bytes() const { return static_cast<std::size_t>(tokens_ * width * bits_of(y_type_) / 8); }
  template <class T>
  T* place(const std::vector<T>& from, const char* name) {
    T* to = lane_.memory.take<T>(test_.gpu.main, static_cast<std::int64_t>(from.size()), name);
    check(cudaMemcpy(to, from.data(), from.size() * sizeof(T), cudaMemcpyHostToDevice), name);
    return to;
  }
  const std::uint8_t* pack(const bench::safetensors& contents, const std::string& name, std::int64_t n) {
    const std::vector<std::uint8_t> blocks = read<std::uint8_t>(contents, name + "_blocks");
    const std::vector<std::uint8_t> scales = read<std::uint8_t>(contents, name + "_scales");
    constexpr weight_layout layout = weight_layout::mma_m16k64;
    std::vector<std::uint8_t> packed(static_cast<std::size_t>(experts * bytes_per_expert(layout, n, width)));
    if (shuffle_weights(layout, {experts, n, width}, {blocks.data(), scales.data()}, {packed.data(), nullptr}) !=
        status_code::ok)
      throw std::runtime_error("shuffle_weights refuses " + name);
    return place(packed, "W");
  }
  void route(const bench::safetensors& contents, const std::vector<std::uint16_t>& hidden) {
    const std::vector<float> router = widened(contents, "router_weight"), bias = widened(contents, "router_bias");
    std::vector<float> logits;
    for (std::int64_t token = 0; token < tokens_; ++token)
      for (std::int64_t e = 0; e < experts; ++e) {
        double sum = static_cast<double>(bias[static_cast<std::size_t>(e)]);
        for (std::int64_t i = 0; i < width; ++i)
          sum += static_cast<double>(bf16_to_float(hidden[static_cast<std::size_t>(token * width + i)])) *
                 static_cast<double>(router[static_cast<std::size_t>(e * width + i)]);
        logits.push_back(static_cast<float>(sum));
      }
    index_.resize(static_cast<std::size_t>(rows_));
    weight_.resize(static_cast<std::size_t>(rows_));
    const status_code status = choose_experts<float>({tokens_, experts, topk}, logits, index_, weight_);
    if (status != status_code::ok) throw std::runtime_error("routing answers " + std::string(name_of(status)));
    same_experts = index_ == read<std::int32_t>(contents, "expected_expert_index");
  }

  matmul_test& test_;
  lane& lane_;
  dtype y_type_;
  std::int64_t tokens_ = 0, rows_ = 0;
  std::vector<float> expected_, weight_;
  std::vector<std::int32_t> index_;
  const std::uint16_t* x_ = nullptr;
  const std::uint8_t *gate_up_ = nullptr, *down_ = nullptr;
  const float *gate_up_bias_ = nullptr, *down_bias_ = nullptr;
  void *between_ = nullptr, *y_ = nullptr;
  std::int32_t *offsets_ = nullptr, *gather_ = nullptr, *scatter_ = nullptr;
  float* gammas_ = nullptr;
  matmul_args args_[2];
  opt_flags flags_[2];
};

inline void test_golden_layers(matmul_test& test, const std::string& folder) {
  for (const char* name : {"moe_layer_h320_e8.safetensors", "moe_layer_h320_e8_skew.safetensors"})
    for (const dtype type : {dtype::fp32, dtype::bf16})
      test.in_case(std::string(name) + " " + std::string(name_of(type)), [&] {
        bench::result<bench::safetensors_file> file = bench::safetensors_file::open(folder + "/" + name);
        if (!file) return test.run.failed(file.error());
        golden_layer layer(test, file->contents, type);
        std::vector<flag_choice> choices = test.all({0, 1, 3}, test.options.quick ? 4 : 1);
        if (!test.options.generic && test.options.entry < 0) choices.push_back({{}, -1, "chosen"});
        for (const flag_choice& choice : choices)
          test.in_run(choice, [&] {
            const auto choose = [&](const matmul_args& args) {
              return choice.entry < 0 ? ogs::choose(args).flags : choice.flags;
            };
            const auto finish = [&](std::string fault) {
              outcome result;
              if (fault.empty()) result = layer.judge();
              if (fault.rfind("refused", 0) == 0) result.refused = true;
              result.fault += fault;
              test.count(result, choice.entry >= 0);
              return result.fault.empty();
            };
            std::string fault = layer.prepare({}, choose);
            layer.poison_y();
            if (fault.empty()) fault = layer.enqueue_layer();
            if (!finish(fault)) return;
            layer.poison_y();
            const captured graph(test.gpu.main, [&] { fault = layer.enqueue_layer(); });
            for (int again = 0; again < 2 && fault.empty(); ++again) graph.replay(test.gpu.main);
            if (!finish(fault)) return;
            layer.poison_y();
            for (int half = 0; half < 2 && fault.empty(); ++half) {
              fault = layer.prepare({.first = 4 * half, .local = 4, .accumulate = half == 1}, choose);
              if (fault.empty()) fault = layer.enqueue_layer();
            }
            finish(fault);
          });
      });
}

}  // namespace tilefit_gpu
