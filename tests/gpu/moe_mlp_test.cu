// The expert MLP on the device against float64 arithmetic, golden layers (tests/golden/README.md), and itself.
// --golden DIR: where the golden layers are. --bench prints times.
#include <cmath>
#include <cstdint>
#include <deque>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "graph_timing.cuh"
#include "moe_mlp_case.cuh"
#include "safetensors.hpp"
#include "support.cuh"
#include "tilefit/moe_mlp.cuh"

#ifndef TILEFIT_GOLDEN_DIR
#define TILEFIT_GOLDEN_DIR "tests/golden"
#endif

using namespace tilefit;
using gpu_test::device_buffer;
using gpu_test::moe_case;
using gpu_test::moe_input;
using gpu_test::report;
using gpu_test::same_bytes;

namespace {

using bytes = std::vector<std::uint8_t>;
using floats = std::vector<float>;
using ints = std::vector<std::int32_t>;

/// One case: two sets of inputs, called and replayed, in an own workspace and in a common one.
void test_case(report& to, const gpu_test::stream_owner& stream, const moe_case& c,
               const device_buffer<std::uint8_t>& common) {
  const std::string name = text_of(c);
  const gpu_test::moe_layer layer(c, 1);
  const moe_input first = make_input(c, 2), second = make_input(c, 3);
  gpu_test::moe_setup setup(c, layer);
  cuda::moe_args args = setup.args();
  const cuda::moe_selection choice = cuda::choose_moe(args);
  const cuda::moe_flags flags = choice.flags();
  if (c.tokens == 0) {
    to.check(choice.gate_up.status == status_code::empty && choice.down.status == status_code::empty,
             "%s: the choice is not empty", name.c_str());
    to.check(cuda::moe_workspace_bytes(args, flags) == 0, "%s: workspace", name.c_str());
    to.check(cuda::moe_mlp(args, flags, stream).code == status_code::empty, "%s: not empty", name.c_str());
    stream.wait();
    return;
  }
  if (!to.check(choice.ok(), "%s: no choice: %s and %s", name.c_str(),
                std::string(name_of(choice.gate_up.status)).c_str(), std::string(name_of(choice.down.status)).c_str()))
    return;
  const device_buffer<std::uint8_t> workspace(cuda::moe_workspace_bytes(args, flags));
  to.check(cuda::prepare_workspace(workspace.data(), workspace.size(), stream).code == status_code::ok,
           "%s: prepare_workspace", name.c_str());

  const auto enqueue = [&](cudaStream_t s, const device_buffer<std::uint8_t>& where, bool overlap) {
    args.workspace = where.data();
    args.workspace_bytes = where.size();
    const cuda::launch_status status = cuda::moe_mlp(args, flags, s, {.overlap = overlap});
    to.check(status.code == status_code::ok, "%s: answer %s (%s, %lld), native error %d", name.c_str(),
             std::string(name_of(status.code)).c_str(), std::string(status.reason.subject).c_str(),
             static_cast<long long>(status.reason.value), status.native_error);
  };
  const auto result_of = [&](const moe_input& input, auto run) {
    setup.upload(input);
    run();
    stream.wait();
    return setup.download_y(to);
  };
  const bytes y_first = result_of(first, [&] { enqueue(stream, workspace, true); });
  const bytes y_second = result_of(second, [&] { enqueue(stream, workspace, false); });
  compare(to, name, setup, reference(c, layer, first), y_first);
  compare(to, name + ", second input", setup, reference(c, layer, second), y_second);

  // The same from a graph and in a workspace that other layers have used.
  const gpu_test::captured_graph graph(stream, [&](cudaStream_t s) { enqueue(s, workspace, true); });
  const gpu_test::captured_graph in_common(stream, [&](cudaStream_t s) { enqueue(s, common, true); });
  to.check(same_bytes(result_of(second, [&] { graph.replay(stream); }), y_second), "%s: replay with changed input",
           name.c_str());
  to.check(same_bytes(result_of(first, [&] { graph.replay(stream); }), y_first), "%s: replay", name.c_str());
  to.check(same_bytes(result_of(first, [&] { in_common.replay(stream); }), y_first), "%s: common workspace",
           name.c_str());
  const bytes left = workspace.download(to, "workspace");
  bool zeros = true;
  for (std::size_t i = 0; i < cuda::zeroed_workspace_bytes; ++i) zeros = zeros && left[i] == 0;
  to.check(zeros, "%s: the start of the workspace is not left as zeros", name.c_str());
  setup.check_inputs(to, first);
}

void test_combinations(report& to, const gpu_test::stream_owner& stream, const device_buffer<std::uint8_t>& common) {
  constexpr dtype y_types[] = {dtype::bf16, dtype::fp16, dtype::fp32};
  for (const gpu_test::input_kind input :
       {gpu_test::input_kind::logits, gpu_test::input_kind::given, gpu_test::input_kind::rows}) {
    for (const bool mapped : {false, true})
      for (const dtype x : {dtype::bf16, dtype::fp16})
        for (const dtype y : y_types)
          for (const bool accumulate : {false, true}) {
            moe_case c{.tokens = 5, .hidden = 96, .intermediate = 128, .experts = 8, .topk = 3, .input = input};
            c.mapped = mapped;
            c.x = c.between = c.logits = x;
            c.y = y;
            c.accumulate = accumulate;
            c.plain = accumulate == mapped && y == dtype::fp32;
            if (mapped) c.swiglu = {.alpha = 1.5f, .limit = 2.0f, .up_offset = 0.25f};
            test_case(to, stream, c, common);
          }
    to.line("moe_mlp: input %d, with and without map, bf16 and fp16, three formats of y", static_cast<int>(input));
  }
}

void test_sizes(report& to, const gpu_test::stream_owner& stream, const device_buffer<std::uint8_t>& common) {
  constexpr std::int64_t tokens[] = {0, 1, 2, 7, 16, 33, 64, 65, 130};
  struct size {
    std::int64_t hidden, intermediate;
    int experts, topk;
  };
  unsigned turn = 0;
  for (const size& s :
       {size{96, 96, 4, 1}, size{160, 96, 4, 4}, size{320, 320, 8, 4}, size{128, 256, 32, 4}, size{288, 192, 32, 8}}) {
    for (const std::int64_t t : tokens) {
      moe_case c{.tokens = t, .hidden = s.hidden, .intermediate = s.intermediate, .experts = s.experts, .topk = s.topk};
      c.input = gpu_test::input_kind{static_cast<int>(turn % 3)};
      c.mapped = turn % 4 >= 2;
      c.x = turn % 5 == 4 ? dtype::fp16 : dtype::bf16;
      c.between = turn % 7 == 5 ? dtype::fp16 : dtype::bf16;
      c.y = turn % 8 == 7 ? dtype::fp32 : c.x;
      c.accumulate = turn % 11 == 3;
      ++turn;
      test_case(to, stream, c, common);
    }
    to.line("moe_mlp: hidden %lld, intermediate %lld, %d experts, top-%d, 0 to 130 tokens",
            static_cast<long long>(s.hidden), static_cast<long long>(s.intermediate), s.experts, s.topk);
  }
}

/// Layers in a row that overlap, share a workspace, and take each the last one's result; behind a copy.
void test_chain(report& to, const gpu_test::stream_owner& stream) {
  for (const std::int64_t tokens : {1, 9, 100}) {
    const moe_case c{.tokens = tokens, .hidden = 256, .intermediate = 192, .experts = 16, .topk = 4};
    const gpu_test::moe_layer layer(c, 5);
    gpu_test::moe_setup setup(c, layer);
    setup.upload(make_input(c, 6));
    cuda::moe_args args = setup.args();
    const cuda::moe_flags flags = cuda::choose_moe(args).flags();
    const device_buffer<std::uint8_t> workspace(cuda::moe_workspace_bytes(args, flags));
    to.check(cuda::prepare_workspace(workspace.data(), workspace.size(), stream).code == status_code::ok, "chain");
    args.workspace = workspace.data();
    args.workspace_bytes = workspace.size();
    const std::size_t size = static_cast<std::size_t>(tokens * c.hidden);
    const device_buffer<std::uint16_t> rows[] = {device_buffer<std::uint16_t>(size),
                                                 device_buffer<std::uint16_t>(size)};
    args.x.row_stride = args.y.row_stride = c.hidden;
    const device_buffer<std::uint16_t> start(gpu_test::random_rows(c, 7));
    constexpr int layers = 6;
    const auto enqueue = [&](cudaStream_t s, bool one_by_one) {
      gpu_test::require(cudaMemcpyAsync(rows[0].data(), start.data(), start.bytes(), cudaMemcpyDeviceToDevice, s),
                        "copy");
      for (int i = 0; i < layers; ++i) {
        args.x.data = rows[i % 2].data();
        args.y.data = rows[1 - i % 2].data();
        to.check(cuda::moe_mlp(args, flags, s, {.overlap = !one_by_one}).code == status_code::ok, "chain: refused");
        if (one_by_one) stream.wait();
      }
    };
    enqueue(stream, true);
    const auto wanted = rows[layers % 2].download(to, "y of the chain");
    const gpu_test::captured_graph graph(stream, [&](cudaStream_t s) { enqueue(s, false); });
    for (int repeat = 0; repeat < 20; ++repeat) {
      graph.replay(stream);
      stream.wait();
      to.check(same_bytes(rows[layers % 2].download(to, "y of the chain"), wanted), "chain of %lld tokens differs",
               static_cast<long long>(tokens));
    }
  }
  to.line("moe_mlp: six layers in a row, overlapped, behind a copy");
}

/// Two layers on two streams at a time.
void test_streams(report& to) {
  const moe_case cases[] = {
      {.tokens = 20, .hidden = 320, .intermediate = 320, .experts = 8, .topk = 4},
      {.tokens = 3, .hidden = 256, .intermediate = 160, .experts = 32, .topk = 4, .y = dtype::fp32}};
  const gpu_test::stream_owner streams[2];
  const gpu_test::moe_layer layers[] = {gpu_test::moe_layer(cases[0], 8), gpu_test::moe_layer(cases[1], 9)};
  gpu_test::moe_setup setups[] = {gpu_test::moe_setup(cases[0], layers[0]), gpu_test::moe_setup(cases[1], layers[1])};
  cuda::moe_args args[2];
  cuda::moe_flags flags[2];
  std::deque<device_buffer<std::uint8_t>> workspaces;
  for (std::size_t i = 0; i < 2; ++i) {
    setups[i].upload(make_input(cases[i], 10));
    args[i] = setups[i].args();
    flags[i] = cuda::choose_moe(args[i]).flags();
    workspaces.emplace_back(cuda::moe_workspace_bytes(args[i], flags[i]));
    args[i].workspace = workspaces[i].data();
    args[i].workspace_bytes = workspaces[i].size();
    to.check(cuda::prepare_workspace(args[i].workspace, args[i].workspace_bytes, streams[i]).code == status_code::ok &&
                 cuda::moe_mlp(args[i], flags[i], streams[i]).code == status_code::ok,
             "streams: refused");
    streams[i].wait();
  }
  const bytes wanted[] = {setups[0].download_y(to), setups[1].download_y(to)};
  for (int repeat = 0; repeat < 50; ++repeat) {
    for (std::size_t i = 0; i < 2; ++i)
      to.check(cuda::moe_mlp(args[i], flags[i], streams[i]).code == status_code::ok, "streams: refused");
    if (repeat % 10 != 9) continue;
    for (std::size_t i = 0; i < 2; ++i) {
      streams[i].wait();
      to.check(same_bytes(setups[i].download_y(to), wanted[i]), "streams: result %zu differs", i);
    }
  }
  to.line("moe_mlp: two streams at a time");
}

void test_refusals(report& to, const gpu_test::stream_owner& stream) {
  const moe_case c{.tokens = 4, .hidden = 96, .intermediate = 64, .experts = 4, .topk = 2};
  const gpu_test::moe_layer layer(c, 1);
  gpu_test::moe_setup setup(c, layer);
  setup.upload(make_input(c, 2));
  cuda::moe_args good = setup.args();
  const cuda::moe_flags flags = cuda::choose_moe(good).flags();
  const device_buffer<std::uint8_t> workspace(cuda::moe_workspace_bytes(good, flags));
  good.workspace = workspace.data();
  good.workspace_bytes = workspace.size();
  const bytes y_before = setup.download_y(to), workspace_before = workspace.download(to, "workspace");
  const auto refused = [&](const char* what, auto change, status_code code = status_code::invalid_argument) {
    cuda::moe_args bad = good;
    change(bad);
    const cuda::launch_status status = cuda::moe_mlp(bad, flags, stream);
    to.check(status.code == code && status.native_error == 0, "refusal: %s: %s", what,
             std::string(name_of(status.code)).c_str());
  };
  const std::int32_t* const some = reinterpret_cast<const std::int32_t*>(workspace.data());
  refused("tokens", [](auto& a) { a.tokens = -1; });
  refused("many tokens", [](auto& a) { a.tokens = a.x.rows = a.y.rows = std::int64_t{1} << 31; });
  refused("hidden", [](auto& a) { a.hidden = 0; });
  refused("odd hidden", [](auto& a) { a.hidden = 80; });
  refused("intermediate", [](auto& a) { a.intermediate = -32; });
  refused("experts", [](auto& a) { a.experts = 0; });
  refused("topk", [](auto& a) { a.topk = 0; });
  refused("large topk", [](auto& a) { a.topk = 5; });
  refused("local experts", [](auto& a) { a.local_experts = 3; });
  refused("no local experts", [&](auto& a) { a.expert_map = some; });
  refused("no input", [](auto& a) { a.logits.data = nullptr; });
  refused("two inputs", [&](auto& a) { a.given.expert_index = some; });
  refused("two other inputs", [&](auto& a) { a.rows.expert_offsets = some; });
  refused("rows without gather", [&](auto& a) {
    a.logits.data = nullptr;
    a.rows = {.expert_offsets = some, .scatter_indx = some};
  });
  refused("x", [](auto& a) { a.x.data = nullptr; });
  refused("rows of x", [](auto& a) { a.x.rows = 3; });
  refused("rows of y", [](auto& a) { a.y.rows = 5; });
  refused("stride of y", [](auto& a) { a.y.row_stride = 95; });
  refused("y", [](auto& a) { a.y.data = nullptr; });
  refused(
      "format of y", [](auto& a) { a.y.type = dtype::fp8_e4m3; }, status_code::unsupported_dtype);
  refused(
      "between", [](auto& a) { a.between = dtype::fp32; }, status_code::unsupported_dtype);
  refused("weights", [](auto& a) { a.down.data = nullptr; });
  refused("workspace", [](auto& a) { a.workspace = nullptr; });
  refused("workspace bytes", [](auto& a) { --a.workspace_bytes; });
  refused("workspace address", [](auto& a) { a.workspace = static_cast<std::uint8_t*>(a.workspace) + 16; });
  stream.wait();
  to.check(
      same_bytes(setup.download_y(to), y_before) && same_bytes(workspace.download(to, "workspace"), workspace_before),
      "a refused call writes");
  to.line("moe_mlp: refusals");
}

// --- golden layers
template <class T>
std::vector<T> tensor(const bench::safetensors& file, const char* name) {
  const bench::tensor_info* found = file.find(name);
  if (found == nullptr) return {};
  auto values = bench::copy_as<T>(*found);
  return values ? *values : std::vector<T>{};
}

floats wide_tensor(const bench::safetensors& file, const char* name) {
  floats wide;
  for (const std::uint16_t code : tensor<std::uint16_t>(file, name)) wide.push_back(bf16_to_float(code));
  return wide;
}

void test_golden(report& to, const gpu_test::stream_owner& stream, const std::string& folder) {
  for (const char* file_name : {"moe_layer_h320_e8.safetensors", "moe_layer_h320_e8_skew.safetensors"}) {
    const auto opened = bench::safetensors_file::open(folder + "/" + file_name);
    if (!to.check(opened.has_value(), "%s", opened ? "" : opened.error().c_str())) continue;
    const bench::safetensors& file = opened->contents;
    const auto x = tensor<std::uint16_t>(file, "hidden_states");
    const floats wide_x = wide_tensor(file, "hidden_states"), router = wide_tensor(file, "router_weight"),
                 router_bias = wide_tensor(file, "router_bias"), expected = tensor<float>(file, "expected_output");
    moe_case c{.tokens = static_cast<std::int64_t>(x.size()) / 320,
               .hidden = 320,
               .intermediate = 320,
               .experts = 8,
               .topk = 4};
    if (!to.check(c.tokens > 0 && expected.size() == x.size() && router.size() == 8 * 320, "%s: tensors", file_name))
      continue;
    const gpu_test::moe_layer layer(
        c, {tensor<std::uint8_t>(file, "gate_up_proj_blocks"), tensor<std::uint8_t>(file, "gate_up_proj_scales")},
        {tensor<std::uint8_t>(file, "down_proj_blocks"), tensor<std::uint8_t>(file, "down_proj_scales")},
        wide_tensor(file, "gate_up_proj_bias"), wide_tensor(file, "down_proj_bias"));
    moe_input input{.x = wide_x};
    for (std::size_t t = 0; t < static_cast<std::size_t>(c.tokens); ++t)
      for (std::size_t e = 0; e < 8; ++e) {
        double sum = static_cast<double>(router_bias[e]);
        for (std::size_t i = 0; i < 320; ++i)
          sum += static_cast<double>(wide_x[t * 320 + i]) * static_cast<double>(router[e * 320 + i]);
        input.logits.push_back(static_cast<float>(sum));
      }
    for (const dtype y : {dtype::bf16, dtype::fp32}) {
      c.y = y;
      gpu_test::moe_setup setup(c, layer);
      setup.upload(input);
      cuda::moe_args args = setup.args();
      const cuda::moe_flags flags = cuda::choose_moe(args).flags();
      const device_buffer<std::uint8_t> workspace(cuda::moe_workspace_bytes(args, flags));
      args.workspace = workspace.data();
      args.workspace_bytes = workspace.size();
      to.check(cuda::prepare_workspace(args.workspace, args.workspace_bytes, stream).code == status_code::ok &&
                   cuda::moe_mlp(args, flags, stream).code == status_code::ok,
               "%s: refused", file_name);
      stream.wait();
      const double error = gpu_test::relative_error(std::vector<double>(expected.begin(), expected.end()),
                                                    setup.values_of(setup.download_y(to)));
      to.check(error <= 4e-3, "%s: relative error %.2e", file_name, error);
      to.line("moe_mlp: %s, y %s, relative error %.2e", file_name, std::string(name_of(y)).c_str(), error);
    }
  }
}

// --- times
/// Random packed weights made where they lie: any codes, scales of 2^-9 to 2^-6.
template <int Unused>
__global__ void fill_weights(std::uint32_t* words, std::int64_t count, std::uint32_t seed) {
  constexpr int atom_words = atom_of(weight_layout::mma_m16k64).bytes / 4;
  constexpr int value_words = atom_of(weight_layout::mma_m16k64).value_bytes / 4;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += std::int64_t{gridDim.x} * blockDim.x) {
    auto bits = static_cast<std::uint32_t>(i) * 0x9E37'79B9u + seed;
    bits = (bits ^ bits >> 16) * 0x7FEB'352Du;
    bits = (bits ^ bits >> 15) * 0x846C'A68Bu;
    words[i] = i % atom_words < value_words ? bits ^ bits >> 16 : 0x7676'7676u + (bits & 0x0303'0303u);
  }
}

void print_times(const gpu_test::stream_owner& stream) {
  constexpr std::int64_t width = 2880;
  constexpr int sets = 8;  // of inputs, in turn: few tokens touch few experts, whose weights would stay in the L2
  for (const int experts : {32, 128}) {
    const std::int64_t gate_up_bytes = experts * bytes_per_expert(weight_layout::mma_m16k64, 2 * width, width);
    const std::int64_t down_bytes = experts * bytes_per_expert(weight_layout::mma_m16k64, width, width);
    const device_buffer<std::uint32_t> gate_up(static_cast<std::size_t>(gate_up_bytes / 4)),
        down(static_cast<std::size_t>(down_bytes / 4));
    for (const auto* weights : {&gate_up, &down})
      gpu_test::require(cuda::launch_kernel(fill_weights<0>, {.grid = dim3(1024), .block = dim3(256)}, stream, {},
                                            weights->data(), static_cast<std::int64_t>(weights->size()), 7u),
                        "fill_weights");
    const device_buffer<float> gate_up_bias(floats(static_cast<std::size_t>(experts * 2 * width), 0.1f)),
        down_bias(floats(static_cast<std::size_t>(experts * width), 0.1f));
    std::printf("moe_mlp, hidden = intermediate = 2880, %d experts, top-4, bf16, us, graph replay\n", experts);
    std::printf("%8s %10s %10s %10s %10s   %s\n", "tokens", "layer", "matmuls", "the rest", "given", "tiles");
    for (const std::int64_t tokens : {1, 4, 16, 64, 512, 4096}) {
      moe_case c{.tokens = tokens, .hidden = width, .intermediate = width, .experts = experts, .topk = 4};
      const auto rows = static_cast<std::size_t>(4 * tokens);
      const device_buffer<std::uint16_t> x(gpu_test::random_rows(c, 1)), y(static_cast<std::size_t>(tokens * width));
      std::mt19937 random(11);
      std::normal_distribution<float> normal;
      std::deque<device_buffer<float>> logits;
      std::deque<device_buffer<std::uint8_t>> workspaces;
      std::vector<cuda::moe_args> args, given;
      std::vector<detail::moe_plan> plans;
      cuda::moe_flags flags;
      for (int i = 0; i < sets; ++i) {
        floats values(static_cast<std::size_t>(tokens * experts));
        for (float& value : values) value = normal(random);
        logits.emplace_back(values);
        cuda::moe_args a{.tokens = tokens,
                         .hidden = width,
                         .intermediate = width,
                         .experts = experts,
                         .topk = 4,
                         .x = {.data = x.data(), .rows = tokens, .row_stride = width},
                         .logits = {logits.back().data(), dtype::fp32, experts},
                         .gate_up = {.data = gate_up.data(), .layout = weight_layout::mma_m16k64},
                         .down = {.data = down.data(), .layout = weight_layout::mma_m16k64},
                         .gate_up_bias = gate_up_bias.data(),
                         .down_bias = down_bias.data(),
                         .y = {.data = y.data(), .rows = tokens, .row_stride = width}};
        flags = cuda::choose_moe(a).flags();
        workspaces.emplace_back(cuda::moe_workspace_bytes(a, flags));
        a.workspace = workspaces.back().data();
        a.workspace_bytes = workspaces.back().size();
        static_cast<void>(cuda::prepare_workspace(a.workspace, a.workspace_bytes, stream));
        const cuda::launch_status status = cuda::moe_mlp(a, flags, stream);
        if (status.code != status_code::ok) {
          std::printf("refused: %s (%s), native error %d\n", std::string(name_of(status.code)).c_str(),
                      std::string(status.reason.subject).c_str(), status.native_error);
          return;
        }
        stream.wait();
        args.push_back(a);
        // The choices of the first layer stay in its workspace: the matmuls and the other form of input use them.
        using backend = detail::cuda_backend<cuda::full_catalogue>;
        const detail::moe_plan sizes = detail::plan_moe(a, 0, nullptr, backend::most_blocks);
        plans.push_back(
            detail::plan_moe(a, detail::moe_matmul_bytes(backend{}, sizes, flags), a.workspace, backend::most_blocks));
      }
      std::deque<device_buffer<std::int32_t>> index;
      std::deque<device_buffer<float>> weight;
      for (const detail::moe_plan& plan : plans) {
        index.emplace_back(rows);
        weight.emplace_back(rows);
        gpu_test::require(
            cudaMemcpy(index.back().data(), plan.routing.expert_index, 4 * rows, cudaMemcpyDeviceToDevice), "copy");
        gpu_test::require(
            cudaMemcpy(weight.back().data(), plan.routing.expert_weight, 4 * rows, cudaMemcpyDeviceToDevice), "copy");
        cuda::moe_args a = args[index.size() - 1];
        a.logits = {};
        a.given = {index.back().data(), weight.back().data()};
        given.push_back(a);
      }
      const int in_graph = tokens > 512 ? sets : 4 * sets;
      const auto time_of = [&](auto enqueue) {
        std::size_t turn = 0;
        return gpu_test::median_us(
            stream, [&](cudaStream_t s) { enqueue(s, turn++ % sets); }, in_graph, 5);
      };
      // In turns: what a board can do changes with what it has just done, by more than the difference is.
      constexpr int rounds = 9;
      std::vector<double> layers, pairs, rests, others;
      for (int round = 0; round < rounds; ++round) {
        layers.push_back(
            time_of([&](cudaStream_t s, std::size_t i) { static_cast<void>(cuda::moe_mlp(args[i], flags, s)); }));
        // With the routing that the layer has left in its workspace, where the other form of input puts other things.
        pairs.push_back(time_of([&](cudaStream_t s, std::size_t i) {
          static_cast<void>(cuda::launch(plans[i].gate_up, flags.gate_up, s, {.overlap = true}));
          static_cast<void>(cuda::launch(plans[i].down, flags.down, s, {.overlap = true}));
        }));
        others.push_back(
            time_of([&](cudaStream_t s, std::size_t i) { static_cast<void>(cuda::moe_mlp(given[i], flags, s)); }));
        rests.push_back(layers.back() - pairs.back());
      }
      const auto median = [](const std::vector<double>& of) { return tilefit_gpu::summarise(of).median; };
      std::printf("%8lld %10.2f %10.2f %10.2f %10.2f   %d x %d x %d / %d and %d x %d x %d / %d\n",
                  static_cast<long long>(tokens), median(layers), median(pairs), median(rests), median(others),
                  flags.gate_up.block_m, flags.gate_up.block_n, flags.gate_up.block_k, flags.gate_up.split_k,
                  flags.down.block_m, flags.down.block_n, flags.down.block_k, flags.down.split_k);
      std::fflush(stdout);
    }
  }
}

std::string golden_folder(int argc, char** argv) {
  for (int i = 1; i + 1 < argc; ++i)
    if (std::string_view("--golden") == argv[i]) return argv[i + 1];
  return TILEFIT_GOLDEN_DIR;
}

}  // namespace

int main(int argc, char** argv) {
  if (!gpu_test::has_device()) return gpu_test::exit_without_device;
  const gpu_test::stream_owner stream;
  if (gpu_test::has_option(argc, argv, "--bench")) {
    print_times(stream);
    return 0;
  }
  report checks("moe_mlp_test");
  const device_buffer<std::uint8_t> common(std::size_t{16} << 20);
  gpu_test::require(cudaMemset(common.data(), 0, cuda::zeroed_workspace_bytes), "cudaMemset");
  test_refusals(checks, stream);
  test_combinations(checks, stream, common);
  test_sizes(checks, stream, common);
  test_golden(checks, stream, golden_folder(argc, argv));
  test_streams(checks);
  test_chain(checks, stream);
  static_cast<void>(common.download(checks, "common workspace"));
  return checks.finish();
}
