// Routing on the device against choose_experts and sort_rows: indices exactly, weights to 1e-6.
// --bench prints times; --small leaves the largest case out.
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "../support/routing_cases.hpp"
#include "support.cuh"
#include "tilefit/kernels/routing.cuh"
#include "tilefit/routing.hpp"

using namespace tilefit;
using namespace routing_test;
using gpu_test::device_buffer;
using gpu_test::report;
using gpu_test::same_bytes;

namespace {

void test_case(report& to, cudaStream_t stream, const routing_case& c) {
  const std::string name = text_of(c);
  std::mt19937 random(static_cast<unsigned>(c.shape.tokens * 1000 + c.shape.experts * 10 + c.shape.topk));
  const routing_shape& shape = c.shape;
  const auto rows = static_cast<std::size_t>(shape.rows());
  const local_map map = make_map(c.map, shape.experts);
  const std::int64_t stride = shape.experts + 3;
  floats logits = make_logits(shape, random);
  const std::vector<std::uint8_t> encoded = encode(c.type, logits, shape, stride);
  routed host;
  host.expert_index.resize(rows);
  host.expert_weight.resize(rows);
  if (c.given) make_choices(shape, random, host);

  const device_buffer<std::uint8_t> logits_in(encoded);
  const device_buffer<std::int32_t> given_index(host.expert_index), map_in(map.map);
  const device_buffer<float> given_weight(host.expert_weight);
  device_buffer<std::int32_t> index(rows), histogram(static_cast<std::size_t>(map.local)),
      offsets(static_cast<std::size_t>(map.local) + 1), gather(rows), scatter(rows);
  device_buffer<float> weight(rows), gammas(rows);
  cuda::routing_args args{.shape = shape,
                          .local_experts = map.map.empty() ? 0 : map.local,
                          .expert_map = map.map.empty() ? nullptr : map_in.data(),
                          .expert_index = index.data(),
                          .expert_weight = weight.data(),
                          .histogram = histogram.data(),
                          .offsets = offsets.data(),
                          .gather_indx = gather.data(),
                          .scatter_indx = scatter.data(),
                          .gammas = c.gammas ? gammas.data() : nullptr};
  if (c.given)
    args.given = {given_index.data(), c.gammas ? given_weight.data() : nullptr};
  else
    args.logits = {logits_in.data(), c.type, stride};
  const device_buffer<std::uint8_t> scratch(cuda::routing_scratch_bytes(args));
  args.scratch = scratch.size() == 0 ? nullptr : scratch.data();
  args.scratch_bytes = scratch.size();

  const auto fetch = [&] {
    routed got;
    got.expert_index = index.download(to, "expert_index");
    got.expert_weight = weight.download(to, "expert_weight");
    got.histogram = histogram.download(to, "histogram");
    got.offsets = offsets.download(to, "offsets");
    got.gather = gather.download(to, "gather_indx");
    got.scatter = scatter.download(to, "scatter_indx");
    got.gammas = gammas.download(to, "gammas");
    return got;
  };
  const auto poison = [&] {
    for (const auto buffer : {&index, &histogram, &offsets, &gather, &scatter}) buffer->fill_with_poison();
    for (const auto buffer : {&weight, &gammas}) buffer->fill_with_poison();
  };
  const routed untouched = fetch();

  const cuda::launch_status status = cuda::route(args, stream, c.options);
  to.check(status.code == (shape.tokens == 0 ? status_code::empty : status_code::ok), "%s: answer %s, native error %d",
           name.c_str(), std::string(name_of(status.code)).c_str(), status.native_error);
  gpu_test::require(cudaStreamSynchronize(stream), name.c_str());
  const routed got = fetch();
  static_cast<void>(scratch.download(to, "scratch"));

  if (c.given) {
    to.check(same_bytes(got.expert_index, untouched.expert_index), "%s: expert_index written", name.c_str());
    to.check(same_bytes(got.expert_weight, untouched.expert_weight), "%s: expert_weight written", name.c_str());
  } else {
    const std::string wrong = wrong_weights(c, logits, got.expert_index, got.expert_weight);
    to.check(wrong.empty(), "%s: %s", name.c_str(), wrong.c_str());
    host.expert_index = got.expert_index;
    host.expert_weight = got.expert_weight;
  }
  to.check(sort_on_host(c, map, host), "%s: the reference refuses", name.c_str());
  to.check(got.histogram == host.histogram, "%s: histogram", name.c_str());
  to.check(got.offsets == host.offsets, "%s: offsets", name.c_str());
  to.check(got.gather == host.gather, "%s: gather_indx", name.c_str());
  to.check(got.scatter == host.scatter, "%s: scatter_indx", name.c_str());
  to.check(same_bytes(got.gammas, c.gammas ? host.gammas : untouched.gammas), "%s: gammas", name.c_str());

  // Again, from a graph, into poisoned memory: the same bits.
  poison();
  const gpu_test::captured_graph graph(
      stream, [&](cudaStream_t s) { static_cast<void>(cuda::route(args, s, {.overlap = !c.options.overlap})); });
  graph.replay(stream);
  gpu_test::require(cudaStreamSynchronize(stream), name.c_str());
  const routed again = fetch();
  to.check(same_bytes(again.expert_index, got.expert_index) && same_bytes(again.expert_weight, got.expert_weight) &&
               same_bytes(again.histogram, got.histogram) && same_bytes(again.offsets, got.offsets) &&
               same_bytes(again.gather, got.gather) && same_bytes(again.scatter, got.scatter) &&
               same_bytes(again.gammas, got.gammas),
           "%s: a second run, replayed from a graph, differs", name.c_str());
}

void test_grid(report& to, cudaStream_t stream) {
  constexpr std::int64_t tokens[] = {0, 1, 2, 7, 8, 63, 64, 65, 129, 519, 520, 1024, 4097};
  unsigned turn = 0;
  for (const int experts : {1, 4, 8, 32, 128, 256, 384})
    for (const int topk : {1, 2, 4, 8}) {
      if (topk > experts) continue;
      for (const std::int64_t t : tokens) {
        const routing_shape shape{t, experts, topk};
        ++turn;
        test_case(to, stream, {.shape = shape});
        test_case(to, stream,
                  {.shape = shape,
                   .type = turn % 2 ? dtype::bf16 : dtype::fp16,
                   .map = all_maps[1 + turn % 4],
                   .gammas = turn % 3 != 0,
                   .options = {.overlap = true}});
        test_case(to, stream, {.shape = shape, .map = all_maps[turn % 5], .given = true, .gammas = turn % 5 != 0});
      }
      to.line("routing: %d experts, top-%d, 0 to 4,097 tokens", experts, topk);
    }
}

void test_limits(report& to, cudaStream_t stream, bool small) {
  for (const std::int64_t tokens : {3, 70, 300})
    for (const map_kind map : {map_kind::none, map_kind::half_elsewhere, map_kind::turned}) {
      test_case(to, stream, {.shape = {tokens, 1024, 32}, .map = map});
      test_case(to, stream, {.shape = {tokens, 1024, 32}, .map = map, .given = true});
      test_case(to, stream, {.shape = {tokens, 300, 3}, .type = dtype::bf16, .map = map});
      test_case(to, stream, {.shape = {tokens, 33, 9}, .type = dtype::fp16, .map = map});
      test_case(to, stream, {.shape = {tokens, 32, 32}, .map = map});
    }
  to.line("routing: up to 1,024 experts, top-32");
  if (small) return;
  test_case(to, stream, {.shape = {65536, 384, 8}, .type = dtype::bf16});
  test_case(to, stream, {.shape = {65536, 384, 8}, .map = map_kind::half_elsewhere, .given = true});
  test_case(to, stream, {.shape = {600000, 16, 16}, .given = true});  // more than the wished number of blocks
  to.line("routing: 65,536 tokens, 384 experts, top-8; 9,600,000 rows");
}

void test_refusals(report& to, cudaStream_t stream) {
  const device_buffer<std::int32_t> indices(4096);
  const device_buffer<float> weights(4096);
  const auto before = indices.download(to, "indices");
  const cuda::routing_args good{.shape = {8, 32, 4},
                                .logits = {weights.data(), dtype::fp32, 32},
                                .expert_index = indices.data(),
                                .expert_weight = weights.data() + 2048,
                                .histogram = indices.data() + 512,
                                .offsets = indices.data() + 1024,
                                .gather_indx = indices.data() + 1536,
                                .scatter_indx = indices.data() + 2048};
  const auto refused = [&](const char* what, auto change, status_code code = status_code::invalid_argument) {
    cuda::routing_args bad = good;
    change(bad);
    const cuda::launch_status status = cuda::route(bad, stream);
    to.check(status.code == code && status.native_error == 0 && status.reason.status == code &&
                 !status.reason.subject.empty(),
             "refusal: %s", what);
  };
  refused("tokens", [](auto& a) { a.shape.tokens = -1; });
  refused("experts", [](auto& a) { a.shape.experts = 1025; });
  refused("no experts", [](auto& a) { a.shape.experts = 0; });
  refused("topk", [](auto& a) { a.shape.topk = 0; });
  refused("topk over experts", [](auto& a) { a.shape.topk = 33; });
  refused("rows over int32", [](auto& a) { a.shape.tokens = std::int64_t{1} << 30; });
  refused("stride", [](auto& a) { a.logits.row_stride = 31; });
  refused(
      "type", [](auto& a) { a.logits.type = dtype::fp8_e4m3; }, status_code::unsupported_dtype);
  refused("no logits", [](auto& a) { a.logits.data = nullptr; });
  refused("both", [](auto& a) { a.given.expert_index = a.expert_index; });
  refused("local experts", [](auto& a) { a.local_experts = 31; });
  refused("no local experts", [](auto& a) { a.expert_map = a.expert_index; });
  refused("offsets", [](auto& a) { a.offsets = nullptr; });
  refused("gather", [](auto& a) { a.gather_indx = nullptr; });
  refused("scatter", [](auto& a) { a.scatter_indx = nullptr; });
  refused("index", [](auto& a) { a.expert_index = nullptr; });
  refused("weight", [](auto& a) { a.expert_weight = nullptr; });
  refused("scratch", [](auto& a) { a.shape.tokens = 65; });
  refused("scratch bytes", [](auto& a) {
    a.shape.tokens = 65;
    a.scratch = a.gather_indx;
    a.scratch_bytes = cuda::routing_scratch_bytes(a) - 1;
  });
  refused("gammas without weights", [](auto& a) {
    a.given.expert_index = a.expert_index;
    a.logits = {};
    a.gammas = a.expert_weight;
  });
  gpu_test::require(cudaStreamSynchronize(stream), "refusals");
  to.check(same_bytes(indices.download(to, "indices"), before), "a refused call writes");
  to.line("routing: refusals");
}

/// Three routings in a row that overlap and share their memory: the last one's result.
void test_chain(report& to, cudaStream_t stream) {
  for (const std::int64_t tokens : {8, 64, 2048}) {
    const routing_shape shape{tokens, 128, 4};
    const auto rows = static_cast<std::size_t>(shape.rows());
    std::mt19937 random(5);
    const floats first = make_logits(shape, random), second = make_logits(shape, random);
    const device_buffer<float> logits[] = {device_buffer<float>(first), device_buffer<float>(second)};
    const device_buffer<std::int32_t> index(rows), offsets(129), gather(rows), scatter(rows);
    const device_buffer<float> weight(rows);
    cuda::routing_args args{.shape = shape,
                            .logits = {.type = dtype::fp32, .row_stride = 128},
                            .expert_index = index.data(),
                            .expert_weight = weight.data(),
                            .offsets = offsets.data(),
                            .gather_indx = gather.data(),
                            .scatter_indx = scatter.data()};
    const device_buffer<std::uint8_t> scratch(cuda::routing_scratch_bytes(args));
    args.scratch = scratch.size() == 0 ? nullptr : scratch.data();
    args.scratch_bytes = scratch.size();
    const auto run = [&](cudaStream_t s, int which, bool overlap) {
      args.logits.data = logits[which].data();
      const cuda::launch_status status = cuda::route(args, s, {.overlap = overlap});
      to.check(status.code == status_code::ok, "chain: native error %d", status.native_error);
    };
    for (const int last : {0, 1}) {
      run(stream, last, false);
      gpu_test::require(cudaStreamSynchronize(stream), "chain");
      const ints wanted_scatter = scatter.download(to, "scatter"), wanted_offsets = offsets.download(to, "offsets");
      const gpu_test::captured_graph graph(stream, [&](cudaStream_t s) {
        for (int i = 0; i < 8; ++i) run(s, i % 2 == 0 ? 1 - last : last, true);
      });
      for (int repeat = 0; repeat < 20; ++repeat) {
        graph.replay(stream);
        gpu_test::require(cudaStreamSynchronize(stream), "chain");
        to.check(scatter.download(to, "scatter") == wanted_scatter && offsets.download(to, "offsets") == wanted_offsets,
                 "chain of %lld tokens: overlapped runs differ", static_cast<long long>(tokens));
      }
    }
  }
  to.line("routing: eight in a row, overlapped");
}

void bench(const gpu_test::stream_owner& stream) {
  std::printf("routing, top-4, fp32 logits, graph replay, us each; empty kernel %.2f\n",
              gpu_test::empty_kernel_us(stream));
  std::printf("%8s %8s %10s %10s %10s %12s\n", "tokens", "experts", "logits", "overlap", "given", "given ovl.");
  const auto measure = [&](const routing_shape& shape) {
    const auto rows = static_cast<std::size_t>(shape.rows());
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    floats values(static_cast<std::size_t>(shape.tokens * shape.experts));
    for (float& value : values) value = normal(random);
    const device_buffer<float> logits(values), weight(rows), gammas(rows);
    const device_buffer<std::int32_t> index(rows), histogram(static_cast<std::size_t>(shape.experts)),
        offsets(static_cast<std::size_t>(shape.experts) + 1), gather(rows), scatter(rows);
    cuda::routing_args args{.shape = shape,
                            .logits = {logits.data(), dtype::fp32, shape.experts},
                            .expert_index = index.data(),
                            .expert_weight = weight.data(),
                            .histogram = histogram.data(),
                            .offsets = offsets.data(),
                            .gather_indx = gather.data(),
                            .scatter_indx = scatter.data(),
                            .gammas = gammas.data()};
    const device_buffer<std::uint8_t> scratch(cuda::routing_scratch_bytes(args));
    args.scratch = scratch.size() == 0 ? nullptr : scratch.data();
    args.scratch_bytes = scratch.size();
    double times[4] = {};
    for (int variant = 0; variant < 4; ++variant) {
      if (variant == 2) {
        args.logits = {};
        args.given = {index.data(), weight.data()};
      }
      times[variant] = gpu_test::median_us(
          stream, [&](cudaStream_t s) { static_cast<void>(cuda::route(args, s, {.overlap = variant % 2 == 1})); });
    }
    std::printf("%8lld %8d %10.2f %10.2f %10.2f %12.2f\n", static_cast<long long>(shape.tokens), shape.experts,
                times[0], times[1], times[2], times[3]);
  };
  for (const int experts : {32, 128})
    for (const std::int64_t tokens : {1, 8, 64, 512, 8192}) measure({tokens, experts, 4});
  measure({64, 256, 8});
  measure({65536, 128, 4});
  measure({65536, 384, 8});
}

}  // namespace

int main(int argc, char** argv) {
  if (!gpu_test::has_device()) return gpu_test::exit_without_device;
  const gpu_test::stream_owner stream;
  if (gpu_test::has_option(argc, argv, "--bench")) {
    bench(stream);
    return 0;
  }
  report checks("routing_test");
  test_refusals(checks, stream);
  test_limits(checks, stream, gpu_test::has_option(argc, argv, "--small"));
  test_grid(checks, stream);
  test_chain(checks, stream);
  return checks.finish();
}
