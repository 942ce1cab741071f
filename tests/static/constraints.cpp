// Compiling is passing: constraints at compile time.
#include <memory>
#include <type_traits>

#include "tilefit/constraints.hpp"

namespace {

using namespace tilefit;

// A member that is added to opt_flags_constraints must be added to constraint_rules: this stops compiling.
constexpr int members_set(const opt_flags_constraints& constraints) {
  const auto& [a, b, c, d, e, f, g, h, i, j, k, l] = constraints;
  return a.has_value() + b.has_value() + c.has_value() + d.has_value() + e.has_value() + f.has_value() + g.has_value() +
         h.has_value() + i.has_value() + j.has_value() + k.has_value() + l.has_value();
}

constexpr opt_flags_constraints everything_at_its_maximum() {
  opt_flags_constraints all;
  for (const constraint_rule& rule : constraint_rules) set_value(all, rule.member, rule.max);
  return all;
}
static_assert(constraint_rules.size() == 12);
static_assert(members_set(everything_at_its_maximum()) == 12);
static_assert(validate(everything_at_its_maximum()).status == status_code::ok);

constexpr bool rules_follow_the_enum() {
  for (std::size_t i = 0; i < constraint_rules.size(); ++i)
    if (static_cast<std::size_t>(constraint_rules[i].member) != i) return false;
  return true;
}
static_assert(rules_follow_the_enum());

// set_value and value_of speak of the same member, and of no other.
constexpr bool every_member_stands_alone() {
  for (const constraint_rule& rule : constraint_rules) {
    opt_flags_constraints one;
    set_value(one, rule.member, rule.max);
    if (members_set(one) != 1 || value_of(one, rule.member) != rule.max) return false;
    opt_flags_constraints low;
    set_value(low, rule.member, rule.min);
    if (merge(one, {}) != one || merge({}, one) != one || merge(one, low) != low || merge(low, one) != one)
      return false;
  }
  return true;
}
static_assert(every_member_stands_alone());
static_assert([] {
  opt_flags_constraints one;
  set_value(one, constraint_member::idle_sms, 7);
  return one.idle_sms == 7;
}());

// The parser.
constexpr parsed_constraints documented = parse_constraints("gfx950:block_m=64,block_n=256;sm_120:block_k=128");
static_assert(documented.status == status_code::ok);
static_assert(documented.for_arch(arch_id::gfx950) == opt_flags_constraints{.block_m = 64, .block_n = 256});
static_assert(documented.for_arch(arch_id::sm_120) == opt_flags_constraints{.block_k = 128});
static_assert(documented.for_arch(arch_id::sm_90) == opt_flags_constraints{});

constexpr parsed_constraints bad = parse_constraints("gfx950:block_m=64,block_n=0");
static_assert(bad.status == status_code::invalid_constraint);
static_assert(bad.error.column == 27);
static_assert(bad.error.token == "0");
static_assert(bad.error.expected == text_expectation::integer_in_range);
static_assert(bad.error.rule.member == constraint_member::block_n && bad.error.rule.max == max_block);
static_assert(bad.for_arch(arch_id::gfx950) == opt_flags_constraints{});

static_assert(parse_constraints("").status == status_code::ok);
static_assert(noexcept(parse_constraints("")));
static_assert(merge(opt_flags_constraints{.block_m = 1, .block_n = 2}, opt_flags_constraints{.block_n = 3}) ==
              opt_flags_constraints{.block_m = 1, .block_n = 3});
static_assert(validate({.num_stages = 65}).rule.member == constraint_member::num_stages);

// A scope stays where it is made.
static_assert(!std::is_copy_constructible_v<scoped_constraints> && !std::is_move_constructible_v<scoped_constraints>);
static_assert(!std::is_copy_assignable_v<scoped_constraints> && !std::is_move_assignable_v<scoped_constraints>);
template <class T>
concept can_be_allocated = requires {
  new T(opt_flags_constraints{});
};
static_assert(!can_be_allocated<scoped_constraints>);

}  // namespace
