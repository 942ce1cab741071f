// One call of matmul_ogs in host memory, its float64 result, and the verdict on what a device made of it.
// Knows: matmul_args, formats of X, what may be written and how exact it has to be.
// Must not know: devices, tiles, packed layouts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <tilefit/matmul_args.hpp>

namespace tilefit::inline v0::bench {

/// A random call: what it exercises.
struct call_spec {
  std::vector<int> rows = {5};  ///< of each expert, before some are absent
  std::int64_t n = 64;
  std::int64_t k = 64;
  dtype x = dtype::bf16;
  dtype y = dtype::bf16;
  activation act = activation::none;
  bool gather = false;   ///< through an index that names rows of X more than once
  bool scatter = false;  ///< through a permutation
  bool absent = false;   ///< some of both indices are -1
  bool bias = true;
  bool gammas = false;
  bool accumulate = false;
  bool every_row = false;
  int topk = 1;  ///< slots that are summed into a row of Y
  std::uint64_t seed = 1;
};

/// Rows in a format of X, and the numbers that they stand for.
struct coded_rows {
  std::vector<std::uint8_t> data;    ///< stride elements a row; what lies between rows is 0xFF
  std::vector<std::uint8_t> scales;  ///< E8M0 [rows, scale_stride] of mxfp8 and mxfp4
  std::vector<float> scale;          ///< one number for e4m3, or none
  std::int64_t stride = 0, scale_stride = 0;
  std::vector<float> numbers;  ///< [rows, k]
};
/// Rounds `numbers` [rows, k] to the format: blocks of 32 get an E8M0 scale, e4m3 one scale for all.
coded_rows code_rows(dtype type, std::vector<float> numbers, std::int64_t rows, std::int64_t k, bool padded);

struct call_verdict {
  double error = 0;        ///< ||y - ref|| / ||ref||
  double limit = 0;        ///< what it may be
  std::string fault = {};  ///< empty: right
};

/// Everything that a call reads and what it must write. Pointers in `args` are null, but for workspace none is the
/// call's own; a device fills them in with copies.
struct host_call {
  matmul_args args;
  coded_rows x;
  std::span<const std::uint8_t> w_values, w_scales;  ///< row-major [experts, n, k / 32, 16 | 1]
  std::vector<std::uint8_t> own_w_values, own_w_scales;
  std::vector<float> bias, gammas;
  std::vector<std::int32_t> offsets, gather, scatter;
  std::vector<std::uint8_t> y_before;  ///< what Y holds before, all of its rows and what lies between them
  std::vector<double> expected;        ///< [rows of Y, columns]
  std::vector<bool> written;           ///< rows of Y

  /// Fills Y's old content and works out `expected`, once everything else is there.
  void finish(std::uint64_t seed);
  std::size_t y_bytes() const noexcept { return y_before.size(); }
  /// Compares Y after a run, of y_bytes().
  call_verdict judge(std::span<const std::uint8_t> y) const;
};

host_call make_call(const call_spec& spec);

/// Element `i` of fp32, bf16 or fp16.
double load_number(dtype type, const void* data, std::int64_t i) noexcept;

}  // namespace tilefit::inline v0::bench
