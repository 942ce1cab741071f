// Measured choices: taken for exactly their problem, where they fit and break nothing; nowhere else does anything
// change.
#include <cstdint>
#include <span>

#include <tilefit/tilefit.hpp>

#include "catch.hpp"

using namespace tilefit;

namespace {

constexpr arch_traits h200 = arch_v<arch_id::sm_90>;
constexpr matmul_problem measured{.m = 384,
                                  .n = 3072,
                                  .k = 4096,
                                  .experts = 64,
                                  .topk = 6,
                                  .formats = {.act = activation::swiglu, .gather = true, .bias = true}};

/// The tile that the engine likes least of all that it knows, with the split that it would give it.
opt_flags another_tile() {
  const selection own = make_opt_flags(h200, measured);
  for (const opt_flags& tile : ogs_policy::hopper_tiles)
    if (tile.block_m != own.flags.block_m) {
      const selection forced = make_opt_flags(h200, measured, {.block_m = tile.block_m, .strict = true});
      if (forced.ok()) return forced.flags;
    }
  return {};
}

tuned_row row_of(const matmul_problem& problem, const opt_flags& flags) {
  return {.arch = h200.id,
          .sm_count = h200.sm_count,
          .m = problem.m,
          .n = problem.n,
          .k = problem.k,
          .experts = problem.experts,
          .topk = problem.topk,
          .x = problem.formats.x,
          .act = problem.formats.act,
          .flags = flags,
          .microseconds = 90,
          .engine_microseconds = 100};
}

}  // namespace

TEST_CASE("a measured choice wins for its problem alone") {
  const opt_flags tile = another_tile();
  REQUIRE(tile.block_m > 0);
  const tuned_row rows[] = {row_of(measured, tile)};
  const tuned_policy<> policy{{}, rows};
  const selection own = make_opt_flags(h200, measured);
  REQUIRE(own.flags.block_m != tile.block_m);

  const selection tuned = make_opt_flags(h200, measured, {}, policy);
  CHECK(tuned.status == status_code::ok);
  CHECK(tuned.flags == tile);
  CHECK(tuned.need_bytes() <= tuned.budget_bytes);

  const auto untouched = [&](const arch_traits& arch, const matmul_problem& problem,
                             const opt_flags_constraints& constraints = {}) {
    const selection with = make_opt_flags(arch, problem, constraints, policy);
    const selection without = make_opt_flags(arch, problem, constraints);
    CHECK(with.status == without.status);
    CHECK(with.flags == without.flags);
    CHECK(with.wished == without.wished);
  };
  for (const std::int64_t m : {std::int64_t{0}, std::int64_t{6}, measured.m - 6, measured.m + 6}) {
    matmul_problem other = measured;
    other.m = m;
    untouched(h200, other);
  }
  for (std::int64_t matmul_problem::*size : {&matmul_problem::n, &matmul_problem::k}) {
    matmul_problem other = measured;
    other.*size += 32;
    untouched(h200, other);
  }
  matmul_problem other = measured;
  other.experts = 32;
  untouched(h200, other);
  other = measured;
  other.topk = 3;
  untouched(h200, other);
  other = measured;
  other.formats.act = activation::none;
  untouched(h200, other);
  other = measured;
  other.formats.x = dtype::fp16;
  untouched(h200, other);
  untouched(merge(h200, {.sm_count = 114}).traits, measured);
  untouched(arch_v<arch_id::sm_120>, measured);
  untouched(h200, measured, {.batch_invariant = true});
}

TEST_CASE("a measured choice gives way to constraints and to what a program has") {
  const opt_flags tile = another_tile();
  const tuned_row rows[] = {row_of(measured, tile)};
  const tuned_policy<> policy{{}, rows};
  const int own_rows = make_opt_flags(h200, measured).flags.block_m;
  const selection constrained = make_opt_flags(h200, measured, {.block_m = own_rows}, policy);
  CHECK(constrained.status == status_code::ok);
  CHECK(constrained.flags.block_m == own_rows);

  opt_flags gone = tile;
  gone.block_n = 96;
  const tuned_row stale[] = {row_of(measured, gone)};
  const selection searched = make_opt_flags(h200, measured, {}, tuned_policy<>{{}, stale});
  CHECK(searched.flags == make_opt_flags(h200, measured).flags);
  CHECK(searched.status == status_code::ok);

  // What does not fit a smaller device is replaced, and the answer says so.
  arch_traits small = h200;
  small.smem_block_bytes = 65'536;
  const selection fallback = make_opt_flags(small, measured, {}, policy);
  CHECK(fallback.ok());
  CHECK(fallback.need_bytes() <= 65'536);
}

TEST_CASE("rows can be searched while compiling") {
  static constexpr tuned_row rows[] = {{.arch = arch_id::sm_90,
                                        .sm_count = arch_v<arch_id::sm_90>.sm_count,
                                        .m = 384,
                                        .n = 3072,
                                        .k = 4096,
                                        .experts = 64,
                                        .topk = 6,
                                        .act = activation::swiglu,
                                        .flags = ogs_policy::hopper_tiles[0]}};
  static_assert(find_tuned(rows, h200, measured) == rows);
  static_assert(find_tuned({}, h200, measured) == nullptr);
  constexpr selection choice = make_opt_flags(h200, measured, {}, tuned_policy<>{{}, rows});
  static_assert(choice.flags == ogs_policy::hopper_tiles[0]);
  CHECK(choice.status == status_code::ok);
}
