#include "commands.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

namespace tilefit::inline v0::bench {

int bad_input(std::string_view sentence) {
  constexpr std::size_t most = 600;
  std::string line(sentence.substr(0, most));
  for (char& c : line)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
  fmt::print(stderr, "tilefit-bench: {}{}\n", line, sentence.size() > most ? "..." : "");
  return exit_bad_input;
}

namespace {

int bad_constraints(std::string_view where, const constraint_text_error& error) {
  return bad_input(fmt::format("{}: column {}: expected {}, not '{}'", where, error.column, phrase_of(error.expected),
                               error.token.substr(0, 80)));
}

}  // namespace

std::optional<opt_flags_constraints> read_constraints(arch_id arch, const std::string& text) {
  const sourced_constraints current = current_constraints(arch);
  if (current.status != status_code::ok) {
    bad_constraints(constraints_variable, current.error);
    return std::nullopt;
  }
  const parsed_constraints parsed = parse_constraints(text);
  if (parsed.status != status_code::ok) {
    bad_constraints("--constraints", parsed.error);
    return std::nullopt;
  }
  return merge(current.constraints, parsed.for_arch(arch));
}

void print_json(const nlohmann::json& value) {
  fmt::print("{}\n", value.dump(1, ' ', false, nlohmann::json::error_handler_t::replace));
}

std::optional<arch_traits> read_arch(const std::string& name) {
  if (const std::optional<arch_lookup> found = resolve_arch(name)) {
    if (found->match != arch_match::exact && found->traits.name != name)
      fmt::print(stderr, "tilefit-bench: there is no row for '{}'; taking the conservative row {}\n", name,
                 found->traits.name);
    return found->traits;
  }
  std::string known;
  for (const arch_traits& row : arch_table) known += fmt::format("{}{}", known.empty() ? "" : ", ", row.name);
  bad_input(fmt::format("'{}' is no architecture; known are {}, and numbers such as 12.0", name.substr(0, 80), known));
  return std::nullopt;
}

progress::progress(bool quiet) : shown_(!quiet && isatty(STDERR_FILENO) != 0) {}

void progress::step(std::string_view what) {
  if (!shown_) return;
  fmt::print(stderr, "\r\x1b[K{} ...", what);
  std::fflush(stderr);
}

void progress::finish() {
  if (shown_) fmt::print(stderr, "\r\x1b[K");
}

std::string host_name() {
  std::string model = "unknown CPU";
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    const std::size_t colon = line.find(": ");
    if (!line.starts_with("model name") || colon == std::string::npos) continue;
    model = line.substr(colon + 2);
    break;
  }
  return fmt::format("{}, {} threads", model, std::thread::hardware_concurrency());
}

bool wants_colour() { return isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr; }

}  // namespace tilefit::inline v0::bench
