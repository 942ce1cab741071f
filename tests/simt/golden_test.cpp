// Whole layers computed by somebody else (tests/golden/README.md): router on the CPU, both matmuls in the executor.
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "../support/catch.hpp"
#include "matmul_case.hpp"
#include "safetensors.hpp"
#include "tilefit/routing.hpp"

using namespace tilefit_simt;

namespace {

constexpr int experts = 8, topk = 4;
constexpr std::int64_t width = 320;

template <class T>
std::vector<T> read(const bench::safetensors& contents, const std::string& name) {
  const bench::tensor_info* const tensor = contents.find(name);
  REQUIRE(tensor != nullptr);
  auto values = bench::copy_as<T>(*tensor);
  REQUIRE(values);
  return *values;
}

std::vector<float> widened(const bench::safetensors& contents, const std::string& name) {
  std::vector<float> wide;
  for (const std::uint16_t code : read<std::uint16_t>(contents, name)) wide.push_back(bf16_to_float(code));
  return wide;
}

/// A layer in watched memory.
class golden_layer {
 public:
  golden_layer(const bench::safetensors& contents, dtype x_type) : type_(x_type) {
    const std::vector<float> hidden = widened(contents, "hidden_states");
    tokens_ = static_cast<std::int64_t>(hidden.size()) / width;
    rows_ = tokens_ * topk;
    expected_ = read<float>(contents, "expected_output");
    route(contents, hidden);
    x_ = memory_.take<std::uint16_t>(tokens_ * width, "X", simt::memory_use::input);
    for (std::size_t i = 0; i < hidden.size(); ++i) store_number(type_, x_, static_cast<std::int64_t>(i), hidden[i]);
    between_ = memory_.take<std::uint16_t>(rows_ * width, "the intermediate", simt::memory_use::scratch);
    parts_ = memory_.take<float>(rows_ * width, "parts", simt::memory_use::scratch);
    present_ = memory_.take<std::uint8_t>(rows_, "present", simt::memory_use::flags);
    const weights gate_up = pack(contents, "gate_up_proj", 2 * width), down = pack(contents, "down_proj", width);
    first_ = {.m = rows_,
              .n = 2 * width,
              .k = width,
              .experts = experts,
              .x = {.data = x_, .type = type_, .rows = tokens_, .row_stride = width},
              .w = {.data = gate_up.packed, .layout = weight_layout::mma_m16k64},
              .y = {.data = between_, .type = type_, .rows = rows_, .row_stride = width},
              .bias = gate_up.bias,
              .expert_offsets = offsets_,
              .gather_indx = gather_,
              .act = activation::swiglu};
    second_ = {.m = rows_,
               .n = width,
               .k = width,
               .experts = experts,
               .x = {.data = between_, .type = type_, .rows = rows_, .row_stride = width},
               .w = {.data = down.packed, .layout = weight_layout::mma_m16k64},
               .y = {.data = parts_, .type = dtype::fp32, .rows = rows_, .row_stride = width},
               .bias = down.bias,
               .expert_offsets = offsets_,
               .scatter_indx = scatter_,
               .gammas = gammas_};
  }

  bool same_experts = false;

  /// Both matmuls with one kernel; what went wrong, or nothing.
  std::string run(const matmul_kernel& kernel, unsigned grid, std::uint64_t seed) {
    std::fill_n(present_, rows_, std::uint8_t{0});
    std::string text =
        launch(kernel, first_, kernel.x == dtype::bf16 ? kernels::store_kind::bf16 : kernels::store_kind::fp16, nullptr,
               grid, seed);
    text += launch(kernel, second_, kernels::store_kind::fp32, present_, grid, seed + 1);
    double wrong = 0, norm = 0;
    for (std::int64_t token = 0; token < tokens_; ++token)
      for (std::int64_t column = 0; column < width; ++column) {
        float sum = 0;
        for (std::int64_t s = token * topk; s < (token + 1) * topk; ++s)
          if (present_[s] != 0) sum += parts_[s * width + column];
        const double rounded = static_cast<double>(type_ == dtype::bf16 ? bf16_to_float(float_to_bf16(sum))
                                                                        : fp16_to_float(float_to_fp16(sum)));
        const auto ref = static_cast<double>(expected_[static_cast<std::size_t>(token * width + column)]);
        wrong += (rounded - ref) * (rounded - ref);
        norm += ref * ref;
      }
    const double error = std::sqrt(wrong / norm);
    if (!(error <= 4e-3)) text += "error " + std::to_string(error);
    return text;
  }

 private:
  struct weights {
    const std::uint8_t* packed = nullptr;
    const float* bias = nullptr;
  };

  template <class T>
  T* place(const std::vector<T>& from, const char* name) {
    T* const to = memory_.take<T>(static_cast<std::int64_t>(from.size()), name, simt::memory_use::input);
    std::copy(from.begin(), from.end(), to);
    return to;
  }

  weights pack(const bench::safetensors& contents, const std::string& name, std::int64_t n) {
    const std::vector<std::uint8_t> blocks = read<std::uint8_t>(contents, name + "_blocks");
    const std::vector<std::uint8_t> scales = read<std::uint8_t>(contents, name + "_scales");
    constexpr weight_layout layout = weight_layout::mma_m16k64;
    auto* const packed =
        memory_.take<std::uint8_t>(experts * bytes_per_expert(layout, n, width), "W", simt::memory_use::input);
    REQUIRE(shuffle_weights(layout, {experts, n, width}, {blocks.data(), scales.data()}, {packed, nullptr}) ==
            status_code::ok);
    return {packed, place(widened(contents, name + "_bias"), "bias")};
  }

  void route(const bench::safetensors& contents, const std::vector<float>& hidden) {
    const std::vector<float> router = widened(contents, "router_weight"), bias = widened(contents, "router_bias");
    std::vector<float> logits;
    for (std::int64_t token = 0; token < tokens_; ++token)
      for (std::int64_t e = 0; e < experts; ++e) {
        auto sum = static_cast<double>(bias[static_cast<std::size_t>(e)]);
        for (std::int64_t i = 0; i < width; ++i)
          sum += static_cast<double>(hidden[static_cast<std::size_t>(token * width + i)]) *
                 static_cast<double>(router[static_cast<std::size_t>(e * width + i)]);
        logits.push_back(static_cast<float>(sum));
      }
    std::vector<std::int32_t> index(static_cast<std::size_t>(rows_)), offsets(experts + 1), histogram(experts),
        gather(index.size()), scatter(index.size()), map(experts);
    std::vector<float> weight(index.size()), gammas(index.size());
    REQUIRE(choose_experts<float>({tokens_, experts, topk}, logits, index, weight) == status_code::ok);
    same_experts = index == read<std::int32_t>(contents, "expected_expert_index");
    for (int e = 0; e < experts; ++e) map[static_cast<std::size_t>(e)] = e;
    REQUIRE(sort_rows({tokens_, experts, topk}, index, weight, map, {histogram, offsets, gather, scatter, gammas}) ==
            status_code::ok);
    offsets_ = place(offsets, "expert_offsets");
    gather_ = place(gather, "gather_indx");
    scatter_ = place(scatter, "scatter_indx");
    gammas_ = place(gammas, "gammas");
  }

  std::string launch(const matmul_kernel& kernel, const matmul_args& args, kernels::store_kind store,
                     std::uint8_t* present, unsigned grid, std::uint64_t seed) {
    kernels::ogs_params params{.args = args};
    params.atoms = static_cast<std::int32_t>(detail::ceil_div(args.n, weight_atom::rows));
    params.steps = static_cast<std::int32_t>(detail::ceil_div(args.k, kernel.flags.block_k));
    params.store = store;
    params.present = present;
    simt::executor executor(memory_);
    return executor
        .run({.grid = grid, .block = static_cast<unsigned>(kernel.threads), .shared_bytes = kernel.smem_bytes},
             {.seed = seed}, kernel.run, params)
        .faults.text();
  }

  simt::memory memory_;
  dtype type_;
  std::int64_t tokens_ = 0, rows_ = 0;
  std::vector<float> expected_;
  std::uint16_t *x_ = nullptr, *between_ = nullptr;
  float* parts_ = nullptr;
  std::uint8_t* present_ = nullptr;
  const std::int32_t *offsets_ = nullptr, *gather_ = nullptr, *scatter_ = nullptr;
  const float* gammas_ = nullptr;
  matmul_args first_, second_;
};

}  // namespace

TEST_CASE("simt golden layers", "[simt][golden]") {
  for (const char* const name : {"moe_layer_h320_e8.safetensors", "moe_layer_h320_e8_skew.safetensors"}) {
    const auto file = bench::safetensors_file::open(std::string(TILEFIT_GOLDEN_DIR) + "/" + name);
    REQUIRE(file);
    for (const dtype x : {dtype::bf16, dtype::fp16}) {
      golden_layer layer(file->contents, x);
      CHECK(layer.same_experts);
      for (const matmul_kernel& kernel : generic_kernels()) {
        if (kernel.x != x) continue;
        INFO(name << ", " << name_of(x) << ", block_m " << kernel.flags.block_m);
        CHECK(layer.run(kernel, 6, 1) == "");
      }
    }
  }
}
