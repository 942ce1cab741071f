// The judge of `tilefit-bench verify` must see what is wrong.
#include <algorithm>
#include <cstring>
#include <string>

#include "../support/catch.hpp"
#include "host_call.hpp"

using namespace tilefit;
using bench::call_spec;
using bench::host_call;

namespace {

/// Y as a right kernel leaves it, in fp32.
std::vector<std::uint8_t> right_y(const host_call& call) {
  std::vector<std::uint8_t> y = call.y_before;
  const std::int64_t columns = output_columns(call.args);
  for (std::int64_t row = 0; row < call.args.y.rows; ++row)
    for (std::int64_t c = 0; c < columns && call.written[static_cast<std::size_t>(row)]; ++c) {
      const auto value = static_cast<float>(call.expected[static_cast<std::size_t>(row * columns + c)]);
      std::memcpy(y.data() + 4 * (row * call.args.y.row_stride + c), &value, 4);
    }
  return y;
}

bool says(const host_call& call, const std::vector<std::uint8_t>& y, const std::string& text) {
  return call.judge(y).fault.find(text) != std::string::npos;
}

}  // namespace

TEST_CASE("host_call: what is right and what is not", "[host_call]") {
  const host_call call = bench::make_call({.rows = {3, 0, 9},
                                           .n = 64,
                                           .k = 96,
                                           .x = dtype::mxfp8,
                                           .y = dtype::fp32,
                                           .gather = true,
                                           .scatter = true,
                                           .absent = true});
  const std::vector<std::uint8_t> y = right_y(call);
  CHECK(call.judge(y).fault.empty());
  CHECK(call.judge(y).error < 1e-6);
  CHECK(says(call, call.y_before, "not written"));

  const auto absent =
      static_cast<std::size_t>(std::find(call.written.begin(), call.written.end(), false) - call.written.begin());
  REQUIRE(absent < call.written.size());
  const auto stride = static_cast<std::size_t>(4 * call.args.y.row_stride);
  std::vector<std::uint8_t> wrong = y;
  wrong[absent * stride] ^= 1;
  CHECK(says(call, wrong, "1 elements are written that must not be"));
  wrong = y;
  wrong[stride - 1] ^= 1;  // behind the columns of the first row
  CHECK(says(call, wrong, "1 elements are written that must not be"));
  const std::size_t present = absent == 0 ? 1 : 0;
  wrong = y;
  std::memcpy(wrong.data() + present * stride, call.y_before.data() + present * stride, 4);
  CHECK(says(call, wrong, "1 elements are not written"));
  wrong = y;
  wrong[present * stride + 3] ^= 0x80;  // a sign
  CHECK(says(call, wrong, "error"));
}

TEST_CASE("host_call: sums over slots, old contents, no rows", "[host_call]") {
  const host_call summed =
      bench::make_call({.rows = {5, 3}, .n = 32, .k = 32, .y = dtype::fp32, .accumulate = true, .topk = 2});
  CHECK(summed.args.y.rows == 4);
  CHECK(summed.judge(right_y(summed)).fault.empty());
  const host_call empty = bench::make_call({.rows = {0, 0}, .n = 32, .k = 32});
  CHECK(empty.judge({}).fault.empty());
}
