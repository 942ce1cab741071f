// Where constraints come from: text, environment, scopes, and which of them wins.
#include "tilefit/constraints.hpp"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string>
#include <thread>

#include "catch.hpp"

namespace {

using namespace tilefit;

/// TILEFIT_CONSTRAINTS for the length of a test.
class environment {
 public:
  explicit environment(const char* text) { ::setenv(constraints_variable, text, 1); }
  environment(const environment&) = delete;
  environment& operator=(const environment&) = delete;
  ~environment() { ::unsetenv(constraints_variable); }
};

opt_flags_constraints for_arch(std::string_view text, arch_id arch) {
  const parsed_constraints parsed = parse_constraints(text);
  INFO("text: " << text << ", column " << parsed.error.column);
  REQUIRE(parsed.status == status_code::ok);
  REQUIRE(parsed.error.expected == text_expectation::nothing);
  return parsed.for_arch(arch);
}

}  // namespace

TEST_CASE("constraints: a text reaches the architecture it names", "[constraints]") {
  const char* text = "gfx950:block_m=64,block_n=256;sm_120:block_k=128";
  CHECK(for_arch(text, arch_id::gfx950) == opt_flags_constraints{.block_m = 64, .block_n = 256});
  CHECK(for_arch(text, arch_id::sm_120) == opt_flags_constraints{.block_k = 128});
  CHECK(for_arch(text, arch_id::sm_90) == opt_flags_constraints{});
}

TEST_CASE("constraints: every member can be written", "[constraints]") {
  const opt_flags_constraints all{.block_m = 16,
                                  .block_n = 32,
                                  .block_k = 64,
                                  .num_warps = 8,
                                  .num_stages = 3,
                                  .split_k = 4,
                                  .epilogue_subtile = 2,
                                  .is_persistent = true,
                                  .max_allowable_mn = 9223372036854775807,
                                  .idle_sms = 0,
                                  .batch_invariant = false,
                                  .strict = true};
  CHECK(
      for_arch("block_m=16,block_n=32,block_k=64,num_warps=8,num_stages=3,split_k=4,epilogue_subtile=2,is_persistent=1,"
               "max_allowable_mn=9223372036854775807,idle_sms=0,batch_invariant=false,strict=true",
               arch_id::sm_90) == all);
  for (const constraint_rule& rule : constraint_rules) {
    CHECK(value_of(all, rule.member).has_value());
    CHECK(name_of(rule.member) == rule.name);
  }
}

TEST_CASE("constraints: blanks, empty entries and entries for all", "[constraints]") {
  const opt_flags_constraints expected{.block_m = 64, .strict = true};
  CHECK(for_arch("block_m=64,strict=1", arch_id::sm_90) == expected);
  CHECK(for_arch("*:block_m=64,strict=1", arch_id::sm_90) == expected);
  CHECK(for_arch(" \t* : block_m\t= 64 ,  strict =true ; ", arch_id::sm_90) == expected);
  CHECK(for_arch(";; ;sm_90:block_m=0064; ;sm_90:strict=1;;", arch_id::sm_90) == expected);
  CHECK(for_arch("", arch_id::sm_90) == opt_flags_constraints{});
  CHECK(for_arch("   ", arch_id::sm_90) == opt_flags_constraints{});
  CHECK(for_arch(";", arch_id::sm_90) == opt_flags_constraints{});

  // The entry that names the architecture wins, wherever it stands.
  CHECK(for_arch("sm_90:block_m=16;block_m=64,block_n=128", arch_id::sm_90) ==
        opt_flags_constraints{.block_m = 16, .block_n = 128});
  CHECK(for_arch("*:block_m=64,block_n=128;sm_90:block_m=16", arch_id::sm_90) ==
        opt_flags_constraints{.block_m = 16, .block_n = 128});
  CHECK(for_arch("*:block_m=64;sm_90:block_m=16", arch_id::sm_120).block_m == 64);
  CHECK(for_arch("gfx950:split_k=1;sm_90:split_k=2;gfx950:block_m=32", arch_id::gfx950) ==
        opt_flags_constraints{.block_m = 32, .split_k = 1});
}

TEST_CASE("constraints: every row of the architecture table can be named", "[constraints]") {
  for (const arch_traits& arch : arch_table) {
    const std::string text = std::string(arch.name) + ":block_m=48";
    CHECK(for_arch(text, arch.id).block_m == 48);
    for (const arch_traits& other : arch_table)
      if (other.id != arch.id) CHECK(for_arch(text, other.id) == opt_flags_constraints{});
  }
}

TEST_CASE("constraints: other spellings of an architecture are the same architecture", "[constraints]") {
  for (const char* text : {"sm_120:block_k=128", "SM_120:block_k=128", "sm_120a:block_k=128", "12.0:block_k=128",
                           "compute capability 12.0 : block_k=128"})
    CHECK(for_arch(text, arch_id::sm_120) == opt_flags_constraints{.block_k = 128});
  const constraint_text_error twice = parse_constraints("sm_120:block_k=128;12.0:block_k=64").error;
  CHECK(twice.expected == text_expectation::other_member);
  CHECK(twice.column == 25);
}

TEST_CASE("constraints: bad text is pointed at", "[constraints]") {
  using enum text_expectation;
  struct bad_text {
    std::string_view text;
    std::size_t column;
    std::string_view token;
    text_expectation expected;
  };
  const bad_text bad_texts[] = {
      // architectures
      {"sm_77:block_m=64", 1, "sm_77", architecture},
      {" sm_77 :block_m=64", 2, "sm_77", architecture},
      {"sm_90:block_m=64;gfx:block_m=64", 18, "gfx", architecture},
      {":block_m=64", 1, ":", architecture},
      {"**:block_m=64", 1, "**", architecture},
      {"sm 90:block_m=64", 1, "sm 90", architecture},
      // names
      {"block_q=64", 1, "block_q", member_name},
      {"Block_m=64", 1, "Block_m", member_name},
      {"=64", 1, "=", member_name},
      {",block_m=64", 1, ",", member_name},
      {"block_m=64,", 12, "", member_name},
      {"block_m=64,;", 12, ";", member_name},
      {"block_m=64,,block_n=64", 12, ",", member_name},
      {"sm_90:", 7, "", member_name},
      {"sm_90:;", 7, ";", member_name},
      {"sm_90: block m=64", 8, "block m", member_name},
      {"sm_90:gfx950:block_m=64", 7, "gfx950", member_name},
      {"gfx942:sramecc+:xnack-:block_m=64", 8, "sramecc+", member_name},
      {"64", 1, "64", member_name},
      // twice
      {"block_m=64,block_m=64", 12, "block_m", other_member},
      {"sm_90:block_m=64;sm_90: block_m=32", 25, "block_m", other_member},
      {"block_m=64;*:block_m=32", 14, "block_m", other_member},
      // equals sign
      {"block_m", 8, "", equals_sign},
      {"block_m ;", 9, ";", equals_sign},
      {"block_m,block_n=1", 8, ",", equals_sign},
      {"sm_90:block_m:64", 14, ":", equals_sign},
      // integers
      {"block_m=", 9, "", integer},
      {"block_m= ,", 10, ",", integer},
      {"block_m==64", 9, "=", integer},
      {"block_m=sixty", 9, "sixty", integer},
      {"block_m=64x", 9, "64x", integer},
      {"block_m=0x40", 9, "0x40", integer},
      {"block_m=6 4", 9, "6 4", integer},
      {"block_m=64.0", 9, "64.0", integer},
      {"block_m=+64", 9, "+64", integer},
      {"block_m=-", 9, "-", integer},
      {"block_m=true", 9, "true", integer},
      {"block_m=99999999999999999999z", 9, "99999999999999999999z", integer},
      // ranges
      {"block_m=0", 9, "0", integer_in_range},
      {"block_m=-64", 9, "-64", integer_in_range},
      {"block_m=-0", 9, "-0", integer_in_range},
      {"block_m=65537", 9, "65537", integer_in_range},
      {"block_m=9223372036854775807", 9, "9223372036854775807", integer_in_range},
      {"block_m=4294967360", 9, "4294967360", integer_in_range},                                // 2^32 + 64
      {"max_allowable_mn=9223372036854775808", 18, "9223372036854775808", integer_in_range},    // 2^63
      {"max_allowable_mn=92233720368547758090", 18, "92233720368547758090", integer_in_range},  // stays too large
      {"max_allowable_mn=18446744073709551680", 18, "18446744073709551680", integer_in_range},  // 2^64 + 64
      {"num_warps=33", 11, "33", integer_in_range},
      {"num_stages=0", 12, "0", integer_in_range},
      {"split_k=1025", 9, "1025", integer_in_range},
      {"epilogue_subtile=0", 18, "0", integer_in_range},
      {"idle_sms=65536", 10, "65536", integer_in_range},
      // truth values
      {"strict=", 8, "", truth_value},
      {"strict=2", 8, "2", truth_value},
      {"strict=yes", 8, "yes", truth_value},
      {"is_persistent=True", 15, "True", truth_value},
      {"batch_invariant=-1", 17, "-1", truth_value},
      // what may follow
      {"block_m=64:block_n=64", 11, ":", separator},
      {"block_m=64=64", 11, "=", separator},
      // an error for another architecture, or behind good entries, counts
      {"gfx950:block_m=64;sm_120:block_k=0", 34, "0", integer_in_range},
      // bytes that are no text
      {std::string_view("block_m=64\0", 11), 9, std::string_view("64\0", 3), integer},
      {std::string_view("\0", 1), 1, std::string_view("\0", 1), member_name},
      {"block_m=64\n", 9, "64\n", integer},
      {"\xFF\xFE", 1, "\xFF\xFE", member_name},
  };
  for (const bad_text& bad : bad_texts) {
    INFO("text: " << bad.text);
    const parsed_constraints parsed = parse_constraints(bad.text);
    CHECK(parsed.status == status_code::invalid_constraint);
    CHECK(parsed.error.column == bad.column);
    CHECK(parsed.error.token == bad.token);
    CHECK(parsed.error.expected == bad.expected);
    // The token is a part of the text, at the column.
    CHECK(parsed.error.token.data() == bad.text.data() + bad.column - 1);
    // Nothing of a bad text is kept.
    CHECK(parsed.any == opt_flags_constraints{});
    for (const opt_flags_constraints& one : parsed.by_arch) CHECK(one == opt_flags_constraints{});
    CHECK(phrase_of(parsed.error.expected) != "?");
  }

  const constraint_text_error range = parse_constraints("num_warps=33").error;
  CHECK(range.rule.name == "num_warps");
  CHECK(range.rule.min == 1);
  CHECK(range.rule.max == 32);
  CHECK(parse_constraints("a,strict=9").error.rule.name.empty());
}

TEST_CASE("constraints: the limits themselves are allowed", "[constraints]") {
  for (const constraint_rule& rule : constraint_rules) {
    for (const std::int64_t value : {rule.min, rule.max}) {
      const opt_flags_constraints set = for_arch(std::string(rule.name) + "=" + std::to_string(value), arch_id::sm_90);
      CHECK(value_of(set, rule.member) == value);
      CHECK(validate(set).status == status_code::ok);
    }
  }
}

TEST_CASE("constraints: validate names the member, its range and the value", "[constraints]") {
  CHECK(validate({}).status == status_code::ok);
  const constraint_check check = validate({.block_m = 64, .num_warps = 64, .split_k = 0});
  CHECK(check.status == status_code::invalid_constraint);
  CHECK(check.rule.member == constraint_member::num_warps);
  CHECK(check.rule.name == "num_warps");
  CHECK(check.rule.min == 1);
  CHECK(check.rule.max == 32);
  CHECK(check.value == 64);
  CHECK(validate({.max_allowable_mn = -1}).value == -1);
  CHECK(validate({.block_k = -2147483647 - 1}).value == -2147483648LL);
}

TEST_CASE("constraints: merge takes the inner members that are set", "[constraints]") {
  const opt_flags_constraints outer{.block_m = 64, .block_n = 256, .is_persistent = true, .strict = true};
  const opt_flags_constraints inner{.block_m = 32, .is_persistent = false, .idle_sms = 8};
  CHECK(merge(outer, inner) ==
        opt_flags_constraints{.block_m = 32, .block_n = 256, .is_persistent = false, .idle_sms = 8, .strict = true});
  CHECK(merge(outer, {}) == outer);
  CHECK(merge({}, outer) == outer);
  CHECK(merge(outer, outer) == outer);
}

TEST_CASE("constraints: scopes nest, and the innermost wins", "[constraints]") {
  const auto current = [](arch_id arch) { return current_constraints(arch).constraints; };
  CHECK(current(arch_id::sm_90) == opt_flags_constraints{});
  {
    const scoped_constraints outer({.block_m = 64, .num_warps = 4});
    CHECK(current(arch_id::sm_90) == opt_flags_constraints{.block_m = 64, .num_warps = 4});
    {
      const scoped_constraints hopper(arch_id::sm_90, {.block_m = 128});
      const scoped_constraints inner({.num_stages = 2});
      CHECK(current(arch_id::sm_90) == opt_flags_constraints{.block_m = 128, .num_warps = 4, .num_stages = 2});
      CHECK(current(arch_id::gfx950) == opt_flags_constraints{.block_m = 64, .num_warps = 4, .num_stages = 2});
      {
        // Depth decides, not whether a scope names an architecture.
        const scoped_constraints innermost({.block_m = 16});
        CHECK(current(arch_id::sm_90).block_m == 16);
      }
      CHECK(current(arch_id::sm_90).block_m == 128);
    }
    CHECK(current(arch_id::sm_90) == opt_flags_constraints{.block_m = 64, .num_warps = 4});
  }
  CHECK(current(arch_id::sm_90) == opt_flags_constraints{});
}

TEST_CASE("constraints: a scope that ends too early takes no other with it", "[constraints]") {
  const auto current = [] { return current_constraints(arch_id::sm_90).constraints; };
  std::optional<scoped_constraints> first, second, third;
  first.emplace(opt_flags_constraints{.block_m = 16});
  second.emplace(opt_flags_constraints{.block_n = 32});
  third.emplace(opt_flags_constraints{.block_k = 64});
  second.reset();
  CHECK(current() == opt_flags_constraints{.block_m = 16, .block_k = 64});
  first.reset();
  CHECK(current() == opt_flags_constraints{.block_k = 64});
  third.reset();
  CHECK(current() == opt_flags_constraints{});
}

TEST_CASE("constraints: threads have scopes of their own", "[constraints]") {
  const scoped_constraints mine({.block_m = 64});
  opt_flags_constraints at_start, inside, at_end;
  std::thread([&] {
    at_start = current_constraints(arch_id::sm_90).constraints;
    {
      const scoped_constraints theirs({.block_n = 32});
      inside = current_constraints(arch_id::sm_90).constraints;
    }
    at_end = current_constraints(arch_id::sm_90).constraints;
  }).join();
  CHECK(at_start == opt_flags_constraints{});
  CHECK(inside == opt_flags_constraints{.block_n = 32});
  CHECK(at_end == opt_flags_constraints{});
  CHECK(current_constraints(arch_id::sm_90).constraints == opt_flags_constraints{.block_m = 64});

  // Many threads, all at once, each sees only its own.
  int wrong[4] = {};
  std::thread threads[4];
  for (int t = 0; t < 4; ++t)
    threads[t] = std::thread([t, &wrong] {
      for (int i = 1; i <= 1000; ++i) {
        const scoped_constraints outer({.block_m = 1 + t});
        const scoped_constraints inner({.block_n = i});
        wrong[t] +=
            current_constraints(arch_id::sm_90).constraints != opt_flags_constraints{.block_m = 1 + t, .block_n = i};
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(std::count(std::begin(wrong), std::end(wrong), 0) == 4);
}

TEST_CASE("constraints: the environment is read at each call", "[constraints]") {
  ::unsetenv(constraints_variable);
  CHECK(environment_constraints(arch_id::sm_120).constraints == opt_flags_constraints{});
  CHECK(environment_constraints(arch_id::sm_120).status == status_code::ok);
  {
    const environment set("sm_120:block_k=128");
    CHECK(environment_constraints(arch_id::sm_120).constraints == opt_flags_constraints{.block_k = 128});
    CHECK(environment_constraints(arch_id::sm_90).constraints == opt_flags_constraints{});
  }
  {
    const environment set("block_k=64");
    CHECK(environment_constraints(arch_id::sm_120).constraints == opt_flags_constraints{.block_k = 64});
  }
  {
    const environment set("");
    CHECK(environment_constraints(arch_id::sm_120).status == status_code::ok);
  }
  CHECK(environment_constraints(arch_id::sm_120).constraints == opt_flags_constraints{});
}

TEST_CASE("constraints: explicit > inner scope > outer scope > environment", "[constraints]") {
  const environment set(
      "*:block_m=1,block_n=1,block_k=1,num_warps=1,num_stages=1;sm_90:block_n=2,block_k=2,num_warps=2,num_stages=2");
  const scoped_constraints outer({.block_k = 3, .num_warps = 3, .num_stages = 3});
  const scoped_constraints inner(arch_id::sm_90, {.num_warps = 4, .num_stages = 4});
  const opt_flags_constraints explicit_ones{.num_stages = 5};
  CHECK(merge(current_constraints(arch_id::sm_90).constraints, explicit_ones) ==
        opt_flags_constraints{.block_m = 1, .block_n = 2, .block_k = 3, .num_warps = 4, .num_stages = 5});
}

TEST_CASE("constraints: a bad environment is reported, and the scopes still count", "[constraints]") {
  const environment set("block_m=64,block_n=x");
  const scoped_constraints scope({.num_warps = 4});
  const sourced_constraints current = current_constraints(arch_id::sm_90);
  CHECK(current.status == status_code::invalid_constraint);
  CHECK(current.error.column == 20);
  CHECK(current.error.token == "x");
  CHECK(current.error.expected == text_expectation::integer);
  CHECK(current.constraints == opt_flags_constraints{.num_warps = 4});
}
