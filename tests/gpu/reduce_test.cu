// Sums over topk on the device: against double, and bit for bit against fp32 sums in the promised order; rows of zeros.
// --bench prints times and GB/s.
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "support.cuh"
#include "tilefit/float_formats.hpp"
#include "tilefit/kernels/reduce_topk.cuh"

using namespace tilefit;
using gpu_test::device_buffer;
using gpu_test::report;
using gpu_test::same_bytes;

namespace {

using bytes = std::vector<std::uint8_t>;
using floats = std::vector<float>;

enum class presence { all, byte_map, experts, experts_and_map };

struct reduce_case {
  std::int64_t tokens = 0;
  int topk = 1;
  std::int64_t columns = 0;
  dtype type = dtype::bf16;
  presence present = presence::all;
  bool accumulate = false;
  std::int64_t gap = 0;          ///< elements between rows of y
  std::size_t parts_offset = 0;  ///< bytes by which arrays miss their alignment
  std::size_t y_offset = 0;
};

std::string text_of(const reduce_case& c) {
  return std::to_string(c.tokens) + " tokens, top-" + std::to_string(c.topk) + ", " + std::to_string(c.columns) +
         " columns, " + std::string(name_of(c.type)) + ", presence " + std::to_string(static_cast<int>(c.present)) +
         (c.accumulate ? ", accumulate" : "");
}

float read(dtype type, const std::uint8_t* from) {
  if (type == dtype::fp32) {
    float value = 0.0f;
    std::memcpy(&value, from, 4);
    return value;
  }
  std::uint16_t code = 0;
  std::memcpy(&code, from, 2);
  return type == dtype::bf16 ? bf16_to_float(code) : fp16_to_float(code);
}

void write(dtype type, float value, std::uint8_t* to) {
  if (type == dtype::fp32) {
    std::memcpy(to, &value, 4);
    return;
  }
  const std::uint16_t code = type == dtype::bf16 ? float_to_bf16(value) : float_to_fp16(value);
  std::memcpy(to, &code, 2);
}

void test_case(report& to, cudaStream_t stream, const reduce_case& c) {
  constexpr int experts = 16;
  const std::string name = text_of(c);
  std::mt19937 random(static_cast<unsigned>(c.tokens * 100 + c.topk + c.columns));
  std::normal_distribution<float> normal;
  const auto slots = static_cast<std::size_t>(c.tokens * c.topk);
  const auto columns = static_cast<std::size_t>(c.columns);
  const std::size_t size = static_cast<std::size_t>(bits_of(c.type) / 8);
  const std::size_t stride = columns + static_cast<std::size_t>(c.gap);

  std::vector<std::uint8_t> byte_map(slots);
  std::vector<std::int32_t> index(slots), map(experts);
  for (int e = 0; e < experts; ++e) map[static_cast<std::size_t>(e)] = e % 3 == 0 ? -1 : e / 2;
  std::vector<bool> here(slots);
  for (std::size_t s = 0; s < slots; ++s) {
    byte_map[s] = static_cast<std::uint8_t>(random() % 3 == 0 ? 0 : random() % 255 + 1);
    index[s] = static_cast<std::int32_t>(random() % 20) - 2;  // some out of range
    const bool known = index[s] >= 0 && index[s] < experts;
    switch (c.present) {
      case presence::all: here[s] = true; break;
      case presence::byte_map: here[s] = byte_map[s] != 0; break;
      case presence::experts: here[s] = known; break;
      case presence::experts_and_map: here[s] = known && map[static_cast<std::size_t>(index[s])] >= 0; break;
    }
  }
  floats parts(slots * columns);
  for (std::size_t s = 0; s < slots; ++s)
    for (std::size_t i = 0; i < columns; ++i)
      parts[s * columns + i] = here[s] ? normal(random) : std::numeric_limits<float>::quiet_NaN();
  bytes old(static_cast<std::size_t>(c.tokens) * stride * size);
  for (std::size_t i = 0; i < old.size() / size; ++i) write(c.type, normal(random), old.data() + i * size);

  bytes wanted = old;
  std::vector<double> exact(static_cast<std::size_t>(c.tokens) * columns), bound(exact.size());
  for (std::size_t token = 0; token < static_cast<std::size_t>(c.tokens); ++token)
    for (std::size_t i = 0; i < columns; ++i) {
      std::uint8_t* const y = wanted.data() + (token * stride + i) * size;
      float sum = 0.0f;
      double& total = exact[token * columns + i];
      double& magnitudes = bound[token * columns + i];
      for (std::size_t s = token * static_cast<std::size_t>(c.topk); s < (token + 1) * static_cast<std::size_t>(c.topk);
           ++s) {
        if (!here[s]) continue;
        const float part = parts[s * columns + i];
        sum += part;
        total += static_cast<double>(part);
        magnitudes += std::fabs(static_cast<double>(part));
      }
      if (c.accumulate) {
        const float before = read(c.type, y);
        sum += before;
        total += static_cast<double>(before);
        magnitudes += std::fabs(static_cast<double>(before));
      }
      write(c.type, sum, y);
    }

  const device_buffer<float> parts_in(parts, c.parts_offset);
  const device_buffer<std::uint8_t> map_in(byte_map);
  const device_buffer<std::int32_t> index_in(index), expert_map(map);
  device_buffer<std::uint8_t> y(old, c.y_offset);
  cuda::reduce_topk_args args{
      .tokens = c.tokens,
      .topk = c.topk,
      .columns = c.columns,
      .parts = parts_in.data(),
      .y = {.data = y.data(), .type = c.type, .rows = c.tokens, .row_stride = static_cast<std::int64_t>(stride)},
      .accumulate = c.accumulate};
  if (c.present == presence::byte_map) args.present = map_in.data();
  if (c.present == presence::experts || c.present == presence::experts_and_map) {
    args.expert_index = index_in.data();
    args.experts = experts;
  }
  if (c.present == presence::experts_and_map) args.expert_map = expert_map.data();

  const status_code expected = c.tokens == 0 ? status_code::empty : status_code::ok;
  const cuda::launch_status status = cuda::reduce_topk(args, stream);
  to.check(status.code == expected, "%s: answer %s, native error %d", name.c_str(),
           std::string(name_of(status.code)).c_str(), status.native_error);
  gpu_test::require(cudaStreamSynchronize(stream), name.c_str());
  const bytes got = y.download(to, "y");
  to.check(same_bytes(got, wanted), "%s: not the sum in fp32, in order, rounded once", name.c_str());
  const double unit = std::ldexp(1.0, c.type == dtype::fp32 ? -24 : c.type == dtype::bf16 ? -8 : -11);
  bool close = true;
  for (std::size_t token = 0; token < static_cast<std::size_t>(c.tokens); ++token)
    for (std::size_t i = 0; i < columns; ++i) {
      const double value = static_cast<double>(read(c.type, got.data() + (token * stride + i) * size));
      const std::size_t at = token * columns + i;
      const double most = std::ldexp(static_cast<double>(c.topk) * bound[at], -23) +
                          1.01 * unit * std::fabs(exact[at]) + std::ldexp(1.0, -25);
      close = close && std::fabs(value - exact[at]) <= most;
    }
  to.check(close, "%s: too far from the sum in double", name.c_str());

  y.upload(old);
  const gpu_test::captured_graph graph(
      stream, [&](cudaStream_t s) { static_cast<void>(cuda::reduce_topk(args, s, {.overlap = true})); });
  graph.replay(stream);
  gpu_test::require(cudaStreamSynchronize(stream), name.c_str());
  to.check(same_bytes(y.download(to, "y"), got), "%s: a second run, replayed from a graph, differs", name.c_str());
}

void test_sums(report& to, cudaStream_t stream) {
  for (const std::int64_t columns : {1, 32, 333, 1440, 2880}) {
    unsigned turn = 0;
    for (const std::int64_t tokens : {0, 1, 2, 7, 64, 129})
      for (const int topk : {1, 2, 4, 5, 8})
        for (const presence present :
             {presence::all, presence::byte_map, presence::experts, presence::experts_and_map}) {
          const dtype type = turn % 3 == 0 ? dtype::bf16 : turn % 3 == 1 ? dtype::fp16 : dtype::fp32;
          test_case(to, stream,
                    {.tokens = tokens,
                     .topk = topk,
                     .columns = columns,
                     .type = type,
                     .present = present,
                     .accumulate = turn % 4 >= 2,
                     .gap = turn % 5 == 0   ? 3
                            : turn % 5 == 1 ? 8
                                            : 0,
                     .parts_offset = turn % 7 == 0 ? 4u : 0u,
                     .y_offset = turn % 6 == 0   ? 4u
                                 : turn % 6 == 1 ? 8u
                                                 : 0u});
          ++turn;
        }
    to.line("reduce: %lld columns, 0 to 129 tokens, top-1 to top-8", static_cast<long long>(columns));
  }
}

void test_zeros(report& to, cudaStream_t stream) {
  for (const dtype type : {dtype::bf16, dtype::fp16, dtype::fp32})
    for (const std::int64_t rows : {0, 1, 7, 300})
      for (const std::int64_t columns : {1, 7, 96, 2880})
        for (const std::int64_t gap : {0, 1, 8})
          for (const std::size_t offset : {0u, 4u}) {
            const std::size_t size = static_cast<std::size_t>(bits_of(type) / 8);
            const std::size_t stride = static_cast<std::size_t>(columns + gap) * size;
            device_buffer<std::uint8_t> memory(static_cast<std::size_t>(rows) * stride, offset);
            bytes wanted(memory.size(), gpu_test::poison);
            for (std::size_t row = 0; row < static_cast<std::size_t>(rows); ++row)
              std::memset(wanted.data() + row * stride, 0, static_cast<std::size_t>(columns) * size);
            const y_operand y{.data = memory.data(), .type = type, .rows = rows, .row_stride = columns + gap};
            const cuda::launch_status status = cuda::zero_rows(y, columns, stream, {.overlap = rows == 7});
            to.check(status.code == (rows == 0 ? status_code::empty : status_code::ok), "zeros: answer %s",
                     std::string(name_of(status.code)).c_str());
            gpu_test::require(cudaStreamSynchronize(stream), "zeros");
            to.check(same_bytes(memory.download(to, "zeros"), wanted), "zeros: %lld rows of %lld columns, gap %lld",
                     static_cast<long long>(rows), static_cast<long long>(columns), static_cast<long long>(gap));
          }
  to.line("zero_rows");
}

void test_refusals(report& to, cudaStream_t stream) {
  const device_buffer<float> memory(1024);
  const auto before = memory.download(to, "memory");
  const cuda::reduce_topk_args good{
      .tokens = 4,
      .topk = 2,
      .columns = 32,
      .parts = memory.data(),
      .y = {.data = memory.data() + 512, .type = dtype::fp32, .rows = 4, .row_stride = 32}};
  const auto refused = [&](const char* what, auto change, status_code code = status_code::invalid_argument) {
    cuda::reduce_topk_args bad = good;
    change(bad);
    const cuda::launch_status status = cuda::reduce_topk(bad, stream);
    to.check(status.code == code && status.native_error == 0 && status.reason.status == code, "refusal: %s", what);
  };
  const std::int32_t* const some_index = reinterpret_cast<const std::int32_t*>(memory.data());
  refused("tokens", [](auto& a) { a.tokens = -1; });
  refused("topk", [](auto& a) { a.topk = 0; });
  refused(
      "no columns", [](auto& a) { a.columns = 0; }, status_code::empty);
  refused("stride", [](auto& a) { a.y.row_stride = 31; });
  refused("rows", [](auto& a) { a.y.rows = 5; });
  refused(
      "type", [](auto& a) { a.y.type = dtype::mxfp8; }, status_code::unsupported_dtype);
  refused("parts", [](auto& a) { a.parts = nullptr; });
  refused("y", [](auto& a) { a.y.data = nullptr; });
  refused("experts", [&](auto& a) { a.expert_index = some_index; });
  refused("map alone", [&](auto& a) { a.expert_map = some_index; });
  refused("two kinds of presence", [&](auto& a) {
    a.expert_index = some_index;
    a.experts = 1;
    a.present = reinterpret_cast<const std::uint8_t*>(some_index);
  });
  refused("grid", [](auto& a) {
    a.tokens = a.y.rows = std::int64_t{1} << 30;
    a.columns = a.y.row_stride = 4096;
  });
  gpu_test::require(cudaStreamSynchronize(stream), "refusals");
  to.check(same_bytes(memory.download(to, "memory"), before), "a refused call writes");
  to.line("reduce: refusals");
}

void bench(const gpu_test::stream_owner& stream) {
  std::printf("reduce, top-4, 2,880 columns, bf16, graph replay; empty kernel %.2f us\n",
              gpu_test::empty_kernel_us(stream));
  std::printf("%8s %10s %10s %12s %10s %12s %8s %12s\n", "tokens", "us", "overlap", "by experts", "GB/s", "zeros us",
              "GB/s", "copy GB/s");
  constexpr int topk = 4, columns = 2880, experts = 32;
  for (const std::int64_t tokens : {1, 8, 64, 512, 8192, 32768}) {
    const auto slots = static_cast<std::size_t>(tokens * topk);
    device_buffer<float> parts(slots * columns);
    device_buffer<std::uint16_t> y(static_cast<std::size_t>(tokens) * columns);
    const device_buffer<std::int32_t> index(std::vector<std::int32_t>(slots, 5)),
        map(std::vector<std::int32_t>(experts, 1));
    cuda::reduce_topk_args args{.tokens = tokens,
                                .topk = topk,
                                .columns = columns,
                                .parts = parts.data(),
                                .y = {.data = y.data(), .type = dtype::bf16, .rows = tokens, .row_stride = columns}};
    const auto sum = [&](bool overlap) {
      return gpu_test::median_us(
          stream, [&](cudaStream_t s) { static_cast<void>(cuda::reduce_topk(args, s, {.overlap = overlap})); });
    };
    const double plain = sum(false), overlapped = sum(true);
    args.expert_index = index.data();
    args.expert_map = map.data();
    args.experts = experts;
    const double by_experts = sum(false);
    const double zeros =
        gpu_test::median_us(stream, [&](cudaStream_t s) { static_cast<void>(cuda::zero_rows(args.y, columns, s)); });
    const std::size_t half = parts.bytes() / 2;
    const double copy = gpu_test::median_us(stream, [&](cudaStream_t s) {
      gpu_test::require(
          cudaMemcpyAsync(parts.data(), parts.data() + parts.size() / 2, half, cudaMemcpyDeviceToDevice, s), "copy");
    });
    const double moved = static_cast<double>(parts.bytes() + y.bytes());
    std::printf("%8lld %10.2f %10.2f %12.2f %10.0f %12.2f %8.0f %12.0f\n", static_cast<long long>(tokens), plain,
                overlapped, by_experts, moved / (1000.0 * plain), zeros,
                static_cast<double>(y.bytes()) / (1000.0 * zeros), 2.0 * static_cast<double>(half) / (1000.0 * copy));
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (!gpu_test::has_device()) return gpu_test::exit_without_device;
  const gpu_test::stream_owner stream;
  if (gpu_test::has_option(argc, argv, "--bench")) {
    bench(stream);
    return 0;
  }
  report checks("reduce_test");
  test_refusals(checks, stream);
  test_zeros(checks, stream);
  test_sums(checks, stream);
  return checks.finish();
}
