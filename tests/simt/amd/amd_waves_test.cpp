// The functions of AMD kernels in the executor, with waves of 64 lanes, and what it must find when they are used
// wrongly.
#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "../../support/catch.hpp"
#include "amd_wave_kernels.hpp"
#include "tilefit/device/simt/executor.hpp"
#include "tilefit/float_formats.hpp"
#include "tilefit/mxfp4.hpp"

using namespace tilefit;
using namespace tilefit_simt;
using simt::fault_kind;
using simt::sabotage_kind;

namespace {

class wave_run {
 public:
  explicit wave_run(std::uint32_t seed = 1) : random_(seed) {
    arguments.y = memory.take<float>(1024, "y", simt::memory_use::output);
    arguments.out = memory.take<std::int32_t>(384, "out", simt::memory_use::output);
  }

  simt::grid_result run(wave_kernel kernel, unsigned lanes, std::size_t lds_bytes, simt::grid_options options = {}) {
    options.warp_size = 64;
    std::fill_n(arguments.y, 1024, -1.0f);
    std::fill_n(arguments.out, 384, -1);
    simt::executor executor(memory);
    return executor.run({.grid = 1, .block = lanes, .shared_bytes = lds_bytes}, options, kernel, arguments);
  }

  /// BF16 of small whole numbers.
  std::vector<float> bf16_matrix(const void*& to, int count, const char* name) {
    auto* const codes = memory.take<std::uint16_t>(count, name, simt::memory_use::input);
    std::vector<float> numbers(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      numbers[i] = static_cast<float>(static_cast<int>(random_() % 9) - 4);
      codes[i] = float_to_bf16(numbers[i]);
    }
    to = codes;
    return numbers;
  }

  /// Rows of an MX format and their numbers.
  std::vector<float> mx_matrix(const void*& to, const std::uint8_t*& scales_to, int bits, int rows, int k,
                               const char* name) {
    auto* const codes = memory.take<std::uint8_t>(rows * k * bits / 8, name, simt::memory_use::input);
    auto* const scales = memory.take<std::uint8_t>(rows * k / 32, "scales", simt::memory_use::input);
    std::vector<float> numbers(static_cast<std::size_t>(rows * k));
    std::normal_distribution<float> normal;
    for (int block = 0; block < rows * k / 32; ++block) {
      float* const of = numbers.data() + 32 * block;
      for (int i = 0; i < 32; ++i) of[i] = std::ldexp(normal(random_), block % 7);
      if (bits == 4) {
        scales[block] = quantize_mxfp4_block(of, codes + 16 * block);
        dequantize_mxfp4_block(codes + 16 * block, scales[block], of);
      } else {
        scales[block] = quantize_mxfp8_block(of, codes + 32 * block);
        dequantize_mxfp8_block(codes + 32 * block, scales[block], of);
      }
    }
    to = codes;
    scales_to = scales;
    return numbers;
  }

  /// Largest |y - a * b^T| of [rows, columns], as a share of the largest |y|.
  double error(const std::vector<float>& a, const std::vector<float>& b, int rows, int columns, int k) const {
    double worst = 0, largest = 0;
    for (int row = 0; row < rows; ++row)
      for (int column = 0; column < columns; ++column) {
        double sum = 0;
        for (int i = 0; i < k; ++i)
          sum += double{a[static_cast<std::size_t>(row * k + i)]} * double{b[static_cast<std::size_t>(column * k + i)]};
        const double difference = double{arguments.y[row * columns + column]} - sum;
        if (!(std::abs(difference) <= worst)) worst = std::abs(difference);
        largest = std::max(largest, std::abs(sum));
      }
    return worst / largest;
  }

  simt::memory memory{std::size_t{1} << 24};
  wave_arguments arguments;

 private:
  std::mt19937 random_;
};

}  // namespace

TEST_CASE("waves: loads into LDS, barriers, v_mfma", "[simt]") {
  for (const int k : {32, 64, 320}) {
    wave_run wave;
    wave.arguments.k = k;
    const std::vector<float> a = wave.bf16_matrix(wave.arguments.a, 16 * k, "a");
    const std::vector<float> b = wave.bf16_matrix(wave.arguments.b, 32 * k, "b");
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
      const simt::grid_result right = wave.run(multiply_from_lds, 128, 6144, {.seed = seed, .strict_matrix = true});
      CHECK(right.faults.text() == "");
      CHECK(wave.error(a, b, 16, 32, k) == 0);
      CHECK(right.counts.waits == k / 32);
      CHECK(right.counts.barriers == 2 * (k / 32));
    }
    const auto run_with = [&](sabotage_kind kind, int index) {
      return wave.run(multiply_from_lds, 128, 6144, {.mistake = {kind, index}});
    };
    for (int i = 0; i < k / 32; ++i)
      CHECK(run_with(sabotage_kind::skip_wait, i).faults.has(fault_kind::copy_under_way));
    // The second barrier of a step keeps loads for the step after the next from bytes that are still read: behind the
    // last two steps there are none.
    const int steps = k / 32;
    for (int i = 0; i < 2 * steps; ++i)
      CHECK((run_with(sabotage_kind::skip_barrier, i).faults.count > 0) == (i % 2 == 0 || i / 2 + 2 < steps));
    run_with(sabotage_kind::rotate_lanes, 0);
    CHECK(!(wave.error(a, b, 16, 32, k) < 0.01));
    CHECK(wave.run(multiply_from_lds, 128, 6143 - (k == 32 ? 3072 : 0)).faults.has(fault_kind::out_of_bounds));
  }
}

TEST_CASE("waves: transposing reads", "[simt]") {
  wave_run wave;
  const std::vector<float> a = wave.bf16_matrix(wave.arguments.a, 16 * 32, "a");
  const std::vector<float> b = wave.bf16_matrix(wave.arguments.b, 32 * 16, "b");
  std::vector<float> turned(b.size());
  for (std::size_t k = 0; k < 32; ++k)
    for (std::size_t column = 0; column < 16; ++column) turned[column * 32 + k] = b[k * 16 + column];
  CHECK(wave.run(multiply_transposed, 64, 1024, {.strict_matrix = true}).faults.text() == "");
  CHECK(wave.error(a, turned, 16, 16, 32) == 0);
  wave.run(multiply_transposed, 64, 1024, {.mistake = {sabotage_kind::rotate_lanes, 0}});
  CHECK(!(wave.error(a, turned, 16, 16, 32) < 0.01));
  CHECK(wave.run(multiply_transposed, 64, 1024, {.mistake = {sabotage_kind::skip_barrier, 0}}).faults.count > 0);
}

TEST_CASE("waves: v_mfma_scale", "[simt]") {
  const auto check = [](wave_kernel kernel, int tile, int bits_of_b) {
    const int k = 2048 / tile;
    wave_run wave;
    const std::vector<float> a = wave.mx_matrix(wave.arguments.a, wave.arguments.scales_a, 4, tile, k, "a");
    const std::vector<float> b = wave.mx_matrix(wave.arguments.b, wave.arguments.scales_b, bits_of_b, tile, k, "b");
    CHECK(wave.run(kernel, 64, 0).faults.text() == "");
    CHECK(wave.error(a, b, tile, tile, k) < 1e-6);
    wave.run(kernel, 64, 0, {.mistake = {sabotage_kind::rotate_lanes, 0}});
    CHECK(!(wave.error(a, b, tile, tile, k) < 0.01));
  };
  check(multiply_fp4_fp8, 16, 8);
  check(multiply_fp4_fp4, 16, 4);
  check(multiply_fp4_fp8_32, 32, 8);
}

TEST_CASE("waves: other lanes", "[simt]") {
  wave_run wave;
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    CHECK(wave.run(look_at_lanes, 64, 0, {.seed = seed}).faults.text() == "");
    for (int lane = 0; lane < 64; ++lane) {
      const std::int32_t* const out = wave.arguments.out + lane;
      CHECK(out[0] == 7);
      CHECK(out[64] == 41);
      CHECK(out[128] == 150);
      CHECK(out[192] == (lane < 8 ? lane : lane - 8));
      CHECK(out[256] == (lane ^ 5));
      CHECK(out[320] == 16 * (lane / 16 * 16) + 120);
    }
  }
}

TEST_CASE("waves: buffers", "[simt]") {
  wave_run wave;
  auto* const words = wave.memory.take<std::int32_t>(64, "words", simt::memory_use::input);
  for (int i = 0; i < 64; ++i) words[i] = 1000 + i;
  wave.arguments.a = words;
  CHECK(wave.run(load_with_bounds, 64, 0).faults.text() == "");
  for (int lane = 0; lane < 64; ++lane) {
    CHECK(wave.arguments.out[lane] == (lane < 60 ? 1000 + lane : 0));
    CHECK(wave.arguments.out[64 + lane] == 0);
    CHECK(wave.arguments.out[128 + lane] == ((1000 + lane % 32 + 3) & 255));
  }
  const simt::grid_result behind = wave.run(load_behind_by_scalar, 64, 0);
  REQUIRE(behind.faults.count == 1);
  CHECK(behind.faults.kept[0].kind == fault_kind::out_of_bounds);
  CHECK(behind.faults.kept[0].by.lane == 63);
}

TEST_CASE("waves: what they must not do", "[simt]") {
  wave_run wave;
  auto* const words = wave.memory.take<std::int32_t>(64, "words", simt::memory_use::input);
  std::fill_n(words, 64, 1);
  wave.arguments.a = words;
  CHECK(wave.run(load_to_two_places, 64, 1024).faults.has(fault_kind::wrong_arguments));
  CHECK(wave.run(three_arrays, 64, 3072).faults.text() == "");
  for (int lane = 0; lane < 64; ++lane) CHECK(wave.arguments.out[lane] == 63 - lane);
  CHECK(wave.run(three_arrays, 64, 3071).faults.has(fault_kind::out_of_bounds));
  const simt::grid_result half = wave.run(half_of_a_wave, 64, 0);
  REQUIRE(half.faults.count == 1);
  CHECK(half.faults.kept[0].kind == fault_kind::divergence);
}
