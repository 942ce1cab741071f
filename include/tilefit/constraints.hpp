// L3: where constraints come from and which of them wins.
// Knows: scopes of the calling thread and the process environment. Must not know: tiles, or how a text is read
// (constraint_text.hpp).
// Precedence, highest first: explicit argument > innermost scope > outer scopes > environment (an entry that names
// the architecture > an entry for all). A member that a source leaves empty comes from the next one.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "arch.hpp"
#include "constraint_rules.hpp"
#include "constraint_text.hpp"
#include "opt_flags.hpp"
#include "status.hpp"

namespace tilefit::inline v0 {

/// Name of the environment variable.
inline constexpr const char* constraints_variable = "TILEFIT_CONSTRAINTS";

/// Constraints, and whether their text could be read.
struct sourced_constraints {
  status_code status = status_code::ok;  ///< or invalid_constraint: the environment's text is bad and is left out
  constraint_text_error error;           ///< its token points into the environment
  opt_flags_constraints constraints;
};

/// What TILEFIT_CONSTRAINTS says about `arch`. An unset or empty variable says nothing.
///
/// The variable is read and parsed at every call and nothing is kept, so a change is seen by the next call. Calls are
/// safe beside each other; as with any getenv, not beside a setenv or putenv of another thread.
/// Not for constant evaluation: compile-time callers pass their constraints, or use parse_constraints.
inline sourced_constraints environment_constraints(arch_id arch) noexcept {
  const char* text = std::getenv(constraints_variable);
  if (text == nullptr || *text == '\0') return {};
  const parsed_constraints parsed = parse_constraints(text);
  return {parsed.status, parsed.error, parsed.for_arch(arch)};
}

/// Constraints for what the calling thread asks for while the object lives.
///
/// Scopes nest: the innermost wins, member by member. They belong to the thread that made them: other threads, also
/// those it starts, do not see them. An object lives on the stack and must be destroyed by its own thread, in the
/// reverse order of construction as blocks do it; it holds its constraints itself and allocates nothing.
class [[nodiscard]] scoped_constraints {
 public:
  /// For every architecture.
  explicit scoped_constraints(const opt_flags_constraints& constraints) noexcept
      : outer_(innermost), constraints_(constraints) {
    innermost = this;
  }
  /// For one architecture.
  scoped_constraints(arch_id arch, const opt_flags_constraints& constraints) noexcept
      : outer_(innermost), arch_(arch), constraints_(constraints) {
    innermost = this;
  }
  ~scoped_constraints() {
    // One step when the order is kept; a scope that goes too early must not take the inner ones with it.
    scoped_constraints** link = &innermost;
    while (*link != nullptr && *link != this) link = &(*link)->outer_;
    if (*link == this) *link = outer_;
  }

  scoped_constraints(const scoped_constraints&) = delete;
  scoped_constraints& operator=(const scoped_constraints&) = delete;
  static void* operator new(std::size_t) = delete;
  static void* operator new[](std::size_t) = delete;

  /// What the scopes of the calling thread, all together, say about `arch` on top of `outermost`.
  static opt_flags_constraints merged(arch_id arch, const opt_flags_constraints& outermost = {}) noexcept {
    if (innermost == nullptr) return outermost;
    opt_flags_constraints inner;
    for (const scoped_constraints* scope = innermost; scope != nullptr; scope = scope->outer_)
      if (!scope->arch_ || *scope->arch_ == arch) inner = merge(scope->constraints_, inner);
    return merge(outermost, inner);
  }

 private:
  static inline constinit thread_local scoped_constraints* innermost = nullptr;

  scoped_constraints* outer_;
  std::optional<arch_id> arch_;
  opt_flags_constraints constraints_;
};

/// Scopes of the calling thread over the environment. With a bad environment text the status says so and the scopes
/// stand alone. For the engine's argument: `merge(current_constraints(arch).constraints, explicit_ones)`.
inline sourced_constraints current_constraints(arch_id arch) noexcept {
  sourced_constraints current = environment_constraints(arch);
  current.constraints = scoped_constraints::merged(arch, current.constraints);
  return current;
}

}  // namespace tilefit::inline v0
