// Weight shuffling on the device against weights.hpp, byte for byte, and back.
// --bench prints GB/s beside those of a copy.
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "support.cuh"
#include "tilefit/kernels/shuffle_weights.cuh"
#include "tilefit/weights.hpp"

using namespace tilefit;
using gpu_test::device_buffer;
using gpu_test::report;
using gpu_test::same_bytes;

namespace {

using bytes = std::vector<std::uint8_t>;
constexpr weight_layout packed_layout = weight_layout::mma_m16k64;

std::size_t size(std::int64_t count) { return static_cast<std::size_t>(count); }

bytes random_bytes(std::int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  bytes made(size(count));
  for (std::uint8_t& b : made) b = static_cast<std::uint8_t>(random());
  return made;
}

void expect_ok(report& to, const cuda::launch_status& status, const char* what) {
  to.check(status.code == status_code::ok, "%s: answer %s, native error %d", what,
           std::string(name_of(status.code)).c_str(), status.native_error);
}

struct offsets {
  std::size_t rows = 0;    ///< bytes by which the row-major side misses its alignment
  std::size_t packed = 0;  ///< and the packed one
};

void test_size(report& to, cudaStream_t stream, const weight_shape& shape, const std::vector<offsets>& places) {
  const std::int64_t values = shape.experts * shape.n * shape.k / 2, scales = shape.experts * shape.n * shape.k / 32;
  const std::int64_t packed = shape.experts * bytes_per_expert(packed_layout, shape.n, shape.k);
  const bytes host_values = random_bytes(values, 1), host_scales = random_bytes(scales, 2);
  bytes wanted(size(packed), 0xEE), wanted_transposed(size(packed), 0xEE);
  const weight_source source{host_values.data(), host_scales.data()};
  to.check(shuffle_weights(packed_layout, shape, source, {wanted.data(), nullptr}) == status_code::ok, "reference");
  to.check(
      shuffle_transposed_weights(packed_layout, shape, source, {wanted_transposed.data(), nullptr}) == status_code::ok,
      "reference, transposed");

  for (const offsets& place : places) {
    const std::string name = std::to_string(shape.experts) + " x " + std::to_string(shape.n) + " x " +
                             std::to_string(shape.k) + ", offsets " + std::to_string(place.rows) + " and " +
                             std::to_string(place.packed);
    const device_buffer<std::uint8_t> in_values(host_values, place.rows), in_scales(host_scales, place.rows);
    device_buffer<std::uint8_t> out(size(packed), place.packed);
    device_buffer<std::uint8_t> back_values(size(values), place.rows), back_scales(size(scales), place.rows);
    const weight_source rows{in_values.data(), in_scales.data()};
    const auto pack = [&](cudaStream_t s, bool overlap) {
      expect_ok(to, cuda::shuffle_weights(packed_layout, shape, rows, {out.data(), nullptr}, s, {.overlap = overlap}),
                name.c_str());
    };
    const auto unpack = [&](cudaStream_t s, bool overlap) {
      expect_ok(to,
                cuda::unshuffle_weights(packed_layout, shape, {out.data(), nullptr},
                                        {back_values.data(), back_scales.data()}, s, {.overlap = overlap}),
                name.c_str());
    };
    pack(stream, false);
    unpack(stream, false);
    gpu_test::require(cudaStreamSynchronize(stream), name.c_str());
    to.check(same_bytes(out.download(to, "packed"), wanted), "%s: packed", name.c_str());
    to.check(same_bytes(back_values.download(to, "values"), host_values), "%s: values, back", name.c_str());
    to.check(same_bytes(back_scales.download(to, "scales"), host_scales), "%s: scales, back", name.c_str());

    // Again from a graph, one kernel overlapping the other.
    out.fill_with_poison();
    back_values.fill_with_poison();
    back_scales.fill_with_poison();
    const gpu_test::captured_graph graph(stream, [&](cudaStream_t s) {
      pack(s, true);
      unpack(s, true);
    });
    graph.replay(stream);
    gpu_test::require(cudaStreamSynchronize(stream), name.c_str());
    to.check(same_bytes(out.download(to, "packed"), wanted), "%s: packed by a graph", name.c_str());
    to.check(same_bytes(back_values.download(to, "values"), host_values) &&
                 same_bytes(back_scales.download(to, "scales"), host_scales),
             "%s: back by a graph", name.c_str());

    out.fill_with_poison();
    expect_ok(to, cuda::shuffle_transposed_weights(packed_layout, shape, rows, {out.data(), nullptr}, stream),
              name.c_str());
    gpu_test::require(cudaStreamSynchronize(stream), name.c_str());
    to.check(same_bytes(out.download(to, "packed"), wanted_transposed), "%s: transposed", name.c_str());
    to.check(same_bytes(in_values.download(to, "values"), host_values), "%s: source changed", name.c_str());
  }
  to.line("shuffle: %lld experts, n %lld, k %lld", static_cast<long long>(shape.experts),
          static_cast<long long>(shape.n), static_cast<long long>(shape.k));
}

void test_refusals(report& to, cudaStream_t stream) {
  device_buffer<std::uint8_t> memory(4096);
  const auto before = memory.download(to, "memory");
  std::uint8_t* const p = memory.data();
  struct call {
    weight_layout layout = packed_layout;
    weight_shape shape = {1, 32, 32};
    weight_source from = {};
    weight_storage to = {};
  };
  const auto refused = [&](const char* what, auto change, status_code code = status_code::invalid_argument) {
    call pack{.from = {p, p + 512}, .to = {p + 1024, nullptr}};
    call unpack{.from = {p + 1024, nullptr}, .to = {p, p + 512}};
    change(pack);
    change(unpack);
    const cuda::launch_status answers[] = {
        cuda::shuffle_weights(pack.layout, pack.shape, pack.from, pack.to, stream),
        cuda::shuffle_transposed_weights(pack.layout, pack.shape, pack.from, pack.to, stream),
        cuda::unshuffle_weights(unpack.layout, unpack.shape, unpack.from, unpack.to, stream)};
    for (const cuda::launch_status& answer : answers)
      to.check(answer.code == code && answer.native_error == 0 && answer.reason.status == code, "refusal: %s", what);
  };
  refused(
      "no experts", [](call& c) { c.shape.experts = 0; }, status_code::empty);
  refused("experts", [](call& c) { c.shape.experts = -1; });
  refused("too many experts", [](call& c) { c.shape.experts = 65536; });
  refused("n", [](call& c) { c.shape.n = 48; });
  refused("k", [](call& c) { c.shape.k = 16; });
  refused("large n", [](call& c) { c.shape.n = 65536 * 64; });
  refused("large k", [](call& c) { c.shape.k = std::int64_t{1} << 31; });
  refused("large everything", [](call& c) { c.shape = {65535, 65535 * 64, (std::int64_t{1} << 31) - 32}; });
  refused("values", [](call& c) { c.from.values = nullptr; });
  refused("to", [](call& c) { c.to.values = nullptr; });
  refused("no scales", [](call& c) { c.from.scales = c.to.scales = nullptr; });
  refused("scales of both", [&](call& c) { c.from.scales = c.to.scales = p; });
  refused(
      "layout", [](call& c) { c.layout = weight_layout::mfma_m16k128; }, status_code::unsupported_feature);
  refused(
      "no layout", [](call& c) { c.layout = weight_layout::row_major; }, status_code::unsupported_feature);
  gpu_test::require(cudaStreamSynchronize(stream), "refusals");
  to.check(same_bytes(memory.download(to, "memory"), before), "a refused call writes");
  to.line("shuffle: refusals");
}

void bench(const gpu_test::stream_owner& stream) {
  std::printf("shuffle: GB/s read and written, graph replay\n");
  std::printf("%8s %6s %6s %9s %9s %9s %9s %9s\n", "experts", "n", "k", "MB", "copy", "pack", "unpack", "transp.");
  for (const weight_shape& shape : {weight_shape{1, 5760, 2880}, weight_shape{32, 5760, 2880},
                                    weight_shape{32, 2880, 2880}, weight_shape{16, 4096, 7168}}) {
    const std::int64_t values = shape.experts * shape.n * shape.k / 2, scales = shape.experts * shape.n * shape.k / 32;
    const std::int64_t packed = shape.experts * bytes_per_expert(packed_layout, shape.n, shape.k);
    const device_buffer<std::uint8_t> row_values(size(values)), row_scales(size(scales)), atoms(size(packed)),
        other(size(packed));
    const weight_source rows{row_values.data(), row_scales.data()};
    const auto rate = [&](std::int64_t moved, auto enqueue) {
      return static_cast<double>(moved) / (1000.0 * gpu_test::median_us(stream, enqueue, 5));
    };
    const double copy = rate(2 * packed, [&](cudaStream_t s) {
      gpu_test::require(cudaMemcpyAsync(other.data(), atoms.data(), size(packed), cudaMemcpyDeviceToDevice, s), "copy");
    });
    const std::int64_t moved = values + scales + packed;
    const double pack = rate(moved, [&](cudaStream_t s) {
      static_cast<void>(cuda::shuffle_weights(packed_layout, shape, rows, {atoms.data(), nullptr}, s));
    });
    const double unpack = rate(moved, [&](cudaStream_t s) {
      static_cast<void>(cuda::unshuffle_weights(packed_layout, shape, {atoms.data(), nullptr},
                                                {row_values.data(), row_scales.data()}, s));
    });
    const double transposed = rate(moved, [&](cudaStream_t s) {
      static_cast<void>(cuda::shuffle_transposed_weights(packed_layout, shape, rows, {atoms.data(), nullptr}, s));
    });
    std::printf("%8lld %6lld %6lld %9.1f %9.0f %9.0f %9.0f %9.0f\n", static_cast<long long>(shape.experts),
                static_cast<long long>(shape.n), static_cast<long long>(shape.k), static_cast<double>(packed) / 1e6,
                copy, pack, unpack, transposed);
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
  report checks("shuffle_test");
  test_refusals(checks, stream);
  const std::vector<offsets> all_places = {{0, 0}, {8, 16}, {8, 0}, {0, 4}, {4, 0}, {2, 8}, {1, 0}, {0, 1}, {3, 7}};
  for (const std::int64_t n : {32, 96, 160, 2880})
    for (const std::int64_t k : {32, 96, 320, 2880}) {
      const bool large = n == 2880 && k == 2880;
      test_size(checks, stream, {large ? 1 : 3, n, k}, large ? std::vector<offsets>{{0, 0}, {1, 0}} : all_places);
    }
  test_size(checks, stream, {1, 64, 1024}, all_places);
  return checks.finish();
}
