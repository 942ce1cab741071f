// Weights packed and unpacked in the executor, byte for byte as weights.hpp does it: mma_m16k64 with waves of 32 lanes,
// mfma_m16k128 with 64.
#include <random>
#include <vector>

#include "../../support/catch.hpp"
#include "executor_stream.hpp"
#include "layer_kernels.hpp"
#include "tilefit/weights.hpp"

using namespace tilefit_simt;
using simt::memory_use;
using bytes = std::vector<std::uint8_t>;

namespace {

bytes random_bytes(std::int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  bytes made(static_cast<std::size_t>(count));
  for (std::uint8_t& byte : made) byte = static_cast<std::uint8_t>(random());
  return made;
}

/// `skip`: bytes from an address that allows the widest accesses.
void check(const weight_shape& shape, std::int64_t skip) {
  INFO(shape.experts << " x " << shape.n << " x " << shape.k << ", " << skip << " bytes off");
  const weight_layout layout = layout_of_device();
  const std::int64_t blocks = shape.experts * shape.n * (shape.k / 32);
  const std::int64_t packed_bytes = shape.experts * bytes_per_expert(layout, shape.n, shape.k);
  const bytes values = random_bytes(16 * blocks, 1), scales = random_bytes(blocks, 2);
  simt::memory memory;
  const auto input = [&](const bytes& from) {
    auto* const to =
        memory.take<std::uint8_t>(static_cast<std::int64_t>(from.size()) + skip, "rows", memory_use::input) + skip;
    std::copy(from.begin(), from.end(), to);
    return to;
  };
  const weight_source rows{input(values), input(scales)};
  auto* const packed = memory.take<std::uint8_t>(packed_bytes + skip, "atoms", memory_use::scratch) + skip;
  auto* const columns = memory.take<std::uint8_t>(packed_bytes + skip, "atoms", memory_use::scratch) + skip;
  auto* const values_back = memory.take<std::uint8_t>(16 * blocks + skip, "values", memory_use::scratch) + skip;
  auto* const scales_back = memory.take<std::uint8_t>(blocks + skip, "scales", memory_use::scratch) + skip;

  bytes expected(static_cast<std::size_t>(packed_bytes));
  REQUIRE(tilefit::shuffle_weights(layout, shape, rows, {expected.data(), nullptr}) == status_code::ok);
  executor_stream stream(memory);
  REQUIRE(tilefit_simt::shuffle_weights(shape, rows, {packed, nullptr}, stream).code == status_code::ok);
  REQUIRE(stream.faults == "");
  CHECK(std::equal(expected.begin(), expected.end(), packed));

  REQUIRE(tilefit_simt::unshuffle_weights(shape, {packed, nullptr}, {values_back, scales_back}, stream).code ==
          status_code::ok);
  REQUIRE(stream.faults == "");
  CHECK(std::equal(values.begin(), values.end(), values_back));
  CHECK(std::equal(scales.begin(), scales.end(), scales_back));

  // The same bytes, taken for transposed weights.
  REQUIRE(tilefit::shuffle_transposed_weights(layout, shape, rows, {expected.data(), nullptr}) == status_code::ok);
  REQUIRE(tilefit_simt::shuffle_transposed_weights(shape, rows, {columns, nullptr}, stream).code == status_code::ok);
  REQUIRE(stream.faults == "");
  CHECK(std::equal(expected.begin(), expected.end(), columns));
}

}  // namespace

TEST_CASE("simt shuffle: whole atoms, tails and addresses", "[simt]") {
  for (const weight_shape shape : {weight_shape{1, 64, 128}, {2, 32, 32}, {1, 96, 160}, {3, 160, 96}, {1, 64, 2080}})
    for (const std::int64_t skip : {0, 4, 8, 1}) check(shape, skip);
}

TEST_CASE("simt shuffle: what is refused, and nothing to do", "[simt]") {
  simt::memory memory;
  executor_stream stream(memory);
  std::uint8_t byte = 0;
  const auto pack = [&](const weight_shape& shape) {
    return tilefit_simt::shuffle_weights(shape, {&byte, &byte}, {&byte, nullptr}, stream);
  };
  CHECK(pack({0, 32, 32}).code == status_code::empty);
  CHECK(pack({1, 32, 48}).reason.subject == "k");
  CHECK(pack({1, 40, 32}).reason.subject == "n");
  CHECK(tilefit_simt::shuffle_weights({1, 32, 32}, {&byte, nullptr}, {&byte, nullptr}, stream).code ==
        status_code::invalid_argument);
  CHECK(stream.kernels == 0);
}
