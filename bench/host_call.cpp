#include "host_call.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

#include <tilefit/float_formats.hpp>
#include <tilefit/mxfp4.hpp>

namespace tilefit::inline v0::bench {
namespace {

void store_number(dtype type, void* data, std::int64_t i, float value) noexcept {
  if (type == dtype::fp32)
    static_cast<float*>(data)[i] = value;
  else
    static_cast<std::uint16_t*>(data)[i] = type == dtype::bf16 ? float_to_bf16(value) : float_to_fp16(value);
}

/// Largest ||y - ref|| / ||ref|| of a right result: rounding to 16 bits (at most 2^-9 and 2^-12 of an element) with
/// room, and for fp32 sums over K whose terms are cut off rather than rounded, which matrix units may do.
double error_limit(dtype y, std::int64_t k) noexcept {
  if (y == dtype::bf16) return 4e-3;
  if (y == dtype::fp16) return 1e-3;
  return 2e-5 + 1e-7 * static_cast<double>(k) / 16;
}

/// Dot product with several sums under way, so that it is fast.
double dot(const float* a, const float* b, std::int64_t count) noexcept {
  double sums[8] = {};
  for (std::int64_t i = 0; i < count; i += 8)  // K is a multiple of 32
    for (std::int64_t j = 0; j < 8; ++j) sums[j] += static_cast<double>(a[i + j]) * static_cast<double>(b[i + j]);
  return std::accumulate(std::begin(sums), std::end(sums), 0.0);
}

double finished(const matmul_args& args, const std::vector<double>& sums, std::int64_t column) noexcept {
  if (args.act != activation::swiglu) return sums[static_cast<std::size_t>(column)];
  const auto limit = static_cast<double>(args.swiglu.limit);
  const double gate = std::min(sums[static_cast<std::size_t>(2 * column)], limit);
  const double up = std::clamp(sums[static_cast<std::size_t>(2 * column + 1)], -limit, limit);
  return (up + static_cast<double>(args.swiglu.up_offset)) * gate /
         (1 + std::exp(-static_cast<double>(args.swiglu.alpha) * gate));
}

}  // namespace

double load_number(dtype type, const void* data, std::int64_t i) noexcept {
  const auto* const halves = static_cast<const std::uint16_t*>(data);
  if (type == dtype::fp32) return static_cast<double>(static_cast<const float*>(data)[i]);
  return static_cast<double>(type == dtype::bf16 ? bf16_to_float(halves[i]) : fp16_to_float(halves[i]));
}

coded_rows code_rows(dtype type, std::vector<float> numbers, std::int64_t rows, std::int64_t k, bool padded) {
  coded_rows out;
  const bool blocks = has_block_scales(type);
  out.stride = k + (padded ? blocks ? 32 : 16 : 0);
  out.data.assign(static_cast<std::size_t>(rows * out.stride * bits_of(type) / 8), 0xFF);
  out.numbers = std::move(numbers);
  if (blocks) {
    out.scale_stride = k / 32 + (padded ? 3 : 0);
    out.scales.assign(static_cast<std::size_t>(rows * out.scale_stride), 0xFF);
    for (std::int64_t row = 0; row < rows; ++row)
      for (std::int64_t block = 0; block < k / 32; ++block) {
        float* const of = out.numbers.data() + row * k + 32 * block;
        std::uint8_t* const codes = out.data.data() + (row * out.stride + 32 * block) * bits_of(type) / 8;
        std::uint8_t& scale = out.scales[static_cast<std::size_t>(row * out.scale_stride + block)];
        if (type == dtype::mxfp8) {
          scale = quantize_mxfp8_block(of, codes);
          dequantize_mxfp8_block(codes, scale, of);
        } else {
          scale = quantize_mxfp4_block(of, codes);
          dequantize_mxfp4_block(codes, scale, of);
        }
      }
    return out;
  }
  if (type == dtype::fp8_e4m3) {
    float largest = 1e-6f;
    for (const float number : out.numbers) largest = std::max(largest, std::fabs(number));
    out.scale = {largest / 400.0f};  // the largest E4M3 number is 448
  }
  for (std::int64_t i = 0; i < rows * k; ++i) {
    const std::int64_t at = i / k * out.stride + i % k;
    float& number = out.numbers[static_cast<std::size_t>(i)];
    if (type == dtype::fp8_e4m3) {
      std::uint8_t& code = out.data[static_cast<std::size_t>(at)];
      code = float_to_e4m3(number / out.scale[0]);
      number = out.scale[0] * e4m3_to_float(code);
    } else {
      store_number(type, out.data.data(), at, number);
      number = static_cast<float>(load_number(type, out.data.data(), at));
    }
  }
  return out;
}

void host_call::finish(std::uint64_t seed) {
  const std::int64_t stride = args.y.row_stride, columns = output_columns(args), slots = args.y.rows * args.topk;
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  y_before.resize(static_cast<std::size_t>(args.y.rows * stride * bits_of(args.y.type) / 8));
  // Without `accumulate` NaN: who reads it shows.
  for (std::int64_t i = 0; i < args.y.rows * stride; ++i)
    store_number(args.y.type, y_before.data(), i,
                 args.accumulate ? normal(random) : std::numeric_limits<float>::quiet_NaN());
  expected.assign(static_cast<std::size_t>(args.y.rows * columns), 0.0);
  written.assign(static_cast<std::size_t>(args.y.rows), writes_every_row(args));
  std::vector<float> weights(static_cast<std::size_t>(args.n * args.k));
  std::vector<double> sums(static_cast<std::size_t>(args.n));
  for (int e = 0; e < args.experts; ++e) {
    if (offsets[static_cast<std::size_t>(e) + 1] == offsets[static_cast<std::size_t>(e)]) continue;
    const auto first_block = static_cast<std::size_t>(e * args.n * args.k / 32);
    for (std::size_t block = 0; block < weights.size() / 32; ++block)
      dequantize_mxfp4_block(w_values.data() + 16 * (first_block + block), w_scales[first_block + block],
                             weights.data() + 32 * block);
    for (std::int64_t row = offsets[static_cast<std::size_t>(e)]; row < offsets[static_cast<std::size_t>(e) + 1];
         ++row) {
      const std::int64_t from = gather.empty() ? row : gather[static_cast<std::size_t>(row)];
      const std::int64_t to = scatter.empty() ? row : scatter[static_cast<std::size_t>(row)];
      if (from < 0 || to < 0 || to >= slots) continue;
      for (std::int64_t n = 0; n < args.n; ++n)
        sums[static_cast<std::size_t>(n)] =
            dot(x.numbers.data() + from * args.k, weights.data() + n * args.k, args.k) +
            (bias.empty() ? 0.0 : static_cast<double>(bias[static_cast<std::size_t>(e * args.n + n)]));
      const double gamma = gammas.empty() ? 1.0 : static_cast<double>(gammas[static_cast<std::size_t>(row)]);
      const std::int64_t y_row = to / args.topk;
      written[static_cast<std::size_t>(y_row)] = true;
      for (std::int64_t c = 0; c < columns; ++c)
        expected[static_cast<std::size_t>(y_row * columns + c)] += finished(args, sums, c) * gamma;
    }
  }
  if (!args.accumulate) return;
  for (std::int64_t i = 0; i < args.y.rows * columns; ++i)
    expected[static_cast<std::size_t>(i)] +=
        load_number(args.y.type, y_before.data(), i / columns * stride + i % columns);
}

call_verdict host_call::judge(std::span<const std::uint8_t> y) const {
  call_verdict out{.limit = error_limit(args.y.type, args.k)};
  const std::int64_t stride = args.y.row_stride, columns = output_columns(args);
  const auto bytes = static_cast<std::size_t>(bits_of(args.y.type) / 8);
  std::int64_t outside = 0, unwritten = 0;
  double wrong = 0, norm = 0, worst_row = 0;
  for (std::int64_t row = 0; row < args.y.rows; ++row) {
    double row_wrong = 0, row_norm = 0;
    for (std::int64_t c = 0; c < stride; ++c) {
      const std::int64_t i = row * stride + c;
      const auto at = static_cast<std::size_t>(i) * bytes;
      const bool same = std::memcmp(y.data() + at, y_before.data() + at, bytes) == 0;
      if (!written[static_cast<std::size_t>(row)] || c >= columns) {
        outside += same ? 0 : 1;
        continue;
      }
      if (same && !args.accumulate) ++unwritten;
      const double ref = expected[static_cast<std::size_t>(row * columns + c)];
      const double difference = load_number(args.y.type, y.data(), i) - ref;
      row_wrong += difference * difference;
      row_norm += ref * ref;
    }
    wrong += row_wrong;
    norm += row_norm;
    // A row alone may be further off, the more so where its terms cancel.
    if (row_norm > 0) worst_row = std::max(worst_row, std::isnan(row_wrong) ? 1.0 : std::sqrt(row_wrong / row_norm));
  }
  out.error = norm > 0 ? std::sqrt(wrong / norm) : wrong;
  const auto add = [&out](const std::string& text) { out.fault += (out.fault.empty() ? "" : "; ") + text; };
  if (!(out.error <= out.limit)) add("error " + std::to_string(out.error));
  if (!(worst_row <= 20 * out.limit)) add("error " + std::to_string(worst_row) + " in a row");
  if (unwritten != 0) add(std::to_string(unwritten) + " elements are not written");
  if (outside != 0) add(std::to_string(outside) + " elements are written that must not be");
  return out;
}

host_call make_call(const call_spec& spec) {
  host_call call;
  std::mt19937_64 random(spec.seed);
  std::normal_distribution<float> normal;
  const auto experts = static_cast<int>(spec.rows.size());
  call.offsets = {0};
  for (const int rows : spec.rows) call.offsets.push_back(call.offsets.back() + rows);
  const std::int64_t m = call.offsets.back();
  const std::int64_t columns = spec.act == activation::swiglu ? spec.n / 2 : spec.n;
  const std::int64_t x_rows = spec.gather ? std::max<std::int64_t>(m / 2, 1) : std::max<std::int64_t>(m, 1);

  call.own_w_values.resize(static_cast<std::size_t>(experts * spec.n * spec.k / 2));
  call.own_w_scales.resize(static_cast<std::size_t>(experts * spec.n * spec.k / 32));
  for (std::uint8_t& byte : call.own_w_values) byte = static_cast<std::uint8_t>(random());
  for (std::uint8_t& byte : call.own_w_scales) byte = static_cast<std::uint8_t>(117 + random() % 6);
  call.w_values = call.own_w_values;
  call.w_scales = call.own_w_scales;
  std::vector<float> numbers(static_cast<std::size_t>(x_rows * spec.k));
  for (float& number : numbers) number = normal(random);
  call.x = code_rows(spec.x, std::move(numbers), x_rows, spec.k, true);

  const auto normals = [&](std::int64_t count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = normal(random);
    return values;
  };
  if (spec.bias) call.bias = normals(experts * spec.n);
  if (spec.gammas) call.gammas = normals(m);
  if (spec.scatter || spec.topk > 1) {
    call.scatter.resize(static_cast<std::size_t>(m));
    std::iota(call.scatter.begin(), call.scatter.end(), 0);
    std::shuffle(call.scatter.begin(), call.scatter.end(), random);
    for (std::size_t i = 4; spec.absent && i < call.scatter.size(); i += 9) call.scatter[i] = -1;
  }
  if (spec.gather) {
    call.gather.resize(static_cast<std::size_t>(m));
    for (std::int32_t& index : call.gather)
      index = static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(x_rows));
    for (std::size_t i = 3; spec.absent && i < call.gather.size(); i += 7) call.gather[i] = -1;
  }
  call.args = {
      .m = m,
      .n = spec.n,
      .k = spec.k,
      .experts = experts,
      .x = {.type = spec.x, .rows = x_rows, .row_stride = call.x.stride, .block_scale_stride = call.x.scale_stride},
      .y = {.type = spec.y, .rows = (m + spec.topk - 1) / spec.topk, .row_stride = columns + 2},
      .topk = spec.topk,
      .write_every_row = spec.every_row,
      .act = spec.act,
      .accumulate = spec.accumulate};
  call.finish(spec.seed + 1);
  return call;
}

}  // namespace tilefit::inline v0::bench
