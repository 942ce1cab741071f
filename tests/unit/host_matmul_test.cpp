#include <array>
#include <string>

#include "catch.hpp"
#include "host_matmul_fixture.hpp"

using namespace tilefit_test;

namespace {

constexpr opt_flags plain_flags{.block_m = 16, .block_n = 64, .block_k = 64};
constexpr host::isa all_levels[] = {host::isa::portable, host::isa::avx2, host::isa::avx512, host::isa::avx512_bf16};

/// Rounding of one element of the output, as a bound on the relative error of a row.
double tolerance(dtype y) {
  switch (y) {
    case dtype::fp32: return 1e-5;
    case dtype::fp16: return 6e-4;
    case dtype::bf16: return 4e-3;
    case dtype::mxfp4: return 0.25;  // a quarter of a step of 2 beside 6, and saturation
    default: return 0.1;             // an MX block may saturate its largest elements by up to an eighth
  }
}

void check(const case_spec& spec, const opt_flags& flags, const host::execution& how = {}) {
  matmul_case test(spec);
  INFO("tokens " << spec.tokens << " experts " << spec.experts << " topk " << spec.topk << " n " << spec.n << " k "
                 << spec.k << " x " << name_of(spec.x) << " w " << name_of(spec.w) << " y " << name_of(spec.y)
                 << " block " << flags.block_m << "x" << flags.block_n << "x" << flags.block_k << " split "
                 << flags.split_k << " isa " << host::name_of(how.level));
  REQUIRE(succeeded(test.setup));
  REQUIRE(test.run(flags, how) == (spec.tokens == 0 ? status_code::empty : status_code::ok));
  CHECK(test.worst_row_error() <= tolerance(spec.y));
}

}  // namespace

TEST_CASE("host matmul: experts, topk and tokens", "[host]") {
  unsigned seed = 0;
  for (const int experts : {1, 4, 8, 32})
    for (const int topk : {1, 2, 4})
      for (const std::int64_t tokens : {0, 1, 2, 7, 8, 63, 64, 65, 129}) {
        if (topk > experts) continue;
        ++seed;
        check({.tokens = tokens,
               .experts = experts,
               .topk = topk,
               .n = 64,
               .k = seed % 2 == 0 ? 32 : 96,
               .act = seed % 3 == 0 ? activation::swiglu : activation::none,
               .gather = seed % 5 != 0,
               .scatter = seed % 4 != 0,
               .bias = seed % 7 != 0,
               .every_row = seed % 8 < 3,
               .absent = seed % 2 == 0,
               .hot_experts = seed % 6 == 0 ? topk : 0,
               .seed = seed},
              {.block_m = seed % 2 == 0 ? 16 : 64,
               .block_n = 64,
               .block_k = 32,
               .group_m = 1 + static_cast<int>(seed % 3)},
              {.thread_count = 1 + static_cast<int>(seed % 3)});
      }
}

TEST_CASE("host matmul: sizes and tails on every instruction set", "[host]") {
  for (const host::isa level : all_levels) {
    if (!host::supports(level)) continue;
    for (const dtype x : {dtype::fp32, dtype::bf16})
      for (const std::int64_t n : {32, 96, 320})
        for (const std::int64_t k : {32, 96, 320}) {
          // 1 .. 4 rows an expert take another path than more.
          for (const std::int64_t tokens : {1, 2, 3, 4, 13})
            check({.tokens = tokens, .experts = 1, .topk = 1, .n = n, .k = k, .x = x, .act = activation::swiglu},
                  {.block_m = 16, .block_n = 48, .block_k = 64}, {.level = level});
        }
    check({.tokens = 3, .experts = 2, .topk = 1, .n = 64, .k = 2880, .x = dtype::bf16}, plain_flags, {.level = level});
    check({.tokens = 9, .experts = 1, .topk = 1, .n = 64, .k = 2880}, plain_flags, {.level = level});
    check({.tokens = 9, .experts = 1, .topk = 1, .n = 2880, .k = 32}, plain_flags, {.level = level});
  }
}

TEST_CASE("host matmul: any tile", "[host]") {
  for (const int block_m : {1, 16, 128})
    for (const int block_n : {2, 32, 130, 512})
      for (const int block_k : {32, 128, 512})
        for (const int split_k : {1, 2, 3, 50})
          check({.tokens = 21, .experts = 3, .n = 160, .k = 320, .act = activation::swiglu, .absent = true},
                {.block_m = block_m, .block_n = block_n, .block_k = block_k, .group_m = 2, .split_k = split_k},
                {.thread_count = 2});
}

TEST_CASE("host matmul: formats of X and W", "[host]") {
  for (const dtype x : all_dtypes)
    for (const dtype w : {dtype::mxfp4, dtype::bf16, dtype::fp16, dtype::fp32, dtype::fp8_e4m3})
      for (const std::int64_t tokens : {1, 40})
        for (const int split_k : {1, 2})
          check({.tokens = tokens, .x = x, .w = w, .act = activation::swiglu, .accumulate = tokens == 40},
                {.block_m = 16, .block_n = 64, .block_k = 32, .split_k = split_k});
  for (const bool transposed : {false, true})
    for (const std::int64_t tokens : {1, 3, 40})
      check({.tokens = tokens, .x = dtype::fp8_e4m3, .transposed = transposed, .row_scales = true}, plain_flags);
  for (const dtype x : {dtype::fp32, dtype::bf16, dtype::fp16, dtype::fp8_e4m3})
    for (const std::int64_t tokens : {3, 40}) check({.tokens = tokens, .x = x, .transposed = true}, plain_flags);
  // Dense weights need no multiple of 32, and a swiglu of 2 columns leaves one.
  for (const std::int64_t k : {1, 33, 100})
    check({.tokens = 5, .n = 2, .k = k, .w = dtype::bf16, .act = activation::swiglu}, plain_flags);
}

TEST_CASE("host matmul: weight layouts give the same bits", "[host]") {
  for (const weight_layout layout : {weight_layout::mma_m16k64, weight_layout::mfma_m16k128}) {
    const case_spec spec{.tokens = 30, .n = 96, .k = 160, .act = activation::swiglu};
    case_spec shuffled = spec;
    shuffled.layout = layout;
    matmul_case a(spec), b(shuffled);
    REQUIRE(a.run(plain_flags) == status_code::ok);
    // The fast path of few rows reads row-major weights only.
    REQUIRE(b.run(plain_flags, {.batch_invariant = true}) == status_code::ok);
    CHECK(b.worst_row_error() <= 1e-5);
    REQUIRE(a.run(plain_flags, {.batch_invariant = true}) == status_code::ok);
    CHECK(a.y.bytes == b.y.bytes);
  }
}

TEST_CASE("host matmul: what is stored is the fp32 result, rounded once", "[host]") {
  for (const dtype y : {dtype::bf16, dtype::fp16, dtype::fp8_e4m3, dtype::mxfp8, dtype::mxfp4})
    for (const bool scatter : {false, true})
      for (const int block_n : {32, 64, 128}) {  // 32: swiglu leaves half an MX block to a tile
        case_spec spec{.tokens = 20, .n = 128, .act = activation::swiglu, .scatter = scatter, .absent = true};
        const opt_flags flags{.block_m = 16, .block_n = block_n, .block_k = 32};
        matmul_case exact(spec);
        REQUIRE(exact.run(flags) == status_code::ok);
        spec.y = y;
        matmul_case narrow(spec);
        REQUIRE(narrow.run(flags) == status_code::ok);
        CHECK(narrow.worst_row_error() <= tolerance(y));
        std::vector<bool> written;
        (void)exact.reference(written);
        for (std::int64_t r = 0; r < exact.y_rows; ++r) {
          if (!written[at(r)]) continue;
          std::vector<float> row = exact.result(r);
          (void)encode(y, 1, exact.columns, narrow.y_scale, row);
          CHECK(narrow.result(r) == row);
        }
        spec.accumulate = true;
        check(spec, flags);
      }
}

TEST_CASE("host matmul: swiglu parameters and NaN", "[host]") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (const swiglu_params p : {swiglu_params{1.0f, infinity, 0.0f}, swiglu_params{0.5f, 0.25f, 2.0f}})
    check({.tokens = 12, .act = activation::swiglu, .swiglu = p}, plain_flags);

  matmul_case test({.tokens = 12, .experts = 1, .topk = 1, .act = activation::swiglu, .scatter = false});
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(test.x_data.bytes.data() + 4 * (3 * 96 + 5), &nan, 4);
  REQUIRE(test.run(plain_flags) == status_code::ok);
  for (std::int64_t r = 0; r < 12; ++r)
    for (const float value : test.result(r)) CHECK(std::isnan(value) == (r == 3));
}

TEST_CASE("host matmul: E8M0 edge scales", "[host]") {
  for (const host::isa level : all_levels) {
    if (!host::supports(level)) continue;
    for (const std::int64_t tokens : {2, 20})  // both paths
      for (const int code : {0, 1, 127, 245, 255}) {
        case_spec spec{.tokens = tokens, .experts = 1, .topk = 1, .n = 32, .k = 64, .scatter = false, .bias = false};
        matmul_case test(spec);
        for (std::size_t i = 0; i < test.w_data.scales.size(); ++i) {
          test.w_data.scales[i] = i % 2 == 0 ? static_cast<std::uint8_t>(code) : std::uint8_t{100};
          dequantize_mxfp4_block(test.w_data.bytes.data() + 16 * i, test.w_data.scales[i],
                                 test.w_values.data() + 32 * i);
        }
        REQUIRE(test.run(plain_flags, {.level = level}) == status_code::ok);
        INFO("scale " << code << " isa " << host::name_of(level));
        if (code != 255) CHECK(test.worst_row_error() <= 1e-5);
        for (std::int64_t r = 0; code == 255 && r < tokens; ++r)
          for (const float value : test.result(r)) CHECK(std::isnan(value));
      }
  }
}

TEST_CASE("host matmul: the same bits for every number of threads and every run", "[host]") {
  for (const host::isa level : all_levels) {
    if (!host::supports(level)) continue;
    for (const int split_k : {1, 3})
      for (const std::int64_t tokens : {5, 65}) {
        const case_spec spec{.tokens = tokens, .experts = 8, .topk = 4, .n = 192, .k = 320, .x = dtype::bf16};
        const opt_flags flags{.block_m = 16, .block_n = 64, .block_k = 64, .split_k = split_k};
        matmul_case first(spec);
        REQUIRE(first.run(flags, {.thread_count = 1, .level = level}) == status_code::ok);
        for (const int threads : {1, 2, 3, 16, 0}) {
          matmul_case again(spec);
          REQUIRE(again.run(flags, {.thread_count = threads, .level = level}) == status_code::ok);
          CHECK(again.y.bytes == first.y.bytes);
        }
      }
  }
}

TEST_CASE("host matmul: batch_invariant rows do not depend on their company or on the tile", "[host]") {
  const case_spec many{.tokens = 33, .experts = 1, .topk = 1, .n = 96, .k = 320, .x = dtype::bf16, .scatter = false};
  matmul_case all(many);
  REQUIRE(all.run(plain_flags, {.batch_invariant = true}) == status_code::ok);
  for (const opt_flags flags : {plain_flags, opt_flags{.block_m = 128, .block_n = 32, .block_k = 128, .group_m = 4}})
    for (const std::int64_t rows : {1, 2, 5, 32}) {
      matmul_case some(many);
      some.args.m = rows;
      some.offsets[1] = static_cast<std::int32_t>(rows);
      REQUIRE(some.run(flags, {.batch_invariant = true}) == status_code::ok);
      for (std::int64_t r = 0; r < rows; ++r) CHECK(some.result(r) == all.result(r));
    }
}

TEST_CASE("host matmul: operands at odd addresses", "[host]") {
  for (const dtype x : all_dtypes)
    for (const std::int64_t tokens : {3, 30}) {
      const case_spec spec{.tokens = tokens, .x = x, .y = dtype::bf16};
      matmul_case even(spec), odd(spec);
      REQUIRE(even.run(plain_flags) == status_code::ok);
      for (std::vector<std::uint8_t>* bytes :
           {&odd.x_data.bytes, &odd.x_data.scales, &odd.w_data.bytes, &odd.w_data.scales})
        bytes->insert(bytes->begin(), 0);
      odd.args.x.data = odd.x_data.bytes.data() + 1;
      odd.args.x.block_scales = odd.args.x.block_scales != nullptr ? odd.x_data.scales.data() + 1 : nullptr;
      odd.args.w.data = odd.w_data.bytes.data() + 1;
      odd.args.w.block_scales = odd.w_data.scales.data() + 1;
      odd.args.y.data = odd.y.data() + 1;
      guarded workspace(host::workspace_bytes(odd.args, plain_flags) + 1);
      odd.args.workspace = workspace.data() + 1;
      odd.args.workspace_bytes = workspace.size() - 1;
      REQUIRE(host::matmul_ogs(odd.args, plain_flags) == status_code::ok);
      CHECK(workspace.guards_hold());
      CHECK(std::memcmp(odd.y.data() + 1, even.y.data(), even.y.size() - at(2 * 32)) == 0);
    }
}

TEST_CASE("host matmul: refused calls leave Y as it was", "[host]") {
  using change = void (*)(matmul_case&, opt_flags&, host::execution&);
  const auto refused = [](change how_to, status_code expected) {
    matmul_case test({.tokens = 6, .act = activation::swiglu});
    opt_flags flags = plain_flags;
    host::execution how;
    const std::size_t enough = host::workspace_bytes(test.args, flags, how);
    REQUIRE(enough > 0);
    test.workspace = guarded(enough);
    test.args.workspace = test.workspace.data();
    test.args.workspace_bytes = test.workspace.size();
    how_to(test, flags, how);
    CHECK(host::matmul_ogs(test.args, flags, how) == expected);
    for (const unsigned char byte : test.y.bytes)
      if (byte != poison) FAIL_CHECK("a refused call wrote to Y");
  };
  const status_code bad = status_code::invalid_argument;
  using c = matmul_case;
  using f = opt_flags;
  using e = host::execution;
  refused([](c& t, f&, e&) { t.args.m = -1; }, bad);
  refused([](c& t, f&, e&) { t.args.m = 0; }, status_code::empty);
  refused([](c& t, f&, e&) { t.args.n = 0; }, status_code::empty);
  refused([](c& t, f&, e&) { t.args.experts = 0; }, status_code::empty);
  refused([](c& t, f&, e&) { t.args.k = 0; }, bad);
  refused([](c& t, f&, e&) { t.args.k = 48; }, bad);
  refused([](c& t, f&, e&) { t.args.n = 80; }, bad);
  refused([](c& t, f&, e&) { t.args.topk = 0; }, bad);
  refused([](c& t, f&, e&) { t.args.y.row_stride = std::int64_t{1} << 60; }, bad);
  refused([](c& t, f&, e&) { t.args.x.row_stride = std::int64_t{1} << 60; }, bad);
  refused(
      [](c& t, f& flags, e&) {
        t.args.m = t.args.x.rows = t.args.y.rows = std::int64_t{1} << 30;
        t.args.n = t.args.k = t.args.x.row_stride = t.args.y.row_stride = std::int64_t{1} << 30;
        flags = {.block_m = 1 << 30, .block_n = 1 << 30, .block_k = 1 << 30, .group_m = 1 << 30};
      },
      bad);
  refused([](c& t, f&, e&) { t.args.x.data = nullptr; }, bad);
  refused([](c& t, f&, e&) { t.args.w.data = nullptr; }, bad);
  refused([](c& t, f&, e&) { t.args.w.block_scales = nullptr; }, bad);
  refused([](c& t, f&, e&) { t.args.w.layout = weight_layout::mma_m16k64; }, bad);
  refused([](c& t, f&, e&) { t.args.w.type = dtype::mxfp8; }, status_code::unsupported_dtype);
  refused([](c& t, f&, e&) { t.args.y.data = nullptr; }, bad);
  refused([](c& t, f&, e&) { t.args.y.type = dtype::mxfp4; }, bad);  // 48 columns
  refused(
      [](c& t, f&, e&) {
        t.args.act = activation::none;
        t.args.y = {.data = t.args.y.data,
                    .type = dtype::mxfp4,
                    .rows = t.args.y.rows,
                    .row_stride = 97,
                    .block_scales = t.y_scales.data(),
                    .block_scale_stride = 3};
      },
      bad);
  refused([](c& t, f&, e&) { t.args.x.row_scales = t.bias.data(); }, bad);  // X is not fp8_e4m3
  refused([](c& t, f&, e&) { t.args.y.row_stride = 47; }, bad);
  refused([](c& t, f&, e&) { t.args.y.type = dtype::mxfp8; }, bad);  // 48 columns
  refused([](c& t, f&, e&) { t.args.y.rows = 5; }, bad);
  refused([](c& t, f&, e&) { t.args.x.row_stride = 95; }, bad);
  refused([](c& t, f&, e&) { t.args.x.rows = 5; }, bad);
  refused([](c& t, f&, e&) { t.args.x.type = dtype::mxfp8; }, bad);
  refused(
      [](c& t, f&, e&) {
        t.args.x.type = dtype::mxfp8;
        t.args.x.transposed = true;
      },
      status_code::unsupported_feature);
  refused([](c& t, f&, e&) { t.args.expert_offsets = nullptr; }, bad);
  refused([](c& t, f&, e&) { t.offsets[0] = 1; }, bad);
  refused([](c& t, f&, e&) { t.offsets[2] = t.offsets[1] - 1; }, bad);
  refused([](c& t, f&, e&) { t.offsets[4] = 13; }, bad);
  refused([](c& t, f&, e&) { t.gather[3] = 6; }, bad);
  refused([](c& t, f&, e&) { t.gather[3] = -2; }, bad);
  refused([](c& t, f&, e&) { t.scatter[3] = 12; }, bad);
  refused([](c& t, f&, e&) { t.scatter[3] = t.scatter[4]; }, bad);
  refused([](c& t, f&, e&) { t.args.swiglu.limit = 0.0f; }, bad);
  refused([](c& t, f&, e&) { t.args.swiglu.alpha = std::numeric_limits<float>::quiet_NaN(); }, bad);
  refused([](c& t, f&, e&) { t.args.workspace = nullptr; }, bad);
  refused([](c& t, f&, e&) { t.args.workspace_bytes -= 1; }, bad);
  refused([](c&, f& flags, e&) { flags.block_m = 0; }, bad);
  refused([](c&, f& flags, e&) { flags.block_n = 33; }, bad);
  refused([](c&, f& flags, e&) { flags.block_k = 48; }, bad);
  refused([](c&, f& flags, e&) { flags.split_k = 0; }, bad);
  refused([](c&, f& flags, e&) { flags.group_m = 0; }, bad);
  refused([](c&, f&, e& how) { how.thread_count = -1; }, bad);
}
