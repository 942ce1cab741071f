#include "commands.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

namespace tilefit::inline v0::bench {

int bad_input(std::string_view sentence) {
  fmt::print(stderr, "tilefit-bench: {}\n", sentence);
  return exit_bad_input;
}

std::optional<arch_traits> read_arch(const std::string& name) {
  if (const std::optional<arch_lookup> found = resolve_arch(name)) {
    if (found->match != arch_match::exact)
      fmt::print(stderr, "tilefit-bench: there is no row for '{}'; taking the conservative row {}\n", name,
                 found->traits.name);
    return found->traits;
  }
  std::string known;
  for (const arch_traits& row : arch_table) known += fmt::format("{}{}", known.empty() ? "" : ", ", row.name);
  bad_input(fmt::format("'{}' is no architecture; known are {}, and numbers such as 12.0", name, known));
  return std::nullopt;
}

progress::progress(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO) != 0) {}

void progress::finish() {
  if (!quiet_ && terminal_) fmt::print(stderr, "\r\x1b[K");
}

void progress::step(std::string_view what) {
  if (quiet_) return;
  if (terminal_)
    fmt::print(stderr, "\r\x1b[K{} ...", what);
  else
    fmt::print(stderr, "{} ...\n", what);
  std::fflush(stderr);
}

void progress::tick(std::string_view what) {
  if (terminal_) step(what);
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
