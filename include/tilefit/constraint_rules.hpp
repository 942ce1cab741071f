// L3: the members of opt_flags_constraints as a table.
// Knows: their names and ranges, and how two sets of constraints combine. Must not know: architectures and tiles, or
// where constraints come from (constraints.hpp).
// A new member of opt_flags_constraints needs a row, an enumerator and a case here; tests/static/constraints.cpp
// counts.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

#include "opt_flags.hpp"
#include "status.hpp"

namespace tilefit::inline v0 {

/// A member of opt_flags_constraints, in the order of `constraint_rules`.
enum class constraint_member : std::uint8_t {
  block_m,
  block_n,
  block_k,
  num_warps,
  num_stages,
  split_k,
  epilogue_subtile,
  is_persistent,
  max_allowable_mn,
  idle_sms,
  batch_invariant,
  strict,
};

/// What a member may be set to. Truth values are 0 and 1.
struct constraint_rule {
  constraint_member member{};
  std::string_view name;
  std::int64_t min = 0;
  std::int64_t max = 1;
  bool is_bool = false;
};

/// The ranges keep nonsense out; they are wider than what any chip has and say nothing about what fits.
/// 32 warps of 32 lanes are the 1,024 threads that a block may have on every architecture of the table.
inline constexpr std::array<constraint_rule, 12> constraint_rules{{
    {constraint_member::block_m, "block_m", 1, max_block, false},
    {constraint_member::block_n, "block_n", 1, max_block, false},
    {constraint_member::block_k, "block_k", 1, max_block, false},
    {constraint_member::num_warps, "num_warps", 1, 32, false},
    {constraint_member::num_stages, "num_stages", 1, 64, false},
    {constraint_member::split_k, "split_k", 1, 1024, false},
    {constraint_member::epilogue_subtile, "epilogue_subtile", 1, 64, false},
    {constraint_member::is_persistent, "is_persistent", 0, 1, true},
    {constraint_member::max_allowable_mn, "max_allowable_mn", 0, std::numeric_limits<std::int64_t>::max(), false},
    {constraint_member::idle_sms, "idle_sms", 0, 65535, false},
    {constraint_member::batch_invariant, "batch_invariant", 0, 1, true},
    {constraint_member::strict, "strict", 0, 1, true},
}};

constexpr const constraint_rule& rule_of(constraint_member member) noexcept {
  return constraint_rules[static_cast<std::size_t>(member)];
}

constexpr std::string_view name_of(constraint_member member) noexcept { return rule_of(member).name; }

namespace detail {

/// Calls `use` with the std::optional that `member` names.
template <class Constraints, class Use>
constexpr decltype(auto) visit_member(Constraints& constraints, constraint_member member, Use use) noexcept {
  switch (member) {
    case constraint_member::block_m: return use(constraints.block_m);
    case constraint_member::block_n: return use(constraints.block_n);
    case constraint_member::block_k: return use(constraints.block_k);
    case constraint_member::num_warps: return use(constraints.num_warps);
    case constraint_member::num_stages: return use(constraints.num_stages);
    case constraint_member::split_k: return use(constraints.split_k);
    case constraint_member::epilogue_subtile: return use(constraints.epilogue_subtile);
    case constraint_member::is_persistent: return use(constraints.is_persistent);
    case constraint_member::max_allowable_mn: return use(constraints.max_allowable_mn);
    case constraint_member::idle_sms: return use(constraints.idle_sms);
    case constraint_member::batch_invariant: return use(constraints.batch_invariant);
    case constraint_member::strict: break;
  }
  return use(constraints.strict);
}

}  // namespace detail

/// The member as a number, or nothing when it is not set.
constexpr std::optional<std::int64_t> value_of(const opt_flags_constraints& constraints,
                                               constraint_member member) noexcept {
  return detail::visit_member(constraints, member, [](const auto& value) -> std::optional<std::int64_t> {
    if (!value) return std::nullopt;
    return static_cast<std::int64_t>(*value);
  });
}

/// Sets the member to a value that is in the member's range.
constexpr void set_value(opt_flags_constraints& constraints, constraint_member member, std::int64_t value) noexcept {
  detail::visit_member(constraints, member,
                       [value]<class T>(std::optional<T>& place) { place = static_cast<T>(value); });
}

/// Members that `inner` sets win; the others come from `outer`.
/// Spelled out: it runs beside every selection at run time, and a loop over the rules is slower.
constexpr opt_flags_constraints merge(const opt_flags_constraints& outer, const opt_flags_constraints& inner) noexcept {
  opt_flags_constraints merged = outer;
  const auto put = [](auto& place, const auto& value) {
    if (value) place = value;
  };
  put(merged.block_m, inner.block_m);
  put(merged.block_n, inner.block_n);
  put(merged.block_k, inner.block_k);
  put(merged.num_warps, inner.num_warps);
  put(merged.num_stages, inner.num_stages);
  put(merged.split_k, inner.split_k);
  put(merged.epilogue_subtile, inner.epilogue_subtile);
  put(merged.is_persistent, inner.is_persistent);
  put(merged.max_allowable_mn, inner.max_allowable_mn);
  put(merged.idle_sms, inner.idle_sms);
  put(merged.batch_invariant, inner.batch_invariant);
  put(merged.strict, inner.strict);
  return merged;
}

/// Answer of `validate`: with `invalid_constraint`, the first member that is out of range, its range and its value.
struct constraint_check {
  status_code status = status_code::ok;
  constraint_rule rule;
  std::int64_t value = 0;
};

/// Checks that every member that is set lies in its range.
constexpr constraint_check validate(const opt_flags_constraints& constraints) noexcept {
  for (const constraint_rule& rule : constraint_rules)
    if (const std::optional<std::int64_t> value = value_of(constraints, rule.member))
      if (*value < rule.min || *value > rule.max) return {status_code::invalid_constraint, rule, *value};
  return {};
}

}  // namespace tilefit::inline v0
