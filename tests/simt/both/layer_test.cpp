// Whole layers in the executor: routing, both matmuls, the sum over topk, in the order and in the workspace that they
// have on a GPU (moe_plan.hpp), on both golden layers.
#include <cmath>
#include <string>
#include <vector>

#include "../../support/catch.hpp"
#include "../golden_layer.hpp"
#include "executor_stream.hpp"
#include "layer_kernels.hpp"
#include "tilefit/host/moe_mlp.hpp"
#include "tilefit/moe_plan.hpp"

using namespace tilefit_simt;
using simt::memory_use;

namespace {

/// What a layer is made of in the executor: one kernel for both matmuls, or for down its likes with that X.
struct simt_backend {
  static constexpr std::int64_t zeroed_workspace_bytes = 0;
  static constexpr std::int64_t most_blocks = INT32_MAX / detail::reduce_threads;

  const matmul_kernel& kernel;
  executor_stream& stream;

  static std::int64_t present_bytes(const matmul_args& args) {
    return detail::align_up(args.y.rows * args.topk, std::int64_t{gpu::workspace_alignment});
  }
  const matmul_kernel& kernel_for(const matmul_args& args) const {
    if constexpr (TILEFIT_SIMT_LANES == 64)
      if (args.x.type != kernel.x)
        for (const matmul_kernel& other : gfx950_kernels())
          if (other.x == args.x.type && other.flags.block_m == kernel.flags.block_m) return other;
    return kernel;
  }
  selection choose(const matmul_args& args) const {
    selection choice;
    choice.flags = kernel_for(args).flags;
    choice.flags.split_k = 1;
    return choice;
  }
  std::size_t workspace_bytes(const matmul_args& args, const opt_flags&) const {
    if (args.topk == 1) return 0;
    return static_cast<std::size_t>(present_bytes(args) + args.y.rows * args.topk * 4 * output_columns(args));
  }
  gpu::launch_status can_launch(const matmul_args& args, const opt_flags&) const {
    return detail::answer(detail::refuse_call(args));
  }
  gpu::launch_status route(const gpu::routing_args& args) const { return tilefit_simt::route(args, stream); }
  gpu::launch_status launch(const matmul_args& args, const opt_flags&, bool) const {
    auto* const workspace = static_cast<std::byte*>(args.workspace);
    const matmul_kernel& with = kernel_for(args);
    const std::int64_t tiles = kernels::most_row_tiles(args.m, args.experts, with.flags.block_m) *
                               detail::ceil_div(args.n, with.flags.block_n);
    const bool sums = args.topk > 1;
    stream.shared_bytes = with.smem_bytes;
    const gpu::launch_status status = launch_matmul(
        with, args, TILEFIT_SIMT_LANES == 64 ? tiles : 6, sums ? reinterpret_cast<std::uint8_t*>(workspace) : nullptr,
        sums ? reinterpret_cast<float*>(workspace + present_bytes(args)) : nullptr, stream);
    stream.shared_bytes = 65'536;
    return status;
  }
  gpu::launch_status reduce(const gpu::reduce_topk_args& args) const { return tilefit_simt::reduce_topk(args, stream); }
};

/// Kernels with 16-bit X that layers are run with: few rows and many, of both chips.
std::vector<matmul_kernel> kernels_of_layers() {
  std::vector<matmul_kernel> chosen;
  const auto choose = [&](std::span<const matmul_kernel> all, dtype x) {
    const matmul_kernel* last = nullptr;
    for (const matmul_kernel& kernel : all) {
      if (kernel.x != x) continue;
      if (last == nullptr) chosen.push_back(kernel);
      last = &kernel;
    }
    if (x == dtype::bf16) chosen.push_back(*last);
    for (matmul_kernel& kernel : chosen) kernel.flags.split_k = 1;
  };
  if constexpr (TILEFIT_SIMT_LANES == 64) {
    choose(gfx950_kernels(), dtype::bf16);
    choose(gfx950_kernels(), dtype::fp16);
    choose(gfx942_kernels(), dtype::bf16);
  } else {
    choose(generic_kernels(), dtype::bf16);
    choose(generic_kernels(), dtype::fp16);
  }
  return chosen;
}

/// One of the golden layers in watched memory, with everything that moe_args wants but a workspace.
class whole_layer {
 public:
  whole_layer(const bench::safetensors& contents, const matmul_kernel& kernel, dtype y_type = dtype::fp32)
      : logits(golden_logits(contents)),
        expected(read_golden<float>(contents, "expected_output")),
        expert_index(read_golden<std::int32_t>(contents, "expected_expert_index")),
        kernel_(kernel),
        y_type_(y_type) {
    const std::vector<float> hidden = widened_golden(contents, "hidden_states");
    tokens = static_cast<std::int64_t>(hidden.size()) / golden_width;
    const std::int64_t width = golden_width;
    x_ = store_x(memory, kernel.x, hidden, tokens, width, false);
    gate_up_ = pack_golden(memory, contents, "gate_up_proj", 2 * width, kernel.layout);
    down_ = pack_golden(memory, contents, "down_proj", width, kernel.layout);
    y = memory.take(static_cast<std::size_t>(tokens * width * bits_of(y_type) / 8), "Y", memory_use::output);
    args = {.tokens = tokens,
            .hidden = width,
            .intermediate = width,
            .experts = golden_experts,
            .topk = golden_topk,
            .x = x_.operand,
            .logits = {place_golden(memory, logits, "logits"), dtype::fp32, golden_experts},
            .gate_up = {.data = gate_up_.packed, .layout = kernel.layout},
            .down = {.data = down_.packed, .layout = kernel.layout},
            .gate_up_bias = gate_up_.bias,
            .down_bias = down_.bias,
            .between = kernel.x,
            .y = {.data = y, .type = y_type, .rows = tokens, .row_stride = width}};
  }

  /// Faults, or a refusal; nothing when all went well.
  std::string run(const gpu::moe_args& with, std::uint64_t seed = 1) {
    const std::size_t buffers = memory.size();
    executor_stream stream(memory, {.seed = seed});
    const simt_backend backend{kernel_, stream};
    const gpu::moe_flags flags = detail::choose_layer(backend, with).flags();
    gpu::moe_args all = with;
    all.workspace_bytes = detail::layer_workspace_bytes(backend, all, flags);
    // Absent parts may be read, so nothing can say that bytes were never written: they are NaN.
    all.workspace = memory.take(all.workspace_bytes, "workspace", memory_use::output);
    std::memset(all.workspace, 0xFF, all.workspace_bytes);
    const gpu::launch_status status = detail::enqueue_layer(backend, all, flags);
    memory.keep(buffers);
    if (status.code != status_code::ok)
      return std::string(name_of(status.code)) + ": " + std::string(status.reason.subject);
    return stream.faults;
  }

  std::vector<double> results() const {
    std::vector<double> all(expected.size());
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = load_number(y_type_, y, static_cast<std::int64_t>(i));
    return all;
  }
  /// ||y - expected|| / ||expected||
  double error() const { return error_to(expected); }
  double error_to(const std::vector<float>& wanted) const {
    double wrong = 0, norm = 0;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const double ref = double{wanted[i]}, difference = results_at(i) - ref;
      wrong += difference * difference;
      norm += ref * ref;
    }
    return std::sqrt(wrong / norm);
  }

  simt::memory memory;
  std::int64_t tokens = 0;
  std::vector<float> logits, expected;
  std::vector<std::int32_t> expert_index;
  gpu::moe_args args;
  void* y = nullptr;

 private:
  double results_at(std::size_t i) const { return load_number(y_type_, y, static_cast<std::int64_t>(i)); }

  const matmul_kernel kernel_;
  dtype y_type_;
  x_rows x_;
  golden_weights gate_up_, down_;
};

constexpr double most_error = 4e-3;

}  // namespace

TEST_CASE("simt layer: from logits, both golden layers", "[simt][golden]") {
  for (const char* const name : golden_names) {
    const bench::safetensors_file file = open_golden(name);
    const std::vector<matmul_kernel> kernels = kernels_of_layers();
    for (const matmul_kernel& kernel : kernels) {
      if (name != golden_names[0] && &kernel != kernels.data()) continue;  // the larger one takes long
      INFO(name << ", " << name_of(kernel.x) << ", block_m " << kernel.flags.block_m);
      whole_layer layer(file.contents, kernel, kernel.x);
      CHECK(layer.run(layer.args) == "");
      CHECK(layer.error() <= most_error);
    }
  }
}

#if TILEFIT_SIMT_LANES == 64  // gfx950 has the kernels that read them
TEST_CASE("simt layer: 8 and 4 bits between the matmuls, as on the CPU", "[simt][golden]") {
  const bench::safetensors_file file = open_golden(golden_names[0]);
  const std::vector<std::uint8_t> gate_up = read_golden<std::uint8_t>(file.contents, "gate_up_proj_blocks"),
                                  gate_up_scales = read_golden<std::uint8_t>(file.contents, "gate_up_proj_scales"),
                                  down = read_golden<std::uint8_t>(file.contents, "down_proj_blocks"),
                                  down_scales = read_golden<std::uint8_t>(file.contents, "down_proj_scales");
  for (const matmul_kernel& kernel : gfx950_kernels()) {
    if (kernel.x != dtype::bf16 || kernel.flags.block_n < 64 || kernel.flags.block_m > 64) continue;
    whole_layer layer(file.contents, kernel);
    float* const scale = layer.memory.take<float>(1, "scale", memory_use::input);
    *scale = 0.05f;
    for (const dtype between : {dtype::fp8_e4m3, dtype::mxfp8, dtype::mxfp4}) {
      INFO(name_of(between) << ", block_m " << kernel.flags.block_m);
      gpu::moe_args args = layer.args;
      args.between = between;
      args.between_scale = scale;
      REQUIRE(layer.run(args) == "");

      const auto count = static_cast<std::size_t>(layer.tokens);
      std::vector<float> y(count * golden_width), weight(count * golden_topk);
      std::vector<std::int32_t> index(count * golden_topk);
      const host::moe_layer same{
          .tokens = args.tokens,
          .hidden = args.hidden,
          .intermediate = args.intermediate,
          .experts = args.experts,
          .topk = args.topk,
          .x = args.x,
          .gate_up = {.data = gate_up.data(), .block_scales = gate_up_scales.data()},
          .gate_up_bias = args.gate_up_bias,
          .down = {.data = down.data(), .block_scales = down_scales.data()},
          .down_bias = args.down_bias,
          .y = {.data = y.data(), .type = dtype::fp32, .rows = args.tokens, .row_stride = golden_width},
          .between = between,
          .between_scale = scale};
      const opt_flags tile{.block_m = 64, .block_n = 128, .block_k = 128};
      std::vector<std::byte> workspace(host::workspace_bytes(same, {tile, tile}));
      REQUIRE(host::moe_mlp(same, {tile, tile},
                            {.logits = layer.logits,
                             .expert_index = index,
                             .expert_weight = weight,
                             .workspace = workspace.data(),
                             .workspace_bytes = workspace.size()}) == status_code::ok);
      CHECK(layer.error_to(y) <= most_error);
      CHECK(layer.error() > most_error);  // what is quantised is not what the model has
    }
  }
}
#endif

TEST_CASE("simt layer: given experts, some of them nobody's", "[simt]") {
  const bench::safetensors_file file = open_golden(golden_names[0]);
  const matmul_kernel kernel = kernels_of_layers().front();
  whole_layer layer(file.contents, kernel);
  CHECK(layer.run(layer.args) == "");
  const std::vector<double> whole = layer.results();

  std::vector<std::int32_t> index(layer.expert_index.size());
  std::vector<float> weight(index.size());
  REQUIRE(choose_experts<float>({layer.tokens, golden_experts, golden_topk}, layer.logits, index, weight) ==
          status_code::ok);
  for (int s = 0; s < golden_topk; ++s) index[static_cast<std::size_t>(s)] = s % 2 == 0 ? -1 : golden_experts;
  gpu::moe_args args = layer.args;
  args.logits = {};
  args.given = {place_golden(layer.memory, index, "given experts"), place_golden(layer.memory, weight, "weights")};
  CHECK(layer.run(args, 2) == "");
  const std::vector<double> given = layer.results();
  double worst = 0;
  for (std::size_t i = 0; i < given.size(); ++i) {
    if (i < golden_width)
      CHECK(given[i] == 0.0);
    else
      worst = std::fmax(worst, std::fabs(given[i] - whole[i]));
  }
  CHECK(worst <= 1e-5);
}

TEST_CASE("simt layer: experts of two devices add up", "[simt]") {
  const bench::safetensors_file file = open_golden(golden_names[0]);
  const matmul_kernel kernel = kernels_of_layers().front();
  whole_layer layer(file.contents, kernel);
  constexpr int half = golden_experts / 2;
  const auto bytes = [&](std::int64_t n) { return half * bytes_per_expert(kernel.layout, n, golden_width); };
  std::vector<std::int32_t> first(golden_experts, -1), second(golden_experts, -1);
  for (int e = 0; e < half; ++e) {
    first[static_cast<std::size_t>(e)] = e;
    second[static_cast<std::size_t>(half + e)] = e;
  }
  gpu::moe_args args = layer.args;
  args.local_experts = half;
  args.expert_map = place_golden(layer.memory, first, "experts of one");
  CHECK(layer.run(args) == "");
  CHECK(layer.error() > most_error);
  args.expert_map = place_golden(layer.memory, second, "experts of the other");
  args.gate_up.data = static_cast<const std::uint8_t*>(args.gate_up.data) + bytes(2 * golden_width);
  args.down.data = static_cast<const std::uint8_t*>(args.down.data) + bytes(golden_width);
  args.gate_up_bias += half * 2 * golden_width;
  args.down_bias += half * golden_width;
  args.accumulate = true;
  CHECK(layer.run(args) == "");
  CHECK(layer.error() <= most_error);
}

TEST_CASE("simt layer: rows that are sorted already", "[simt]") {
  const bench::safetensors_file file = open_golden(golden_names[1]);
  const matmul_kernel kernel = kernels_of_layers().front();
  whole_layer layer(file.contents, kernel);
  const routing_shape shape{layer.tokens, golden_experts, golden_topk};
  const auto rows = static_cast<std::size_t>(shape.rows());
  std::vector<std::int32_t> index(rows), histogram(golden_experts), offsets(golden_experts + 1), gather(rows),
      scatter(rows);
  std::vector<float> weight(rows), gammas(rows);
  REQUIRE(choose_experts<float>(shape, layer.logits, index, weight) == status_code::ok);
  REQUIRE(sort_rows(shape, index, weight, {}, {histogram, offsets, gather, scatter, gammas}) == status_code::ok);
  gpu::moe_args args = layer.args;
  args.logits = {};
  args.rows = {place_golden(layer.memory, offsets, "offsets"), place_golden(layer.memory, gather, "gather_indx"),
               place_golden(layer.memory, scatter, "scatter_indx"), place_golden(layer.memory, gammas, "gammas")};
  CHECK(layer.run(args) == "");
  CHECK(layer.error() <= most_error);
}

TEST_CASE("simt layer: no tokens, and what is refused", "[simt]") {
  const bench::safetensors_file file = open_golden(golden_names[0]);
  const matmul_kernel kernel = kernels_of_layers().front();
  whole_layer layer(file.contents, kernel);
  executor_stream stream(layer.memory);
  const simt_backend backend{kernel, stream};
  const gpu::moe_flags flags{kernel.flags, kernel.flags};
  const auto answer = [&](const gpu::moe_args& args) { return detail::enqueue_layer(backend, args, flags); };

  gpu::moe_args none = layer.args;
  none.tokens = none.x.rows = none.y.rows = 0;
  CHECK(answer(none).code == status_code::empty);
  CHECK(detail::layer_workspace_bytes(backend, none, flags) == 0);
  CHECK(answer(layer.args).reason.subject == "workspace");

  gpu::moe_args args = layer.args;
  args.workspace_bytes = detail::layer_workspace_bytes(backend, args, flags);
  auto* const workspace =
      static_cast<std::byte*>(layer.memory.take(args.workspace_bytes + 16, "workspace", memory_use::scratch));
  args.workspace = workspace + 16;
  CHECK(answer(args).reason.subject == "address of the workspace modulo 256");
  args.workspace = workspace;
  --args.workspace_bytes;
  CHECK(answer(args).reason.subject == "bytes of the workspace");
  ++args.workspace_bytes;
  gpu::moe_args bad = args;
  bad.between = dtype::fp32;
  CHECK(answer(bad).code == status_code::unsupported_dtype);
  bad.between = dtype::mxfp8;
  bad.intermediate = 48;
  CHECK(answer(bad).reason.subject == "intermediate");
  bad = args;
  bad.given.expert_index = layer.expert_index.data();
  CHECK(answer(bad).reason.subject == "number of logits, given and rows that are set");
  bad = args;
  bad.down.data = nullptr;
  CHECK(answer(bad).reason.subject == "matmul_args");
  CHECK(stream.kernels == 0);
  CHECK(stream.memsets == 0);
}
