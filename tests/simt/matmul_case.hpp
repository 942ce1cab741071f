// One matmul in the executor: random inputs in watched memory, the float64 result, and how far a run is from it.
// Knows: matmul_args, ogs_params, what may be written. Must not know: tiles.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "simt_kernels.hpp"
#include "tilefit/device/simt/executor.hpp"
#include "tilefit/kernels/schedule.hpp"
#include "tilefit/weights.hpp"
#include "x_rows.hpp"

namespace tilefit_simt {

using namespace tilefit;

struct case_spec {
  std::vector<int> rows = {5};  ///< of each expert
  std::int64_t n = 64;
  std::int64_t k = 64;
  dtype x = dtype::bf16;
  bool x_row_scales = false;  ///< with FP8
  dtype y = dtype::bf16;
  bool gather = false;   ///< through an index, with some rows absent when `absent`
  bool scatter = false;  ///< likewise
  bool absent = false;
  bool bias = true;
  bool gammas = false;
  activation act = activation::none;
  bool accumulate = false;
  int lowest_scale = 118, highest_scale = 124;
  weight_layout layout = weight_layout::mma_m16k64;
  std::uint64_t seed = 1;
};

/// What came of a run.
struct verdict {
  double error = 0;            ///< ||y - ref|| / ||ref||
  std::int64_t unwritten = 0;  ///< elements that are as before
  std::int64_t outside = 0;    ///< elements written that must not be
  simt::grid_result grid;

  /// Empty when all is well.
  std::string text(double limit) const {
    std::string out = grid.faults.text();
    if (!(error <= limit)) out += "error " + std::to_string(error) + "\n";
    if (unwritten != 0) out += std::to_string(unwritten) + " elements are not written\n";
    if (outside != 0) out += std::to_string(outside) + " elements are written that must not be\n";
    return out;
  }
};

/// Largest error of a right result.
inline double error_limit(dtype y) { return y == dtype::bf16 ? 4e-3 : y == dtype::fp16 ? 1e-3 : 2e-5; }

/// What a launch works out from arguments for a kernel.
inline kernels::ogs_params params_of(const matmul_kernel& kernel, const matmul_args& args, kernels::store_kind store,
                                     std::uint8_t* present) {
  kernels::ogs_params params{.args = args};
  params.atoms = static_cast<std::int32_t>(detail::ceil_div(args.n, weight_atom::rows));
  params.steps = static_cast<std::int32_t>(detail::ceil_div(args.k, kernel.flags.block_k));
  params.store = store;
  params.present = present;
  return params;
}

/// Column `column` of Y from the sums of a row.
inline double activated(const matmul_args& args, const std::vector<double>& sums, std::int64_t column) {
  if (args.act != activation::swiglu) return sums[static_cast<std::size_t>(column)];
  const auto limit = static_cast<double>(args.swiglu.limit);
  const double gate = std::min(sums[static_cast<std::size_t>(2 * column)], limit);
  const double up = std::clamp(sums[static_cast<std::size_t>(2 * column + 1)], -limit, limit);
  return (up + static_cast<double>(args.swiglu.up_offset)) * gate /
         (1 + std::exp(-static_cast<double>(args.swiglu.alpha) * gate));
}

/// The numbers of row-major MXFP4.
inline std::vector<float> mxfp4_numbers(const std::vector<std::uint8_t>& values,
                                        const std::vector<std::uint8_t>& scales) {
  static constexpr float magnitudes[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  std::vector<float> numbers(values.size() * 2);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const int code = values[i / 2] >> (4 * (i % 2)) & 15;
    numbers[i] = std::ldexp(code < 8 ? magnitudes[code] : -magnitudes[code - 8], scales[i / 32] - 127);
  }
  return numbers;
}

class matmul_case {
 public:
  explicit matmul_case(const case_spec& wanted) : spec(wanted), random_(wanted.seed) {
    const int experts = static_cast<int>(spec.rows.size());
    offsets_.push_back(0);
    for (const int rows : spec.rows) offsets_.push_back(offsets_.back() + rows);
    const std::int64_t m = offsets_.back();
    columns = spec.act == activation::swiglu ? spec.n / 2 : spec.n;
    const std::int64_t x_rows = spec.gather ? std::max<std::int64_t>(m / 2, 1) : m;
    const std::int64_t y_stride = columns + 2;
    using enum simt::memory_use;

    std::vector<std::uint8_t> values(static_cast<std::size_t>(experts * spec.n * spec.k / 2));
    std::vector<std::uint8_t> scales(static_cast<std::size_t>(experts * spec.n * spec.k / 32));
    for (std::uint8_t& byte : values) byte = static_cast<std::uint8_t>(random_());
    std::uniform_int_distribution<int> scale(spec.lowest_scale, spec.highest_scale);
    for (std::uint8_t& byte : scales) byte = static_cast<std::uint8_t>(scale(random_));
    weights_ = mxfp4_numbers(values, scales);
    auto* const packed = memory.take<std::uint8_t>(experts * bytes_per_expert(spec.layout, spec.n, spec.k), "W", input);
    if (shuffle_weights(spec.layout, {experts, spec.n, spec.k}, {values.data(), scales.data()}, {packed, nullptr}) !=
        status_code::ok)
      std::abort();

    std::normal_distribution<float> normal;
    std::vector<float> x_numbers(static_cast<std::size_t>(x_rows * spec.k));
    for (float& number : x_numbers) number = normal(random_);
    x_ = store_x(memory, spec.x, std::move(x_numbers), x_rows, spec.k, true, spec.x_row_scales);
    const auto numbers = [&](std::int64_t count, const char* name) {
      float* const to = memory.take<float>(count, name, input);
      for (std::int64_t i = 0; i < count; ++i) to[i] = normal(random_);
      return to;
    };
    const auto indices = [&](const std::vector<std::int32_t>& from, const char* name) {
      auto* const to = memory.take<std::int32_t>(static_cast<std::int64_t>(from.size()), name, input);
      std::copy(from.begin(), from.end(), to);
      return to;
    };
    std::vector<std::int32_t> gather(static_cast<std::size_t>(m)), scatter(gather);
    for (std::size_t i = 0; i < gather.size(); ++i) {
      gather[i] = static_cast<std::int32_t>(random_() % static_cast<std::uint64_t>(x_rows));
      scatter[i] = static_cast<std::int32_t>(i);
      if (spec.absent && i % 7 == 3) gather[i] = -1;
      if (spec.absent && i % 9 == 4) scatter[i] = -1;
    }
    std::shuffle(scatter.begin(), scatter.end(), random_);

    const std::size_t element_bytes = spec.y == dtype::fp32 ? 4 : 2;
    auto* const y =
        memory.take(static_cast<std::size_t>(m * y_stride) * element_bytes, "Y", spec.accumulate ? output : scratch);
    args = {.m = m,
            .n = spec.n,
            .k = spec.k,
            .experts = experts,
            .x = x_.operand,
            .w = {.data = packed, .type = dtype::mxfp4, .layout = spec.layout},
            .y = {.data = y, .type = spec.y, .rows = m, .row_stride = y_stride},
            .expert_offsets = indices(offsets_, "expert_offsets"),
            .act = spec.act,
            .accumulate = spec.accumulate};
    if (spec.bias) args.bias = numbers(experts * spec.n, "bias");
    if (spec.gather) args.gather_indx = indices(gather, "gather_indx");
    if (spec.scatter) args.scatter_indx = indices(scatter, "scatter_indx");
    if (spec.gammas) args.gammas = numbers(m, "gammas");
    present_ = memory.take<std::uint8_t>(m, "present", flags);
    before_.resize(static_cast<std::size_t>(m * y_stride) * element_bytes);
    for (std::int64_t i = 0; i < m * y_stride; ++i)
      store_number(spec.y, before_.data(), i, spec.accumulate ? normal(random_) : -999.0f - static_cast<float>(i % 5));
    compute();
  }

  /// One run on fresh memory. `split_k` > 1: blocks share tiles along K.
  verdict run(const matmul_kernel& kernel, unsigned grid, int split_k, const simt::grid_options& options = {},
              std::int64_t smem_less = 0) {
    const std::size_t buffers = memory.size();
    const opt_flags& flags = kernel.flags;
    const bool pairs = args.y.row_stride % 2 == 0 && !args.accumulate;
    using enum kernels::store_kind;
    kernels::ogs_params params = params_of(kernel, args,
                                           !pairs                       ? generally
                                           : args.y.type == dtype::bf16 ? bf16
                                           : args.y.type == dtype::fp16 ? fp16
                                                                        : fp32,
                                           present_);
    params.split_k = split_k;
    const std::int64_t counters = std::int64_t{grid} * kernel.teams;
    auto* const arrivals = memory.take<std::uint32_t>(counters, "arrivals", simt::memory_use::output);
    std::fill_n(arrivals, counters, 0u);
    params.arrivals = arrivals;
    if (split_k > 1)
      params.partials = memory.take<float>(std::int64_t{grid} * 2 * flags.block_m * flags.block_n, "partials",
                                           simt::memory_use::scratch);
    std::memcpy(args.y.data, before_.data(), before_.size());
    std::fill_n(present_, args.m, std::uint8_t{0});

    simt::executor executor(memory);
    verdict out;
    out.grid = executor.run({.grid = grid,
                             .block = static_cast<unsigned>(kernel.threads),
                             .shared_bytes = kernel.smem_bytes - static_cast<std::size_t>(smem_less)},
                            options, kernel.run, params);
    judge(out);
    for (std::int64_t i = 0; i < counters; ++i) out.outside += arrivals[i] != 0 ? 1 : 0;
    memory.keep(buffers);
    return out;
  }

  case_spec spec;
  simt::memory memory;
  matmul_args args;
  std::int64_t columns = 0;

 private:
  void compute() {
    const std::int64_t stride = args.y.row_stride;
    expected_.assign(static_cast<std::size_t>(args.m * stride), 0.0);
    row_there_.assign(static_cast<std::size_t>(args.m), false);
    std::vector<float> x(static_cast<std::size_t>(spec.k));
    std::vector<double> sums(static_cast<std::size_t>(spec.n));
    int expert = 0;
    for (std::int64_t row = 0; row < args.m; ++row) {
      while (offsets_[static_cast<std::size_t>(expert) + 1] <= row) ++expert;
      const std::int64_t from = spec.gather ? args.gather_indx[row] : row;
      const std::int64_t to = spec.scatter ? args.scatter_indx[row] : row;
      if (from < 0 || to < 0) continue;
      row_there_[static_cast<std::size_t>(to)] = true;
      for (std::int64_t k = 0; k < spec.k; ++k)
        x[static_cast<std::size_t>(k)] = x_.numbers[static_cast<std::size_t>(from * spec.k + k)];
      for (std::int64_t n = 0; n < spec.n; ++n) {
        const float* const w = weights_.data() + (expert * spec.n + n) * spec.k;
        double sum = spec.bias ? static_cast<double>(args.bias[expert * spec.n + n]) : 0.0;
        for (std::int64_t k = 0; k < spec.k; ++k)
          sum += static_cast<double>(w[k]) * static_cast<double>(x[static_cast<std::size_t>(k)]);
        sums[static_cast<std::size_t>(n)] = sum;
      }
      for (std::int64_t column = 0; column < columns; ++column) {
        double value = activated(args, sums, column);
        if (spec.gammas) value *= static_cast<double>(args.gammas[row]);
        if (spec.accumulate) value += load_number(spec.y, before_.data(), to * stride + column);
        expected_[static_cast<std::size_t>(to * stride + column)] = value;
      }
    }
  }

  void judge(verdict& out) const {
    const std::int64_t stride = args.y.row_stride;
    const std::size_t element_bytes = spec.y == dtype::fp32 ? 4 : 2;
    double wrong = 0, norm = 0;
    for (std::int64_t i = 0; i < args.m * stride; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const bool same = std::memcmp(static_cast<const std::byte*>(args.y.data) + at * element_bytes,
                                    before_.data() + at * element_bytes, element_bytes) == 0;
      if (!row_there_[static_cast<std::size_t>(i / stride)] || i % stride >= columns) {
        out.outside += same ? 0 : 1;
        continue;
      }
      if (same && !spec.accumulate) ++out.unwritten;
      const double difference = load_number(spec.y, args.y.data, i) - expected_[at];
      wrong += difference * difference;
      norm += expected_[at] * expected_[at];
    }
    out.error = norm > 0 ? std::sqrt(wrong / norm) : wrong;
    for (std::int64_t row = 0; row < args.m; ++row)
      if ((present_[row] != 0) != row_there_[static_cast<std::size_t>(row)]) ++out.outside;
  }

  std::mt19937_64 random_;
  std::vector<std::int32_t> offsets_;
  std::vector<float> weights_;  // [experts, n, k]
  x_rows x_;
  std::vector<double> expected_;
  std::vector<bool> row_there_;  // of Y
  std::vector<std::byte> before_;
  std::uint8_t* present_ = nullptr;
};

}  // namespace tilefit_simt
