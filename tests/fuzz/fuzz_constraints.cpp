// libFuzzer target: any bytes give constraints within their ranges, or an error that points into the text.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tilefit/arch_table.hpp"
#include "tilefit/constraint_text.hpp"

namespace {

using namespace tilefit;

void require(bool holds) {
  if (!holds) std::abort();
}

/// The text that says what `constraints` says.
std::string write(const opt_flags_constraints& constraints) {
  std::string text;
  for (const constraint_rule& rule : constraint_rules)
    if (const auto value = value_of(constraints, rule.member))
      text += (text.empty() ? "" : ",") + std::string(rule.name) + "=" + std::to_string(*value);
  return text;
}

}  // namespace

// The name is libFuzzer's. NOLINTNEXTLINE(readability-identifier-naming)
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const parsed_constraints parsed = parse_constraints(text);

  if (parsed.status != status_code::ok) {
    const constraint_text_error& error = parsed.error;
    require(parsed.status == status_code::invalid_constraint && error.expected != text_expectation::nothing);
    require(error.column >= 1 && error.column <= size + 1 && error.token.size() <= size - (error.column - 1));
    require(error.token.data() == text.data() + (error.column - 1));
    // The rule is there when the sentence needs it.
    const bool is_about_a_value =
        error.expected >= text_expectation::integer && error.expected <= text_expectation::truth_value;
    require(!is_about_a_value || !error.rule.name.empty());
    require(parsed.any == opt_flags_constraints{});
    for (const opt_flags_constraints& one : parsed.by_arch) require(one == opt_flags_constraints{});
    // Nothing after the error was looked at: cut there, the text has an error at the same place or at its end.
    const std::size_t end = error.column - 1 + error.token.size();
    const parsed_constraints cut = parse_constraints(text.substr(0, end));
    require(cut.status != status_code::ok && (cut.error.column == error.column || cut.error.column == end + 1));
    return 0;
  }

  require(parsed.error.expected == text_expectation::nothing);
  require(validate(parsed.any).status == status_code::ok);
  std::string again = "*:" + write(parsed.any);
  if (parsed.any == opt_flags_constraints{}) again.clear();
  for (const arch_traits& arch : arch_table) {
    const opt_flags_constraints& own = parsed.by_arch[static_cast<std::size_t>(arch.id)];
    require(validate(parsed.for_arch(arch.id)).status == status_code::ok);
    if (own != opt_flags_constraints{}) again += ";" + std::string(arch.name) + ":" + write(own);
  }
  // Written out and read back, it says the same.
  const parsed_constraints reread = parse_constraints(again);
  require(reread.status == status_code::ok && reread.any == parsed.any && reread.by_arch == parsed.by_arch);
  return 0;
}
