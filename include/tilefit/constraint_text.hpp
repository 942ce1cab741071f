// L3: constraints as text.
// Knows: the grammar. Must not know: where a text comes from (constraints.hpp) or which tiles can honour it.
// Everything here is constexpr and noexcept, allocates nothing and reads nothing but its arguments.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

#include "arch.hpp"
#include "arch_lookup.hpp"
#include "arch_table.hpp"
#include "constraint_rules.hpp"
#include "opt_flags.hpp"
#include "status.hpp"

namespace tilefit::inline v0 {

/// What a constraint text should have had where it went wrong.
enum class text_expectation : std::uint8_t {
  nothing,           ///< the text is good
  architecture,      ///< a name that find_arch knows, or *
  member_name,       ///< a name of constraint_rules
  other_member,      ///< a member that this architecture has not been given yet
  equals_sign,       ///< = and a value
  integer,           ///< decimal digits
  integer_in_range,  ///< a number within constraint_text_error::rule
  truth_value,       ///< 0, 1, true or false
  separator,         ///< a comma, a semicolon or the end
};

/// Completes "expected ...".
constexpr std::string_view phrase_of(text_expectation expected) noexcept {
  switch (expected) {
    case text_expectation::nothing: return "nothing else";
    case text_expectation::architecture: return "an architecture such as sm_120 or gfx950, or *";
    case text_expectation::member_name: return "the name of a constraint such as block_m";
    case text_expectation::other_member: return "a constraint that is not set before";
    case text_expectation::equals_sign: return "= and a value";
    case text_expectation::integer: return "an integer";
    case text_expectation::integer_in_range: return "an integer in the range of the constraint";
    case text_expectation::truth_value: return "0, 1, true or false";
    case text_expectation::separator: return "a comma, a semicolon or the end of the text";
  }
  return "?";
}

/// Where and why a text does not parse.
struct constraint_text_error {
  text_expectation expected = text_expectation::nothing;
  std::size_t column = 0;  ///< in bytes, the first is 1; one past the text when it ends too early
  std::string_view token;  ///< what is there instead: a part of the text, so it lives as long as the text
  constraint_rule rule;    ///< the member in question, for other_member, integer, integer_in_range and truth_value
};

/// What a text says, by architecture.
struct parsed_constraints {
  status_code status = status_code::ok;  ///< or invalid_constraint: then no constraint is kept
  constraint_text_error error;
  opt_flags_constraints any;  ///< from entries without an architecture or with *
  std::array<opt_flags_constraints, arch_count> by_arch{};

  /// An entry that names the architecture wins over one for all.
  constexpr opt_flags_constraints for_arch(arch_id arch) const noexcept {
    const auto index = static_cast<std::size_t>(arch);
    return index < arch_count ? merge(any, by_arch[index]) : any;
  }
};

namespace detail {

/// Walks over a constraint text, token by token.
class constraint_reader {
 public:
  constexpr explicit constraint_reader(std::string_view text) noexcept : text_(text) {}

  constexpr parsed_constraints read() noexcept {
    while (at_ < text_.size() && read_entry()) {
    }
    if (error_.expected != text_expectation::nothing)
      return {.status = status_code::invalid_constraint, .error = error_, .any = {}, .by_arch = {}};
    return parsed_;
  }

 private:
  struct token {
    std::string_view text;
    std::size_t begin = 0;
  };

  static constexpr bool is_space(char c) noexcept { return c == ' ' || c == '\t'; }
  static constexpr bool is_mark(char c) noexcept { return c == ':' || c == ';' || c == ',' || c == '='; }

  /// The text up to the next mark, without the blanks around it; stops at the mark.
  constexpr token next() noexcept {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
    const std::size_t begin = at_;
    while (at_ < text_.size() && !is_mark(text_[at_])) ++at_;
    std::size_t end = at_;
    while (end > begin && is_space(text_[end - 1])) --end;
    return {text_.substr(begin, end - begin), begin};
  }
  constexpr bool is_at(char mark) const noexcept { return at_ < text_.size() && text_[at_] == mark; }
  constexpr bool is_at_end_of_entry() const noexcept { return at_ >= text_.size() || text_[at_] == ';'; }

  constexpr bool fail(text_expectation expected, token found, const constraint_rule& rule = {}) noexcept {
    // An empty token says nothing: show the mark that stands in its place, if there is one.
    if (found.text.empty()) found.text = text_.substr(found.begin, 1);
    error_ = {expected, found.begin + 1, found.text, rule};
    return false;
  }

  static constexpr const constraint_rule* find_rule(std::string_view name) noexcept {
    for (const constraint_rule& rule : constraint_rules)
      if (rule.name == name) return &rule;
    return nullptr;
  }

  /// entry = [arch ":"] name "=" value {"," name "=" value}, or nothing at all; entries end with ";".
  constexpr bool read_entry() noexcept {
    opt_flags_constraints* target = &parsed_.any;
    token name = next();
    if (is_at(':')) {
      if (name.text != "*") {
        const std::optional<arch_id> arch = find_arch(name.text);
        if (!arch) return fail(text_expectation::architecture, name);
        target = &parsed_.by_arch[static_cast<std::size_t>(*arch)];
      }
      ++at_;
      name = next();
    } else if (name.text.empty() && is_at_end_of_entry()) {
      ++at_;
      return true;
    }
    while (read_member(*target, name)) {
      if (is_at_end_of_entry()) {
        ++at_;
        return true;
      }
      if (!is_at(',')) return fail(text_expectation::separator, {{}, at_});
      ++at_;
      name = next();
    }
    return false;
  }

  constexpr bool read_member(opt_flags_constraints& target, token name) noexcept {
    const constraint_rule* rule = find_rule(name.text);
    if (!rule) return fail(text_expectation::member_name, name);
    if (value_of(target, rule->member)) return fail(text_expectation::other_member, name, *rule);
    if (!is_at('=')) return fail(text_expectation::equals_sign, {{}, at_});
    ++at_;
    const token value = next();
    return rule->is_bool ? read_truth(target, *rule, value) : read_integer(target, *rule, value);
  }

  constexpr bool read_truth(opt_flags_constraints& target, const constraint_rule& rule, token value) noexcept {
    const bool is_true = value.text == "1" || value.text == "true";
    if (!is_true && value.text != "0" && value.text != "false") return fail(text_expectation::truth_value, value, rule);
    set_value(target, rule.member, is_true ? 1 : 0);
    return true;
  }

  constexpr bool read_integer(opt_flags_constraints& target, const constraint_rule& rule, token value) noexcept {
    const bool is_negative = !value.text.empty() && value.text.front() == '-';
    const std::string_view digits = value.text.substr(is_negative ? 1 : 0);
    if (digits.empty()) return fail(text_expectation::integer, value, rule);
    constexpr std::int64_t max = std::numeric_limits<std::int64_t>::max();
    std::int64_t number = 0;
    bool overflows = false;
    for (const char c : digits) {
      if (c < '0' || c > '9') return fail(text_expectation::integer, value, rule);
      const int digit = c - '0';
      overflows = overflows || number > (max - digit) / 10;
      if (!overflows) number = 10 * number + digit;
    }
    if (is_negative || overflows || number < rule.min || number > rule.max)
      return fail(text_expectation::integer_in_range, value, rule);
    set_value(target, rule.member, number);
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  parsed_constraints parsed_;
  constraint_text_error error_;
};

}  // namespace detail

/// Reads `gfx950:block_m=64,block_n=256;sm_120:block_k=128`: entries end with a semicolon and hold members separated by
/// commas. Architectures are spelled as find_arch takes them, colons excepted; an entry without one, or with `*`, is
/// for all. Blanks and tabs around a token do not count, nor do empty entries. The whole text is checked, also the
/// entries for other architectures than the reader's; setting a member twice for one architecture is an error. The
/// first error ends the reading, and then nothing of the text is kept.
constexpr parsed_constraints parse_constraints(std::string_view text) noexcept {
  return detail::constraint_reader(text).read();
}

}  // namespace tilefit::inline v0
