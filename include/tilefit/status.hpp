// What a call of tilefit answers when it is asked for something.
// Knows: the kinds of answer.
// Must not know: the numbers behind one (explain.hpp writes the sentence that names them).
#pragma once

#include <cstdint>
#include <string_view>

#include "detail/config.hpp"

namespace tilefit::inline v0 {

/// Kind of answer. Everything up to and including `empty` is success.
enum class status_code : std::uint8_t {
  ok,                     ///< the wished-for tile fits
  ok_fallback,            ///< the wished-for tile does not fit; another one was chosen
  ok_constraint_relaxed,  ///< no tile fits with all constraints; the least important ones were dropped
  empty,                  ///< no rows, columns or experts: there is nothing to launch
  no_fit,                 ///< strict constraints that no fitting tile honours
  unsupported_dtype,      ///< the policy has no kernel for these formats on this architecture
  unsupported_feature,    ///< the policy cannot do what the problem asks for
  invalid_problem,        ///< a member of the problem is out of range
  invalid_constraint,     ///< a constraint is out of range, or a constraint text does not parse
  constraint_refused,     ///< the policy forbids this combination of constraint and hardware
  invalid_argument,       ///< a pointer, size or index handed to a run-time call is wrong
  runtime_error,          ///< the GPU's runtime refused a call: the error number that stands beside this says why
};

/// True when the caller can go on: there is a tile, or there is nothing to do.
TILEFIT_HD constexpr bool succeeded(status_code code) noexcept { return code <= status_code::empty; }

constexpr std::string_view name_of(status_code code) noexcept {
  switch (code) {
    case status_code::ok: return "ok";
    case status_code::ok_fallback: return "ok_fallback";
    case status_code::ok_constraint_relaxed: return "ok_constraint_relaxed";
    case status_code::empty: return "empty";
    case status_code::no_fit: return "no_fit";
    case status_code::unsupported_dtype: return "unsupported_dtype";
    case status_code::unsupported_feature: return "unsupported_feature";
    case status_code::invalid_problem: return "invalid_problem";
    case status_code::invalid_constraint: return "invalid_constraint";
    case status_code::constraint_refused: return "constraint_refused";
    case status_code::invalid_argument: return "invalid_argument";
    case status_code::runtime_error: return "runtime_error";
  }
  return "?";
}

/// How a number would have to lie to its limit.
enum class relation : std::uint8_t { at_least, at_most, exactly, multiple_of, absent };

/// A failing status, with the numbers that explain.hpp's sentence names: "`subject` is `value`, must be at most
/// `limit`: `why`".
struct refusal {
  status_code status = status_code::ok;
  std::string_view subject{};
  std::int64_t value = 0;
  relation must_be = relation::at_least;
  std::int64_t limit = 0;
  std::string_view why{};  ///< may be empty

  /// Whether something is refused.
  constexpr explicit operator bool() const noexcept { return status != status_code::ok; }
};

}  // namespace tilefit::inline v0
