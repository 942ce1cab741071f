// The sum over topk and rows of zeros in the executor: bits against sums in the order of the parts.
#include <random>

#include "../../support/catch.hpp"
#include "../x_rows.hpp"
#include "executor_stream.hpp"
#include "layer_kernels.hpp"

using namespace tilefit_simt;
using simt::memory_use;

namespace {

enum class presence { all, byte_map, experts, mapped_experts };

struct sum_case {
  std::int64_t tokens = 5;
  int topk = 4;
  std::int64_t columns = 64;
  dtype y = dtype::bf16;
  presence present = presence::all;
  bool accumulate = false;
  std::int64_t padding = 0;  ///< elements between rows of Y
};

void check(const sum_case& c) {
  INFO(c.tokens << " tokens, topk " << c.topk << ", " << c.columns << " columns, " << name_of(c.y) << ", presence "
                << static_cast<int>(c.present) << ", padding " << c.padding);
  std::mt19937 random(static_cast<unsigned>(c.tokens * c.columns + c.topk));
  std::normal_distribution<float> normal;
  simt::memory memory;
  const std::int64_t slots = c.tokens * c.topk, stride = c.columns + c.padding;
  constexpr int experts = 6;
  auto* const parts = memory.take<float>(slots * c.columns, "parts", memory_use::input);
  auto* const present = memory.take<std::uint8_t>(slots, "present", memory_use::input);
  auto* const index = memory.take<std::int32_t>(slots, "expert_index", memory_use::input);
  auto* const map = memory.take<std::int32_t>(experts, "expert_map", memory_use::input);
  for (int e = 0; e < experts; ++e) map[e] = e % 2 == 0 ? e / 2 : -1;
  for (std::int64_t slot = 0; slot < slots; ++slot) {
    const auto any = static_cast<int>(random() % 8) - 1;  // -1, 6: nobody's
    index[slot] = any;
    const bool known = any >= 0 && any < experts;
    present[slot] = c.present == presence::byte_map         ? random() % 3 != 0
                    : c.present == presence::experts        ? known
                    : c.present == presence::mapped_experts ? known && any % 2 == 0
                                                            : 1;
    for (std::int64_t i = 0; i < c.columns; ++i)  // NaN where a part must not count
      parts[slot * c.columns + i] = present[slot] != 0 ? normal(random) : std::bit_cast<float>(0x7FC0'0000u);
  }
  const std::int64_t y_bytes = bits_of(c.y) / 8;
  void* const y = memory.take(static_cast<std::size_t>(c.tokens * stride * y_bytes), "Y", memory_use::output);
  std::vector<float> old(static_cast<std::size_t>(c.tokens * stride));
  for (std::size_t i = 0; i < old.size(); ++i) {
    store_number(c.y, y, static_cast<std::int64_t>(i), normal(random));
    old[i] = static_cast<float>(load_number(c.y, y, static_cast<std::int64_t>(i)));
  }
  gpu::reduce_topk_args args{.tokens = c.tokens,
                             .topk = c.topk,
                             .columns = c.columns,
                             .parts = parts,
                             .y = {.data = y, .type = c.y, .rows = c.tokens, .row_stride = stride},
                             .accumulate = c.accumulate};
  if (c.present == presence::byte_map) args.present = present;
  if (c.present == presence::experts || c.present == presence::mapped_experts) {
    args.expert_index = index;
    args.experts = experts;
  }
  if (c.present == presence::mapped_experts) args.expert_map = map;
  executor_stream stream(memory);
  REQUIRE(tilefit_simt::reduce_topk(args, stream).code == status_code::ok);
  REQUIRE(stream.faults == "");
  int wrong = 0;
  for (std::int64_t token = 0; token < c.tokens; ++token)
    for (std::int64_t i = 0; i < stride; ++i) {
      const std::int64_t at = token * stride + i;
      float wanted = old[static_cast<std::size_t>(at)];
      if (i < c.columns) {
        float sum = 0;
        for (std::int64_t slot = token * c.topk; slot < (token + 1) * c.topk; ++slot)
          if (present[slot] != 0) sum += parts[slot * c.columns + i];
        std::uint32_t rounded = 0;
        store_number(c.y, &rounded, 0, c.accumulate ? sum + wanted : sum);
        wanted = static_cast<float>(load_number(c.y, &rounded, 0));
      }
      wrong += static_cast<float>(load_number(c.y, y, at)) != wanted ? 1 : 0;
    }
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("simt reduce: formats, presence, alignment", "[simt]") {
  for (const dtype y : {dtype::bf16, dtype::fp16, dtype::fp32})
    for (const presence present : {presence::all, presence::byte_map, presence::experts, presence::mapped_experts})
      for (const bool accumulate : {false, true}) {
        check({.y = y, .present = present, .accumulate = accumulate});
        check({.columns = 33, .y = y, .present = present, .accumulate = accumulate, .padding = 3});
      }
  check({.tokens = 3, .topk = 1, .columns = 516});
  check({.tokens = 3, .topk = 7, .columns = 1030, .y = dtype::fp32, .present = presence::byte_map});
  // More than is read before it is known which parts count.
  check({.tokens = 17, .topk = 8, .columns = 2880, .present = presence::mapped_experts});
}

TEST_CASE("simt reduce: zeros", "[simt]") {
  for (const std::int64_t columns : {1, 6, 64, 1030})
    for (const std::int64_t padding : {0, 1, 8}) {
      simt::memory memory;
      const std::int64_t stride = columns + padding, rows = 3;
      auto* const y = memory.take<std::uint16_t>(rows * stride, "Y", memory_use::output);
      std::fill_n(y, rows * stride, std::uint16_t{0x1234});
      executor_stream stream(memory);
      REQUIRE(tilefit_simt::zero_rows({.data = y, .rows = rows, .row_stride = stride}, columns, stream).code ==
              status_code::ok);
      CHECK(stream.faults == "");
      for (std::int64_t i = 0; i < rows * stride; ++i) CHECK(y[i] == (i % stride < columns ? 0 : 0x1234));
    }
}

TEST_CASE("simt reduce: what is refused, and nothing to do", "[simt]") {
  simt::memory memory;
  executor_stream stream(memory);
  float part = 0;
  std::uint16_t y = 0;
  const gpu::reduce_topk_args good{
      .tokens = 1, .columns = 1, .parts = &part, .y = {.data = &y, .rows = 1, .row_stride = 1}};
  gpu::reduce_topk_args none = good;
  none.tokens = none.y.rows = 0;
  CHECK(tilefit_simt::reduce_topk(none, stream).code == status_code::empty);
  gpu::reduce_topk_args bad = good;
  bad.y.type = dtype::fp8_e4m3;
  CHECK(tilefit_simt::reduce_topk(bad, stream).code == status_code::unsupported_dtype);
  bad = good;
  bad.parts = nullptr;
  CHECK(tilefit_simt::reduce_topk(bad, stream).reason.subject == "parts");
  CHECK(stream.kernels == 0);
}
