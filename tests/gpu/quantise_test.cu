// Rows in FP8, MXFP8 and MXFP4 on the device, bit for bit as on the CPU. --bench prints times and GB/s.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "support.cuh"
#include "tilefit/float_formats.hpp"
#include "tilefit/host/quantise_rows.hpp"
#include "tilefit/quantise_rows.cuh"

using namespace tilefit;
using gpu_test::device_buffer;
using gpu_test::report;
using gpu_test::same_bytes;

namespace {

using bytes = std::vector<std::uint8_t>;

struct rows_case {
  std::int64_t rows = 0, columns = 0, x_gap = 0, y_gap = 0;
  std::size_t x_offset = 0, y_offset = 0;  ///< bytes by which arrays miss their alignment
};

/// Rows of normal numbers, of zeros, of subnormals, with an infinity, with a NaN, of anything, of small numbers.
float number_of(std::mt19937& random, std::int64_t row, std::int64_t column) {
  std::normal_distribution<float> normal;
  switch (row % 7) {
    case 1: return random() % 2 == 0 ? 0.0f : -0.0f;
    case 2: return detail::float_of_bits(static_cast<std::uint32_t>(random() & 0x807F'FFFFu));
    case 3: return column == 9 ? -std::numeric_limits<float>::infinity() : normal(random);
    case 4: return column == 5 ? -std::numeric_limits<float>::quiet_NaN() : normal(random);
    case 5: return detail::float_of_bits(static_cast<std::uint32_t>(random()));
    case 6: return std::ldexp(normal(random), -118 - static_cast<int>(column / 32) % 10);
    default: return std::ldexp(normal(random), static_cast<int>(column / 32 % 9) - 4);
  }
}

void test_case(report& to, cudaStream_t stream, dtype x_type, dtype y_type, bool per_row, const rows_case& c) {
  const std::string name = std::string(name_of(x_type)) + " to " + std::string(name_of(y_type)) +
                           (per_row ? " by rows, " : ", ") + std::to_string(c.rows) + " x " + std::to_string(c.columns);
  std::mt19937 random(static_cast<unsigned>(c.columns));
  const std::size_t size = static_cast<std::size_t>(bits_of(x_type) / 8);
  const std::int64_t x_stride = c.columns + c.x_gap, y_stride = detail::align_up(c.columns, 32) + c.y_gap;
  bytes numbers(static_cast<std::size_t>(c.rows * x_stride) * size);
  for (std::int64_t row = 0; row < c.rows; ++row)
    for (std::int64_t column = 0; column < c.columns; ++column) {
      const float number = number_of(random, row, column);
      const std::uint16_t half = x_type == dtype::bf16 ? float_to_bf16(number) : float_to_fp16(number);
      std::memcpy(numbers.data() + static_cast<std::size_t>(row * x_stride + column) * size,
                  x_type == dtype::fp32 ? static_cast<const void*>(&number) : &half, size);
    }
  const std::int64_t scale_stride = y_stride / 32 + 1;
  bytes codes(static_cast<std::size_t>(c.rows * y_stride * bits_of(y_type) / 8), gpu_test::poison);
  bytes scales(static_cast<std::size_t>(c.rows * scale_stride), gpu_test::poison);
  std::vector<float> row_scales(static_cast<std::size_t>(c.rows));
  std::memset(row_scales.data(), gpu_test::poison, row_scales.size() * sizeof(float));
  const std::vector<float> scale = {0.3f};
  const auto args_of = [&](const void* x, std::uint8_t* y, std::uint8_t* block_scales, float* rows, const float* one) {
    quantise_args args{.rows = c.rows,
                       .columns = c.columns,
                       .x = {.data = x, .type = x_type, .row_stride = x_stride},
                       .y = {.data = y, .type = y_type, .row_stride = y_stride}};
    if (has_block_scales(y_type)) {
      args.y.block_scales = block_scales;
      args.y.block_scale_stride = scale_stride;
    } else if (per_row) {
      args.row_scales = rows;
    } else {
      args.y.scale = one;
    }
    return args;
  };
  const device_buffer<std::uint8_t> x(numbers, c.x_offset), y(codes.size(), c.y_offset), y_scales(scales.size());
  const device_buffer<float> all_scales(row_scales.size()), one(scale);
  const quantise_args args = args_of(x.data(), y.data(), y_scales.data(), all_scales.data(), one.data());
  const status_code expected =
      host::quantise_rows(args_of(numbers.data(), codes.data(), scales.data(), row_scales.data(), scale.data()));
  const gpu_test::captured_graph graph(stream, [&](cudaStream_t s) {
    const cuda::launch_status status = cuda::quantise_rows(args, s, {.overlap = c.rows % 2 == 0});
    to.check(status.code == expected, "%s: answer %s", name.c_str(), std::string(name_of(status.code)).c_str());
  });
  graph.replay(stream);
  gpu_test::require(cudaStreamSynchronize(stream), name.c_str());
  to.check(same_bytes(y.download(to, "y"), codes), "%s: codes differ", name.c_str());
  to.check(same_bytes(y_scales.download(to, "scales"), scales), "%s: scales differ", name.c_str());
  to.check(same_bytes(all_scales.download(to, "row scales"), row_scales), "%s: scales of rows differ", name.c_str());
}

template <class Visitor>
void for_each_format(Visitor visit) {
  for (const dtype x : {dtype::bf16, dtype::fp16, dtype::fp32}) {
    visit(x, dtype::fp8_e4m3, false);
    visit(x, dtype::fp8_e4m3, true);
    visit(x, dtype::mxfp8, false);
    visit(x, dtype::mxfp4, false);
  }
}

void test_all(report& to, cudaStream_t stream) {
  for_each_format([&](dtype x, dtype y, bool per_row) {
    for (const std::int64_t rows : {0, 1, 7, 300})
      for (const std::int64_t columns : {1, 13, 32, 77, 320, 2880, 5001}) {
        test_case(to, stream, x, y, per_row, {.rows = rows, .columns = columns});
        test_case(to, stream, x, y, per_row,
                  {.rows = rows, .columns = columns, .x_gap = 3, .y_gap = 34, .y_offset = 1});
        test_case(to, stream, x, y, per_row,
                  {.rows = rows, .columns = columns, .x_gap = 8, .y_gap = 32, .x_offset = 4, .y_offset = 4});
      }
    to.line("%s to %s%s", std::string(name_of(x)).c_str(), std::string(name_of(y)).c_str(), per_row ? " by rows" : "");
  });
}

void bench(const gpu_test::stream_owner& stream) {
  std::printf("2,880 columns of bf16, graph replay; microseconds and GB/s read and written\n");
  for (const std::int64_t rows : {4, 64, 1024, 32768}) {
    const auto count = static_cast<std::size_t>(rows * 2880);
    const device_buffer<std::uint16_t> x(std::vector<std::uint16_t>(count, 0x3F81));
    const device_buffer<std::uint8_t> y(count), scales(count / 32);
    const device_buffer<float> row_scales(static_cast<std::size_t>(rows));
    for_each_format([&](dtype from, dtype to, bool per_row) {
      if (from != dtype::bf16) return;
      quantise_args args{.rows = rows,
                         .columns = 2880,
                         .x = {.data = x.data(), .type = from, .row_stride = 2880},
                         .y = {.data = y.data(), .type = to, .row_stride = 2880}};
      if (has_block_scales(to)) {
        args.y.block_scales = scales.data();
        args.y.block_scale_stride = 90;
      } else if (per_row) {
        args.row_scales = row_scales.data();
      }
      const double us =
          gpu_test::median_us(stream, [&](cudaStream_t s) { static_cast<void>(cuda::quantise_rows(args, s)); });
      const double moved = static_cast<double>(count) * (2 + bits_of(to) / 8.0);
      std::printf("%8lld %6s%8s %10.2f %10.0f\n", static_cast<long long>(rows), std::string(name_of(to)).c_str(),
                  per_row ? "by rows" : "", us, moved / (1000.0 * us));
    });
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
  report checks("quantise_test");
  test_all(checks, stream);
  return checks.finish();
}
