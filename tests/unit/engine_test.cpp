// Properties that hold whatever the problem is: random ones, always the same (fixed seeds).
#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <tilefit/tilefit.hpp>

#include "catch.hpp"

using namespace tilefit;

namespace {

/// Reproducible on every standard library: no std distributions.
class dice {
 public:
  explicit dice(std::uint64_t seed) : engine_(seed) {}
  std::int64_t number(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(high - low + 1));
  }
  template <class Range>
  const auto& one_of(const Range& range) {
    return *(std::begin(range) + number(0, static_cast<std::int64_t>(std::size(range)) - 1));
  }
  bool coin(int percent = 50) { return number(1, 100) <= percent; }
  /// Small values as likely as large ones.
  std::int64_t magnitude(std::int64_t high) {
    int bits = 0;
    while ((high >> bits) > 0) ++bits;
    return std::min(high, number(1, std::int64_t{1} << number(0, bits)));
  }

 private:
  std::mt19937_64 engine_;
};

matmul_problem random_problem(dice& roll) {
  constexpr std::pair<int, int> routings[] = {{32, 4}, {128, 4}, {256, 8}, {384, 8}, {8, 2}, {1, 1}, {64, 1}};
  const auto [experts, topk] = roll.one_of(routings);
  matmul_problem problem{
      .m = roll.magnitude(131'072),
      .n = 32 * roll.magnitude(512),
      .k = 32 * roll.magnitude(512),
      .experts = experts,
      .topk = topk,
      .batch = experts == 1 && roll.coin(30) ? static_cast<int>(roll.number(1, 64)) : 1,
      .formats = {.x = roll.one_of(std::array{dtype::bf16, dtype::fp16, dtype::fp8_e4m3, dtype::mxfp8, dtype::mxfp4}),
                  .y = roll.one_of(std::array{dtype::bf16, dtype::fp32}),
                  .act = roll.coin() ? activation::swiglu : activation::none,
                  .gather = roll.coin(),
                  .scatter = roll.coin(),
                  .bias = roll.coin(),
                  .accumulate = roll.coin(20)}};
  if (roll.coin(20)) problem.rows = row_distribution::expected(roll.magnitude(4096));
  return problem;
}

opt_flags_constraints random_constraints(dice& roll) {
  opt_flags_constraints wanted;
  if (roll.coin(30)) wanted.block_m = roll.one_of(std::array{16, 32, 64, 128, 48});
  if (roll.coin(30)) wanted.block_n = roll.one_of(std::array{64, 128, 256, 96});
  if (roll.coin(30)) wanted.block_k = roll.one_of(std::array{64, 128, 256, 512});
  if (roll.coin(20)) wanted.num_warps = roll.one_of(std::array{4, 8, 12, 3});
  if (roll.coin(20)) wanted.num_stages = static_cast<int>(roll.number(1, 9));
  if (roll.coin(20)) wanted.split_k = roll.one_of(std::array{1, 2, 4, 7});
  if (roll.coin(20)) wanted.epilogue_subtile = roll.one_of(std::array{1, 2, 4});
  if (roll.coin(20)) wanted.is_persistent = roll.coin();
  if (roll.coin(20)) wanted.idle_sms = static_cast<int>(roll.number(0, 15));
  if (roll.coin(20)) wanted.strict = roll.coin(80);
  return wanted;
}

const arch_traits& random_arch(dice& roll) { return roll.one_of(arch_table); }

/// Everything about a choice that a caller can see, but the text of refusals.
bool same_choice(const selection& a, const selection& b) {
  return a.status == b.status && a.flags == b.flags && a.need_bytes() == b.need_bytes() &&
         a.budget_bytes == b.budget_bytes && a.cost.total_ps == b.cost.total_ps && a.cost.limiter == b.cost.limiter &&
         a.wished == b.wished && a.wished_bytes == b.wished_bytes && a.relaxed.bits == b.relaxed.bits &&
         a.refused.subject == b.refused.subject && a.refused.value == b.refused.value;
}

/// The catalogue of tilefit's kernels, but in an order of its own.
struct shuffled_policy : ogs_policy {
  std::span<const opt_flags> tiles;
  constexpr std::span<const opt_flags> candidates(const arch_traits&, const matmul_problem&) const noexcept {
    return tiles;
  }
};

/// The choice as the documentation of tile_price words it, without any pruning.
detail::search_result best_by_hand(const ogs_policy& policy, std::span<const opt_flags> tiles, const arch_traits& arch,
                                   const matmul_problem& problem, const opt_flags_constraints& constraints) {
  const cost_model model(arch, problem, policy.math(arch, problem.formats),
                         arch.sm_count - constraints.idle_sms.value_or(0));
  const int split = requested_split(problem, constraints);
  detail::search_result best;
  const auto keep_better = [](detail::scored_tile& kept, const detail::tile_price& price, const opt_flags& flags) {
    const bool equal = !(price < kept.price) && !(kept.price < price);
    if (price < kept.price || (equal && detail::flags_before(flags, kept.flags))) kept = {price, flags};
  };
  const auto can_split = [split](const opt_flags& tile) { return split <= tile.split_k; };
  const bool any_can = std::any_of(tiles.begin(), tiles.end(), can_split);
  for (const opt_flags& tile : tiles) {
    if (any_can && !can_split(tile)) continue;
    opt_flags flags = tile;
    flags.num_stages = constraints.num_stages.value_or(tile.num_stages);
    flags.idle_sms = constraints.idle_sms.value_or(0);
    flags.split_k = model.work(flags, split, model.row_tiles(tile.block_m)).split_k;
    const smem_plan plan = policy.plan(arch, problem.formats, flags);
    const int most = flags.num_stages;
    const int fitting = plan.stages_within(arch.smem_block_bytes, most);
    const auto price_with = [&](int stages) {
      flags.num_stages = stages;
      return detail::tile_price{detail::broken_by(flags, stages, constraints), model.predict(flags).total_ps,
                                plan.bytes_with(stages)};
    };
    const detail::tile_price endless = price_with(most);
    flags.num_stages = fitting > 0 ? fitting : plan.min_stages;
    keep_better(best.wished, endless, flags);
    if (fitting > 0) keep_better(best.fitting, price_with(fitting), flags);
  }
  return best;
}

}  // namespace

TEST_CASE("More shared memory: never fewer stages of a tile, never a slower choice") {
  dice roll(1);
  int faults = 0;
  for (int round = 0; round < 400; ++round) {
    arch_traits arch = random_arch(roll);
    const matmul_problem problem = random_problem(roll);
    const int reserved = arch.smem_reserved_bytes;
    selection before;
    std::vector<int> stages_before;
    for (int bytes = 8 * 1024; bytes <= 400 * 1024; bytes += static_cast<int>(roll.number(1, 24 * 1024))) {
      arch.smem_block_bytes = bytes;
      arch.smem_sm_bytes = bytes + reserved;
      const selection choice = make_opt_flags(arch, problem);
      if (!choice.ok() && choice.status != status_code::no_fit) ++faults;
      if (before.has_tile() && (!choice.has_tile() || choice.cost.total_ps > before.cost.total_ps)) ++faults;
      const auto tiles = ogs_policy{}.candidates(arch, problem);
      std::vector<int> stages;
      for (const opt_flags& tile : tiles)
        stages.push_back(ogs_policy{}.plan(arch, problem.formats, tile).stages_within(bytes, tile.num_stages));
      for (std::size_t i = 0; i < stages_before.size(); ++i)
        if (stages[i] < stages_before[i]) ++faults;
      before = choice;
      stages_before = stages;
    }
    if (!before.has_tile()) ++faults;  // 400 KiB are enough for some tile of every catalogue
  }
  CHECK(faults == 0);
}

TEST_CASE("The choice is the best of all candidates, in whatever order they come") {
  dice roll(2);
  int faults = 0;
  std::size_t most_runs = 0;
  for (int round = 0; round < 1500; ++round) {
    arch_traits arch = random_arch(roll);
    if (roll.coin(30)) arch.smem_block_bytes = static_cast<int>(roll.number(16 * 1024, 300 * 1024));
    const matmul_problem problem = random_problem(roll);
    const opt_flags_constraints constraints = roll.coin() ? random_constraints(roll) : opt_flags_constraints{};
    const std::span<const opt_flags> catalogue = ogs_policy{}.candidates(arch, problem);
    std::vector<opt_flags> tiles(catalogue.begin(), catalogue.end());
    const selection usual = make_opt_flags(arch, problem, constraints);
    for (int turn = 0; turn < 3; ++turn) {
      // First as sorted runs of equal sizes, then in any order: more runs than the search keeps bounds for.
      for (std::size_t i = tiles.size(); turn > 0 && i > 1; --i)
        std::swap(tiles[i - 1], tiles[static_cast<std::size_t>(roll.number(0, static_cast<std::int64_t>(i) - 1))]);
      if (turn == 2 && tiles.size() > 4) tiles.insert(tiles.end(), tiles.begin(), tiles.begin() + 4);  // twice: no harm
      std::size_t runs = 1;
      for (std::size_t i = 1; i < tiles.size(); ++i)
        runs += tiles[i].block_m != tiles[i - 1].block_m || tiles[i].block_n != tiles[i - 1].block_n ? 1 : 0;
      most_runs = std::max(most_runs, runs);
      shuffled_policy policy;
      policy.tiles = tiles;
      const selection choice = make_opt_flags(arch, problem, constraints, policy);
      if (!same_choice(choice, usual) && ++faults <= 3)
        FAIL_CHECK(arch.name << ", m " << problem.m << ", n " << problem.n << ", k " << problem.k << ": status "
                             << name_of(choice.status) << " and " << name_of(usual.status) << ", wished for "
                             << choice.wished.block_m << " x " << choice.wished.block_n << " x "
                             << choice.wished.block_k << " with " << choice.wished.num_stages << " stages and "
                             << usual.wished.block_m << " x " << usual.wished.block_n << " x " << usual.wished.block_k
                             << " with " << usual.wished.num_stages << " stages, " << choice.wished_bytes << " and "
                             << usual.wished_bytes << " B, budget " << choice.budget_bytes);
      const detail::search_result by_hand = best_by_hand(policy, tiles, arch, problem, constraints);
      const detail::scored_tile& best = by_hand.fitting;
      if (by_hand.wished.flags != choice.wished) ++faults;
      if (best.found() != choice.has_tile() || (best.found() && best.flags != choice.flags)) {
        if (++faults <= 3)
          FAIL_CHECK(arch.name << ": " << choice.flags.block_m << " x " << choice.flags.block_n << " x "
                               << choice.flags.block_k << ", by hand " << best.flags.block_m << " x "
                               << best.flags.block_n << " x " << best.flags.block_k);
      }
      if (choice.has_tile() && choice.cost.total_ps != best.price.total_ps) ++faults;
      if (choice.has_tile() && choice.relaxed.bits != best.price.broken.bits) ++faults;
    }
  }
  CHECK(faults == 0);
  CHECK(most_runs > 32);
}

TEST_CASE("Constraints are honoured, or reported") {
  dice roll(3);
  int faults = 0, honoured = 0, relaxed = 0, refused = 0;
  const auto judge = [&](const arch_traits& arch, const matmul_problem& problem, const opt_flags_constraints& wanted,
                         const auto& policy) {
    const selection choice = make_opt_flags(arch, problem, wanted, policy);
    const bool strict = wanted.strict.value_or(false);
    const constraint_set broken = detail::broken_by(choice.flags, choice.flags.num_stages, wanted);
    switch (choice.status) {
      case status_code::ok:
      case status_code::ok_fallback:
        ++honoured;
        if (!choice.relaxed.empty() || !broken.empty()) ++faults;
        break;
      case status_code::ok_constraint_relaxed:
        ++relaxed;
        if (strict || choice.relaxed.empty() || broken.bits != choice.relaxed.bits) ++faults;
        break;
      case status_code::no_fit: {
        ++refused;
        const selection nearest = make_opt_flags(arch, problem, merge(wanted, {.strict = false}), policy);
        if (!strict || choice.relaxed.empty() || nearest.flags != choice.flags) ++faults;
        // The reason is true: a number beyond its limit, or one that differs from what there is.
        const refusal& why = choice.refused;
        if (why.must_be == relation::at_most ? why.value <= why.limit : why.value == why.limit) ++faults;
        break;
      }
      case status_code::constraint_refused:
      case status_code::unsupported_feature:
      case status_code::invalid_constraint:
        if (choice.has_tile() || choice.refused.status != choice.status || choice.refused.subject.empty()) ++faults;
        return;
      default: ++faults; return;
    }
    if (choice.ok() && choice.refused) ++faults;
    if (!choice.has_tile() || choice.need_bytes() > choice.budget_bytes) ++faults;
    if (choice.flags.num_stages < choice.plan.min_stages) ++faults;
    // These three are never given up.
    if (wanted.split_k && choice.flags.split_k != *wanted.split_k) ++faults;
    if (choice.flags.idle_sms != wanted.idle_sms.value_or(0)) ++faults;
  };
  for (int round = 0; round < 4000; ++round) {
    const arch_traits& arch = random_arch(roll);
    matmul_problem problem = random_problem(roll);
    const opt_flags_constraints wanted = random_constraints(roll);
    judge(arch, problem, wanted, ogs_policy{});
    if (round % 4 != 0) continue;
    triton_ogs_policy policy{.release = roll.coin() ? triton_release::v3_4_0 : triton_release::v2025_12,
                             .has_tma = arch.vendor == vendor_id::nvidia && roll.coin()};
    opt_flags_constraints known = wanted;
    if (roll.coin(70)) {  // mostly those that upstream knows
      known.block_n = known.num_warps = known.split_k = known.idle_sms = {};
      if (arch.vendor == vendor_id::amd) known.num_stages = {};
    }
    judge(arch, problem, known, policy);
  }
  CHECK(faults == 0);
  CHECK(honoured > 500);
  CHECK(relaxed > 500);
  CHECK(refused > 100);
}

TEST_CASE("A strict constraint that no kernel honours is named") {
  constexpr matmul_problem problem{.m = 2080, .n = 5760, .k = 2880, .experts = 32, .topk = 4};
  constexpr arch_traits arch = arch_v<arch_id::sm_120>;
  const selection choice = make_opt_flags(arch, problem, {.block_m = 48, .strict = true});
  CHECK(choice.status == status_code::no_fit);
  CHECK(choice.refused.subject == "block_m");
  CHECK(choice.refused.value == 48);
  CHECK(choice.refused.limit == choice.flags.block_m);
  CHECK(choice.relaxed.has(constraint_id::block_m));
  CHECK(choice.need_bytes() <= choice.budget_bytes);

  // Six stages of a large tile: the bytes are the reason.
  const opt_flags_constraints deep{.block_m = 128, .block_n = 256, .num_stages = 8, .strict = true};
  const selection large = make_opt_flags(arch, problem, deep);
  CHECK(large.status == status_code::no_fit);
  CHECK(large.has_tile());
}

TEST_CASE("batch_invariant: the same tile, stages and split for every m") {
  dice roll(4);
  int faults = 0;
  const auto judge = [&](const arch_traits& arch, matmul_problem problem, const auto& policy) {
    opt_flags_constraints wanted{.batch_invariant = true};
    if (roll.coin(30)) wanted.block_k = 128;
    problem.rows = {};
    problem.m = 1;
    const selection first = make_opt_flags(arch, problem, wanted, policy);
    if (!first.has_tile()) ++faults;
    for (int i = 0; i < 20; ++i) {
      problem.m = roll.magnitude(std::numeric_limits<std::int32_t>::max());
      const std::vector<std::int32_t> on_one(static_cast<std::size_t>(problem.experts), 0);
      std::vector<std::int32_t> histogram = on_one;
      histogram[0] = static_cast<std::int32_t>(problem.m);
      problem.rows = i % 3 == 0   ? row_distribution::counted(histogram)
                     : i % 3 == 1 ? row_distribution::expected(roll.magnitude(10'000))
                                  : row_distribution{};
      const selection choice = make_opt_flags(arch, problem, wanted, policy);
      if (choice.flags != first.flags || choice.need_bytes() != first.need_bytes()) ++faults;
      if (choice.flags.split_k != 1) ++faults;
    }
  };
  for (int round = 0; round < 300; ++round) {
    const arch_traits& arch = random_arch(roll);
    const matmul_problem problem = random_problem(roll);
    judge(arch, problem, ogs_policy{});
    judge(arch, problem, triton_ogs_policy{.release = triton_release::v3_4_0});
    judge(arch, problem, triton_ogs_policy{.has_tma = arch.vendor == vendor_id::nvidia});
  }
  CHECK(faults == 0);
}

TEST_CASE("Bad problems are refused with the member and its numbers") {
  constexpr arch_traits arch = arch_v<arch_id::sm_90>;
  constexpr std::int32_t histogram[] = {3, 0, 5, -1};
  constexpr std::int32_t short_one[] = {3, 5};
  constexpr std::int32_t wrong_sum[] = {3, 0, 5, 1};
  const matmul_problem good{.m = 8, .n = 256, .k = 128, .experts = 4, .topk = 2};
  REQUIRE(make_opt_flags(arch, good).ok());
  const auto refused = [&](auto change, std::string_view subject, std::int64_t value, std::int64_t limit,
                           status_code status = status_code::invalid_problem) {
    matmul_problem bad = good;
    change(bad);
    const selection choice = make_opt_flags(arch, bad);
    INFO(subject);
    CHECK(choice.status == status);
    CHECK_FALSE(choice.ok());
    CHECK_FALSE(choice.has_tile());
    CHECK(choice.need_bytes() == 0);
    CHECK(choice.refused.status == status);
    CHECK(choice.refused.subject == subject);
    CHECK(choice.refused.value == value);
    CHECK(choice.refused.limit == limit);
    // Both policies ask the same questions first.
    CHECK(make_opt_flags(arch, bad, {}, triton_ogs_policy{}).ok() == false);
  };
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min();
  refused([](auto& p) { p.m = -1; }, "m", -1, 0);
  refused([](auto& p) { p.m = least; }, "m", least, 0);
  refused([](auto& p) { p.m = std::int64_t{1} << 31; }, "m", std::int64_t{1} << 31, 2'147'483'647);
  refused([](auto& p) { p.n = -256; }, "n", -256, 0);
  refused([](auto& p) { p.n = most; }, "n", most, 1 << 20);
  refused([](auto& p) { p.k = 0; }, "k", 0, 1);
  refused([](auto& p) { p.k = (1 << 20) + 32; }, "k", (1 << 20) + 32, 1 << 20);
  refused([](auto& p) { p.k = 100; }, "k", 100, 32);
  refused([](auto& p) { p.experts = 0; }, "experts", 0, 1);
  refused([](auto& p) { p.experts = 65'537; }, "experts", 65'537, 65'536);
  refused([](auto& p) { p.topk = 0; }, "topk", 0, 1);
  refused([](auto& p) { p.batch = 0; }, "batch", 0, 1);
  refused([](auto& p) { p.batch = 2; }, "batch", 2, 1);  // experts and a batch
  refused([](auto& p) { p.formats.scale_block = 0; }, "scale_block", 0, 1);
  refused([](auto& p) { p.formats.act = activation::swiglu, p.n = 255; }, "n", 255, 2);
  refused([](auto& p) { p.rows = row_distribution::expected(0); }, "rows_per_expert", 0, 1);
  refused([&](auto& p) { p.rows = row_distribution::counted(short_one); }, "number of histogram entries", 2, 4);
  refused([&](auto& p) { p.rows = row_distribution::counted(histogram); }, "a histogram entry", -1, 0);
  refused([&](auto& p) { p.rows = row_distribution::counted(wrong_sum); }, "sum of the histogram", 9, 8);
  const auto feature = status_code::unsupported_feature;
  const auto format = status_code::unsupported_dtype;
  const auto refused_by_ogs = [&](auto change, std::string_view subject, status_code status) {
    matmul_problem bad = good;
    change(bad);
    const selection choice = make_opt_flags(arch, bad);
    INFO(subject);
    CHECK(choice.status == status);
    CHECK(choice.refused.subject == subject);
  };
  refused_by_ogs([](auto& p) { p.n = 100; }, "n", feature);
  refused_by_ogs([](auto& p) { p.formats.x_transposed = true; }, "x_transposed", feature);
  refused_by_ogs([](auto& p) { p.formats.scale_block = 16; }, "scale_block", feature);
  refused_by_ogs([](auto& p) { p.formats.x = dtype::fp32; }, "number of bits of X", format);
  refused_by_ogs([](auto& p) { p.formats.w = dtype::fp32; }, "number of bits of W", format);
  refused_by_ogs([](auto& p) { p.formats.y = dtype::mxfp4, p.formats.act = activation::swiglu, p.n = 96; }, "n",
                 feature);
  refused_by_ogs([](auto& p) { p.formats.y = dtype::fp8_e4m3, p.formats.accumulate = true; }, "number of bits of Y",
                 feature);
}

TEST_CASE("A narrow Y on NVIDIA takes tiles whose sums leave registers for it, and bytes for its scales") {
  matmul_problem problem{.m = 32'768, .n = 5760, .k = 2880, .experts = 32, .topk = 4};
  for (const arch_id id : {arch_id::sm_90, arch_id::sm_120}) {
    const arch_traits& arch = traits_of(id);
    for (const dtype y : {dtype::bf16, dtype::fp8_e4m3, dtype::mxfp8, dtype::mxfp4}) {
      problem.formats.y = y;
      const selection choice = make_opt_flags(arch, problem);
      INFO(arch.name << ", " << name_of(y));
      REQUIRE(choice.ok());
      CHECK(stores_narrow_y(choice.flags) == (choice.flags.block_m <= 64));
      CHECK((bits_of(y) >= 16 || stores_narrow_y(choice.flags)));
      const std::int64_t scales = choice.plan[smem_region::y_scales].bytes;
      CHECK(scales == (has_block_scales(y) ? choice.flags.block_m * choice.flags.block_n / 16 : 0));
      CHECK(choice.need_bytes() <= arch.smem_block_bytes);
    }
  }
  problem.formats.y = dtype::bf16;
  CHECK_FALSE(stores_narrow_y(make_opt_flags(arch_v<arch_id::sm_90>, problem).flags));
  problem.formats.y = dtype::mxfp4;
  CHECK(make_opt_flags(arch_v<arch_id::gfx1201>, problem).status == status_code::unsupported_dtype);
}

TEST_CASE("Tiles have all columns that a scale of Y is for") {
  using enum dtype;
  for (const arch_id id : {arch_id::gfx950, arch_id::gfx942}) {
    const arch_traits& arch = traits_of(id);
    const auto y_problem = [](dtype y, activation act) {
      return matmul_problem{
          .m = 4, .n = 5760, .k = 2880, .experts = 32, .topk = 4, .formats = {.y = y, .act = act, .gather = true}};
    };
    for (const dtype y : {bf16, fp8_e4m3, mxfp8, mxfp4})
      for (const activation act : {activation::none, activation::swiglu}) {
        const int least = !has_block_scales(y) ? 1 : act == activation::swiglu ? 64 : 32;
        const matmul_problem problem = y_problem(y, act);
        INFO(arch.name << ", " << name_of(y) << (act == activation::swiglu ? " behind swiglu" : ""));
        bool narrowest = false;
        for (const opt_flags& tile : ogs_policy{}.candidates(arch, problem)) {
          CHECK(tile.block_n >= least);
          narrowest = narrowest || tile.block_n == 32;
        }
        CHECK(narrowest == (least <= 32));
        CHECK(make_opt_flags(arch, problem).flags.block_n >= least);
        const selection strict = make_opt_flags(arch, problem, {.block_n = 32, .strict = true});
        CHECK(strict.has_tile() == (least <= 32));
        if (least > 32) {
          CHECK(strict.status == status_code::constraint_refused);
          CHECK(strict.refused.subject == "block_n");
          CHECK(strict.refused.value == 32);
          CHECK(strict.refused.limit == 64);
          CHECK(make_opt_flags(arch, problem, {.block_n = 32}).status == status_code::ok_constraint_relaxed);
        }
      }
    matmul_problem half_a_block = y_problem(mxfp4, activation::swiglu);
    half_a_block.n = 96;
    CHECK(make_opt_flags(arch, half_a_block).status == status_code::unsupported_feature);
    CHECK(make_opt_flags(arch, half_a_block).refused.limit == 64);
  }
}

TEST_CASE("Constraints out of range are refused with the member and its numbers") {
  constexpr arch_traits arch = arch_v<arch_id::sm_90>;
  constexpr matmul_problem problem{.m = 8, .n = 256, .k = 128, .experts = 4, .topk = 2};
  const auto refused = [&](const opt_flags_constraints& bad, std::string_view subject, std::int64_t value,
                           std::int64_t limit) {
    const selection choice = make_opt_flags(arch, problem, bad);
    INFO(subject);
    CHECK(choice.status == status_code::invalid_constraint);
    CHECK(choice.refused.subject == subject);
    CHECK(choice.refused.value == value);
    CHECK(choice.refused.limit == limit);
    CHECK_FALSE(choice.has_tile());
  };
  refused({.block_m = 0}, "block_m", 0, 1);
  refused({.block_m = 4097}, "block_m", 4097, 4096);
  refused({.block_n = -1}, "block_n", -1, 1);
  refused({.block_k = std::numeric_limits<int>::max()}, "block_k", std::numeric_limits<int>::max(), 4096);
  refused({.num_warps = 33}, "num_warps", 33, 32);
  refused({.num_stages = 0}, "num_stages", 0, 1);
  refused({.split_k = 0}, "split_k", 0, 1);
  refused({.epilogue_subtile = 0}, "epilogue_subtile", 0, 1);
  refused({.max_allowable_mn = -1}, "max_allowable_mn", -1, 0);
  refused({.idle_sms = -1}, "idle_sms", -1, 0);
  refused({.idle_sms = 132}, "idle_sms", 132, 131);
}

TEST_CASE("Nothing to do is a success without a tile") {
  for (const arch_traits& arch : arch_table) {
    matmul_problem nothing{.m = 0, .n = 5760, .k = 2880, .experts = 32, .topk = 4};
    for (const selection& choice : {make_opt_flags(arch, nothing), make_opt_flags(arch, nothing, {.strict = true}),
                                    make_opt_flags(arch, nothing, {.block_m = 48, .strict = true}),
                                    make_opt_flags(arch, nothing, {.batch_invariant = true})}) {
      CHECK(choice.status == status_code::empty);
      CHECK(choice.ok());
      CHECK_FALSE(choice.has_tile());
      CHECK(choice.need_bytes() == 0);
    }
    nothing.m = 4, nothing.n = 0;
    CHECK(make_opt_flags(arch, nothing).status == status_code::empty);
  }
}

TEST_CASE("How rows spread over experts is taken into account") {
  constexpr arch_traits arch = arch_v<arch_id::sm_90>;
  matmul_problem problem{.m = 4096, .n = 5760, .k = 2880, .experts = 32, .topk = 4};
  const selection unknown = make_opt_flags(arch, problem);
  std::vector<std::int32_t> rows(32, 128);
  problem.rows = row_distribution::counted(rows);
  const selection even = make_opt_flags(arch, problem);
  problem.rows = row_distribution::expected(128);
  const selection expected = make_opt_flags(arch, problem);
  CHECK(even.flags.block_m == expected.flags.block_m);
  CHECK(even.cost.total_ps == expected.cost.total_ps);
  CHECK(unknown.ok());

  std::fill(rows.begin(), rows.end(), 0);
  rows[17] = 4096;
  problem.rows = row_distribution::counted(rows);
  const selection on_one = make_opt_flags(arch, problem);
  REQUIRE(on_one.ok());
  // One expert's weights instead of 32, and tiles at least as tall.
  CHECK(on_one.cost.memory_ps < even.cost.memory_ps);
  CHECK(on_one.flags.block_m >= even.flags.block_m);
  const matmul_problem dense{.m = 4096, .n = 5760, .k = 2880};
  CHECK(make_opt_flags(arch, dense).flags.block_m == on_one.flags.block_m);

  rows.assign(32, 0);
  rows[0] = 4095, rows[31] = 1;
  CHECK(make_opt_flags(arch, problem).ok());
}

TEST_CASE("Extreme sizes: an answer, and no arithmetic out of range") {
  constexpr std::int64_t most_m = 2'147'483'647, most_n = 1 << 20;
  for (const arch_traits& row : arch_table)
    for (const int sm_count : {1, row.sm_count, 65'536})
      for (const std::int64_t m : {std::int64_t{1}, most_m})
        for (const std::int64_t n : {std::int64_t{32}, most_n})
          for (const std::int64_t k : {std::int64_t{32}, most_n})
            for (const auto& [experts, batch] : {std::pair{1, 1}, {1, 65'536}, {65'536, 1}})
              for (const dtype y : {dtype::bf16, dtype::fp32}) {
                arch_traits arch = row;
                arch.sm_count = sm_count;
                matmul_problem problem{.m = m,
                                       .n = n,
                                       .k = k,
                                       .experts = experts,
                                       .topk = experts > 1 ? 8 : 1,
                                       .batch = batch,
                                       .formats = {.y = y, .accumulate = true}};
                for (const row_distribution& rows :
                     {row_distribution{}, row_distribution::expected(1), row_distribution::expected(most_m)}) {
                  problem.rows = rows;
                  for (const opt_flags_constraints& wanted :
                       {opt_flags_constraints{}, opt_flags_constraints{.split_k = 1024},
                        opt_flags_constraints{.block_m = 4096, .block_n = 4096, .block_k = 4096, .num_stages = 64}}) {
                    const selection choice = make_opt_flags(arch, problem, wanted);
                    if (!choice.ok() || choice.need_bytes() > choice.budget_bytes || choice.cost.total_ps <= 0)
                      FAIL_CHECK(arch.name << ", m " << m << ", n " << n << ", k " << k << ": "
                                           << name_of(choice.status));
                  }
                  if (sm_count == 1) continue;
                  for (const triton_release release : {triton_release::v3_4_0, triton_release::v2025_12}) {
                    const triton_ogs_policy policy{.release = release, .has_tma = true, .effective_itemsize = 64};
                    for (const opt_flags_constraints& wanted :
                         {opt_flags_constraints{}, opt_flags_constraints{.block_m = 4096, .block_k = 4096}}) {
                      const selection choice = make_opt_flags(arch, problem, wanted, policy);
                      if (!choice.ok() || choice.need_bytes() > choice.budget_bytes)
                        FAIL_CHECK(arch.name << ", triton, m " << m << ", n " << n << ", k " << k << ": "
                                             << name_of(choice.status));
                    }
                  }
                }
              }
}

TEST_CASE("split_k: the caller's, unless the output is large; idle_sms: kept free") {
  constexpr arch_traits arch = arch_v<arch_id::sm_90>;
  constexpr matmul_problem problem{.m = 16, .n = 2880, .k = 2880, .experts = 32, .topk = 4};
  CHECK(make_opt_flags(arch, problem, {.split_k = 4}).flags.split_k == 4);
  const auto limited = [&](std::int64_t most) {
    return make_opt_flags(arch, problem, {.split_k = 4, .max_allowable_mn = most}).flags.split_k;
  };
  CHECK(limited(16 * 2880 + 1) == 4);  // upstream: a split while m * n is below
  CHECK(limited(16 * 2880) == 1);
  CHECK(limited(1) == 1);
  CHECK(limited(0) == 4);  // upstream: 0 is no limit
  const selection alone = make_opt_flags(arch, problem, {.max_allowable_mn = 1});
  CHECK(alone.flags.split_k == make_opt_flags(arch, problem).flags.split_k);
  const selection invariant = make_opt_flags(arch, problem, {.split_k = 2, .batch_invariant = true});
  CHECK(invariant.flags.split_k == 2);

  const matmul_problem large{.m = 65'536, .n = 5760, .k = 2880, .experts = 32, .topk = 4};
  const selection all = make_opt_flags(arch, large);
  const selection some = make_opt_flags(arch, large, {.idle_sms = 66});
  CHECK(some.flags.idle_sms == 66);
  CHECK(some.cost.loop_ps > all.cost.loop_ps);
  CHECK(make_opt_flags(arch, large, {.idle_sms = 131}).ok());
}

TEST_CASE("Kernels for mma.sync share tiles along K where turns would leave one block in six without a tile") {
  constexpr arch_traits arch = arch_v<arch_id::sm_80>;
  constexpr int places = 3 * 108;
  const auto split_of = [&](std::int64_t tiles, const opt_flags_constraints& constraints = {}) {
    const selection choice = make_opt_flags(arch, {.m = 8, .n = 128 * tiles, .k = 2880}, constraints);
    CHECK(choice.flags.block_m == 8);
    return choice.flags.split_k;
  };
  CHECK(split_of(1) == 16);
  CHECK(split_of(places * 5 / 6) == 16);
  CHECK(split_of(places * 5 / 6 + 1) == 1);
  CHECK(split_of(places) == 1);
  CHECK(split_of(places + 1) == 16);
  CHECK(split_of(2 * places * 5 / 6) == 16);
  CHECK(split_of(2 * places * 5 / 6 + 1) == 1);
  CHECK(split_of(6 * places + 1) == 1);
  CHECK(split_of(1, {.split_k = 1}) == 1);
  CHECK(split_of(1, {.batch_invariant = true}) == 1);
}

TEST_CASE("A split that the caller asks for comes with a tile that can be shared") {
  const matmul_problem large{.m = 65'536, .n = 5760, .k = 2880, .experts = 32, .topk = 4};
  for (const arch_id id : {arch_id::sm_80, arch_id::sm_90, arch_id::gfx942, arch_id::gfx950}) {
    const arch_traits arch = traits_of(id);
    CHECK(make_opt_flags(arch, large).flags.block_m > 32);
    const selection choice = make_opt_flags(arch, large, {.split_k = 4});
    CHECK(choice.ok());
    CHECK(choice.flags.split_k == 4);
    CHECK(choice.flags.block_m <= 32);
  }
}

TEST_CASE("Kernels for AMD's matrix cores share tiles along K where that saves more than the meeting of sums") {
  for (const arch_id id : {arch_id::gfx942, arch_id::gfx950}) {
    const arch_traits arch = traits_of(id);
    for (std::int64_t m = 1; m <= 4; ++m)
      for (const std::int64_t n : {2880, 5760})
        CHECK(make_opt_flags(arch, {.m = 4 * m, .n = n, .k = 2880, .experts = 32, .topk = 4}).flags.split_k == 1);
    const matmul_problem narrow{.m = 4, .n = 512, .k = 16'384};
    const selection choice = make_opt_flags(arch, narrow);
    CHECK(choice.flags.split_k > 1);
    CHECK(choice.cost.total_ps < make_opt_flags(arch, narrow, {.split_k = 1}).cost.total_ps);
    CHECK(make_opt_flags(arch, narrow, {.batch_invariant = true}).flags.split_k == 1);
  }
}

namespace {

/// A family of kernels in 25 lines.
struct two_kernels {
  static constexpr opt_flags tiles[] = {
      {.block_m = 16, .block_n = 128, .block_k = 64, .num_warps = 4, .num_stages = 4},
      {.block_m = 128, .block_n = 128, .block_k = 64, .num_warps = 4, .num_stages = 4},
  };
  constexpr std::string_view name() const noexcept { return "two kernels"; }
  constexpr std::span<const opt_flags> candidates(const arch_traits&, const matmul_problem&) const noexcept {
    return tiles;
  }
  constexpr smem_plan plan(const arch_traits&, const matmul_formats& formats, const opt_flags& flags) const noexcept {
    smem_plan plan;
    plan.add(smem_region::x_values, bytes_of(formats.x, flags.block_m * flags.block_k), smem_lifetime::per_stage);
    plan.add(smem_region::w_values, bytes_of(formats.w, flags.block_n * flags.block_k), smem_lifetime::per_stage);
    return plan;
  }
};
static_assert(kernel_policy<two_kernels>);

/// A heuristic in front of them, of which the test says what it answers.
struct guided_kernels : two_kernels {
  opt_flags answer;
  constexpr opt_flags wish(const arch_traits&, const matmul_problem&, const opt_flags_constraints&) const noexcept {
    return answer;
  }
};
static_assert(has_wish<guided_kernels>);
struct no_kernels : two_kernels {
  constexpr std::span<const opt_flags> candidates(const arch_traits&, const matmul_problem&) const noexcept {
    return {};
  }
};
struct broken_kernels : two_kernels {
  static constexpr opt_flags unusable[] = {{},
                                           {.block_m = -16, .block_n = 64, .block_k = 64, .num_stages = 1},
                                           {.block_m = 16, .block_n = 64, .block_k = 64, .num_stages = 0},
                                           {.block_m = 1 << 30, .block_n = 64, .block_k = 64, .num_stages = 1}};
  constexpr std::span<const opt_flags> candidates(const arch_traits&, const matmul_problem&) const noexcept {
    return unusable;
  }
};
/// Tiles of one element: as many of them as there can be.
struct tiny_kernels : two_kernels {
  static constexpr opt_flags tiny[] = {{.block_m = 1, .block_n = 1, .block_k = 1, .num_warps = 1, .num_stages = 1}};
  constexpr std::span<const opt_flags> candidates(const arch_traits&, const matmul_problem&) const noexcept {
    return tiny;
  }
};
struct huge_kernels : two_kernels {
  constexpr smem_plan plan(const arch_traits&, const matmul_formats&, const opt_flags&) const noexcept {
    smem_plan plan;
    plan.add(smem_region::x_values, std::int64_t{1} << 40, smem_lifetime::fixed);
    plan.add(smem_region::w_values, 16, smem_lifetime::per_stage);
    return plan;
  }
};

}  // namespace

TEST_CASE("Policies of users: a small one, one without kernels, one whose kernels never fit") {
  constexpr arch_traits arch = arch_v<arch_id::sm_120>;
  matmul_problem problem{.m = 4, .n = 5760, .k = 2880, .experts = 32, .topk = 4};
  const selection few = make_opt_flags(arch, problem, {}, two_kernels{});
  CHECK(few.status == status_code::ok);
  CHECK(few.flags.block_m == 16);
  problem.m = 65'536;
  const selection many = make_opt_flags(arch, problem, {}, two_kernels{});
  CHECK(many.status == status_code::ok);
  CHECK(many.flags.block_m == 128);
  CHECK(many.need_bytes() == 4 * (128 * 64 * 2 + 128 * 64 / 2));

  const selection none = make_opt_flags(arch, problem, {}, no_kernels{});
  CHECK(none.status == status_code::unsupported_dtype);
  CHECK(none.refused.limit == 1);
  CHECK_FALSE(none.has_tile());
  CHECK(make_opt_flags(arch, problem, {.block_m = 64}, no_kernels{}).status == status_code::unsupported_dtype);
  CHECK(make_opt_flags(arch, problem, {}, broken_kernels{}).status == status_code::unsupported_dtype);

  const matmul_problem endless{.m = 2'147'483'647, .n = 1 << 20, .k = 1 << 20, .batch = 65'536};
  const selection tiny = make_opt_flags(arch, endless, {}, tiny_kernels{});
  CHECK(tiny.status == status_code::ok);
  CHECK(tiny.cost.loop_ps >= (std::int64_t{1} << 60) - 10'000'000);  // cut off, not wrapped around
  CHECK(tiny.cost.total_ps >= tiny.cost.loop_ps);

  const selection huge = make_opt_flags(arch, problem, {}, huge_kernels{});
  CHECK(huge.status == status_code::no_fit);
  CHECK(huge.refused.value > huge.refused.limit);
  CHECK(huge.refused.limit == 101'376);
  CHECK_FALSE(huge.has_tile());
}

TEST_CASE("A heuristic's wish is taken where it fits and honours the constraints, whatever it answers") {
  constexpr arch_traits arch = arch_v<arch_id::sm_120>;
  constexpr matmul_problem problem{.m = 65'536, .n = 5760, .k = 2880, .experts = 32, .topk = 4};
  const auto choose_with = [&](const opt_flags& answer, const opt_flags_constraints& constraints = {}) {
    guided_kernels policy;
    policy.answer = answer;
    return make_opt_flags(arch, problem, constraints, policy);
  };
  constexpr opt_flags small{.block_m = 16, .block_n = 64, .block_k = 64, .num_warps = 4, .num_stages = 2};
  CHECK(choose_with(small).status == status_code::ok);
  CHECK(choose_with(small).flags == small);
  // Something else is asked for: one of the kernels has it.
  const selection constrained = choose_with(small, {.block_m = 128});
  CHECK(constrained.status == status_code::ok);
  CHECK(constrained.flags.block_m == 128);
  CHECK(choose_with(small, {.block_m = 128, .strict = true}).status == status_code::ok);

  opt_flags large = small;
  large.block_m = large.block_n = 1024;
  const selection fallback = choose_with(large);
  CHECK(fallback.status == status_code::ok_fallback);
  CHECK(fallback.wished == large);
  CHECK(fallback.wished_bytes == 2 * (1024 * 64 * 2 + 1024 * 64 / 2));
  CHECK(fallback.flags.block_m == 128);

  opt_flags no_room = small;
  no_room.num_stages = 0;
  opt_flags nonsense = small;
  nonsense.block_n = -64;
  for (const opt_flags& answer : {opt_flags{}, no_room, nonsense}) {
    const selection choice = choose_with(answer);
    CHECK(choice.ok());
    CHECK(choice.flags.block_m == 128);
    CHECK(choice.flags.num_stages == 4);
  }
}

TEST_CASE("Rows of an architecture that a user wrote") {
  constexpr matmul_problem problem{.m = 2080, .n = 5760, .k = 2880, .experts = 32, .topk = 4};
  arch_traits own = arch_v<arch_id::sm_120>;
  own.clock_mhz = own.dram_gbps = 0;
  own.fp8_gflops = own.fp4_gflops = 0;
  CHECK(make_opt_flags(own, problem).ok());
  own.bf16_gflops = 0;
  const selection no_rate = make_opt_flags(own, problem);
  CHECK(no_rate.status == status_code::unsupported_dtype);
  CHECK_FALSE(no_rate.refused.subject.empty());
  CHECK(make_opt_flags(own, problem, {}, two_kernels{}).status == status_code::unsupported_dtype);

  own = arch_v<arch_id::sm_120>;
  own.sm_count = 0;
  for (const opt_flags_constraints& wanted : {opt_flags_constraints{}, opt_flags_constraints{.block_m = 64}}) {
    CHECK(make_opt_flags(own, problem, wanted).status == status_code::unsupported_feature);
    CHECK(make_opt_flags(own, problem, wanted).refused.subject == "sm_count");
  }
  own = arch_v<arch_id::sm_120>;
  for (const int bytes : {0, -1, 512}) {
    own.smem_block_bytes = bytes;
    CHECK(make_opt_flags(own, problem).status == status_code::no_fit);
    CHECK(make_opt_flags(own, problem, {}, triton_ogs_policy{}).status == status_code::no_fit);
  }
  CHECK(make_opt_flags(arch_traits{}, problem).ok() == false);
}

// --- compile time and run time --------------------------------------------------------------------------------------

namespace {

enum class policy_kind { ogs, triton_3_4, triton_2025 };

struct table_row {
  arch_id arch;
  matmul_problem problem;
  opt_flags_constraints constraints;
  policy_kind policy;
};

constexpr selection choose(const table_row& row) {
  const arch_traits& arch = traits_of(row.arch);
  switch (row.policy) {
    case policy_kind::triton_3_4:
      return make_opt_flags(arch, row.problem, row.constraints, triton_ogs_policy{.release = triton_release::v3_4_0});
    case policy_kind::triton_2025:
      return make_opt_flags(arch, row.problem, row.constraints,
                            triton_ogs_policy{.has_tma = arch.vendor == vendor_id::nvidia});
    case policy_kind::ogs: break;
  }
  return make_opt_flags(arch, row.problem, row.constraints);
}

constexpr matmul_problem gate_up(std::int64_t tokens, int experts, int topk, std::int64_t hidden, std::int64_t inner,
                                 dtype x = dtype::bf16) {
  return {.m = tokens * topk,
          .n = 2 * inner,
          .k = hidden,
          .experts = experts,
          .topk = topk,
          .formats = {.x = x, .act = activation::swiglu, .gather = true, .bias = true}};
}

constexpr std::int32_t uneven[] = {100, 0, 0, 7, 1, 0, 20, 0};

constexpr table_row table[] = {
    {arch_id::sm_120, gate_up(519, 32, 4, 2880, 2880), {}, policy_kind::ogs},
    {arch_id::sm_120, gate_up(520, 32, 4, 2880, 2880), {}, policy_kind::ogs},
    {arch_id::sm_120, gate_up(519, 32, 4, 2880, 2880), {}, policy_kind::triton_3_4},
    {arch_id::sm_120, gate_up(520, 32, 4, 2880, 2880), {}, policy_kind::triton_3_4},
    {arch_id::sm_120, gate_up(520, 32, 4, 2880, 2880), {}, policy_kind::triton_2025},
    {arch_id::sm_120, gate_up(520, 32, 4, 2880, 2880), {.num_stages = 1}, policy_kind::triton_3_4},
    {arch_id::sm_120, gate_up(2080, 128, 4, 2880, 2880), {.block_k = 128}, policy_kind::triton_3_4},
    {arch_id::sm_120, gate_up(0, 32, 4, 2880, 2880), {}, policy_kind::ogs},
    {arch_id::sm_120, gate_up(1, 32, 4, 2880, 2880), {}, policy_kind::ogs},
    {arch_id::sm_120, gate_up(7, 32, 4, 2880, 2880), {.block_m = 48, .strict = true}, policy_kind::ogs},
    {arch_id::sm_120, gate_up(7, 32, 4, 2880, 2880), {.block_m = 128, .num_stages = 6}, policy_kind::ogs},
    {arch_id::sm_120, gate_up(900, 8, 2, 4096, 14336), {}, policy_kind::triton_2025},
    {arch_id::sm_120, gate_up(64, 128, 8, 2048, 768, dtype::mxfp8), {}, policy_kind::ogs},
    {arch_id::sm_120, gate_up(64, 128, 8, 2048, 768, dtype::mxfp4), {}, policy_kind::ogs},
    {arch_id::sm_121, gate_up(300, 256, 8, 7168, 2048), {}, policy_kind::ogs},
    {arch_id::sm_80, gate_up(300, 256, 8, 7168, 2048), {}, policy_kind::ogs},
    {arch_id::sm_86, gate_up(3000, 384, 8, 7168, 2048), {}, policy_kind::ogs},
    {arch_id::sm_87, gate_up(3, 384, 8, 7168, 2048), {}, policy_kind::ogs},
    {arch_id::sm_89, gate_up(16384, 8, 2, 4096, 14336), {}, policy_kind::ogs},
    {arch_id::sm_89, gate_up(16384, 8, 2, 4096, 14336), {}, policy_kind::triton_2025},
    {arch_id::sm_90, gate_up(1, 32, 4, 2880, 2880), {}, policy_kind::ogs},
    {arch_id::sm_90, gate_up(64, 32, 4, 2880, 2880), {.batch_invariant = true}, policy_kind::ogs},
    {arch_id::sm_90, gate_up(4096, 32, 4, 2880, 2880), {.idle_sms = 8}, policy_kind::ogs},
    {arch_id::sm_90, gate_up(4096, 32, 4, 2880, 2880, dtype::fp8_e4m3), {}, policy_kind::ogs},
    {arch_id::sm_90, gate_up(16, 32, 4, 2880, 2880), {.split_k = 4}, policy_kind::ogs},
    {arch_id::sm_90, gate_up(16, 32, 4, 2880, 2880), {}, policy_kind::triton_2025},
    {arch_id::sm_100, gate_up(4096, 32, 4, 2880, 2880), {}, policy_kind::triton_2025},
    {arch_id::sm_100, gate_up(4096, 32, 4, 2880, 2880), {}, policy_kind::ogs},
    {arch_id::sm_103, gate_up(33, 32, 4, 2880, 2880, dtype::fp16), {}, policy_kind::ogs},
    {arch_id::sm_110, gate_up(33, 32, 4, 2880, 2880), {}, policy_kind::ogs},
    {arch_id::gfx90a, gate_up(512, 32, 4, 2880, 2880), {}, policy_kind::ogs},
    {arch_id::gfx942, gate_up(512, 32, 4, 2880, 2880), {}, policy_kind::ogs},
    {arch_id::gfx942, gate_up(512, 32, 4, 2880, 2880), {}, policy_kind::triton_3_4},
    {arch_id::gfx950, gate_up(512, 128, 4, 2880, 2880), {}, policy_kind::ogs},
    {arch_id::gfx950, gate_up(512, 128, 4, 2880, 2880), {}, policy_kind::triton_3_4},
    {arch_id::gfx950, gate_up(512, 128, 4, 2880, 2880), {.block_m = 64, .block_n = 256}, policy_kind::triton_2025},
    {arch_id::gfx950, gate_up(512, 128, 4, 2880, 2880, dtype::mxfp4), {}, policy_kind::ogs},
    {arch_id::gfx1100, gate_up(100, 32, 4, 2880, 2880), {}, policy_kind::ogs},
    {arch_id::gfx1201, gate_up(100, 32, 4, 2880, 2880), {.is_persistent = true}, policy_kind::ogs},
    {arch_id::nvidia_generic, gate_up(100, 32, 4, 2880, 2880), {}, policy_kind::ogs},
    {arch_id::sm_90,
     {.m = 128,
      .n = 4096,
      .k = 4096,
      .experts = 8,
      .topk = 2,
      .formats = {},
      .rows = row_distribution::counted(uneven)},
     {},
     policy_kind::ogs},
    {arch_id::sm_90, {.m = -1, .n = 4096, .k = 4096}, {}, policy_kind::ogs},
};

/// One constant for each row: clang limits the steps of a constant expression, not of a program.
template <std::size_t Row>
constexpr selection at_compile_time = choose(table[Row]);

/// The optimiser does not see through this.
selection at_run_time(std::size_t index) {
  const table_row* volatile row = &table[index];
  return choose(*row);
}

}  // namespace

TEST_CASE("A constant expression and a call at run time choose the same") {
  int faults = 0;
  [&]<std::size_t... Rows>(std::index_sequence<Rows...>) {
    (((void)(same_choice(at_compile_time<Rows>, at_run_time(Rows)) || ++faults)), ...);
  }
  (std::make_index_sequence<std::size(table)>());
  CHECK(faults == 0);
}
