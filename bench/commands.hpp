// What the sub-commands of tilefit-bench share.
// Knows: words on the command line, exit codes, progress. Must not know: what a sub-command does.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <tilefit/tilefit.hpp>

namespace CLI {  // NOLINT(readability-identifier-naming): CLI11's
class App;
}

namespace tilefit::inline v0::bench {

inline constexpr int exit_ok = 0;
inline constexpr int exit_failed = 1;        ///< the work was done and something is wrong
inline constexpr int exit_bad_input = 2;     ///< a word, number or file cannot be used; nothing was done
inline constexpr int exit_unavailable = 77;  ///< this machine lacks what it takes: a device, a tool, a built file

/// Prints "tilefit-bench: <sentence>" to standard error, on one line whatever the input holds.
int bad_input(std::string_view sentence);

/// Constraints that hold on `arch` from the environment and, over them, from `text` ("" = none); nothing after a
/// sentence about the one that cannot be read.
std::optional<opt_flags_constraints> read_constraints(arch_id arch, const std::string& text = "");

/// Prints one JSON value; bytes that are not UTF-8 are replaced.
void print_json(const nlohmann::json& value);

/// The architecture that `name` stands for, or nothing after a sentence on standard error that lists the names.
std::optional<arch_traits> read_arch(const std::string& name);

/// Steps of long work: rewritten in place on a terminal at standard error, nothing elsewhere.
class progress {
 public:
  explicit progress(bool quiet);
  ~progress() { finish(); }
  progress(const progress&) = delete;
  progress& operator=(const progress&) = delete;
  void step(std::string_view what);
  /// Wipes the line that a terminal shows.
  void finish();

 private:
  bool shown_;
};

/// "AMD EPYC, 2 threads": what host times were measured on. Linux; "unknown CPU" elsewhere.
std::string host_name();

/// True when standard output is a terminal that wants colour (and NO_COLOR is not set).
bool wants_colour();

void add_explain(CLI::App& app, int& exit_code);
void add_report(CLI::App& app, int& exit_code);
void add_run(CLI::App& app, int& exit_code);
void add_select(CLI::App& app, int& exit_code);
void add_static(CLI::App& app, int& exit_code);
void add_sweep(CLI::App& app, int& exit_code);
void add_tune(CLI::App& app, int& exit_code);
void add_verify(CLI::App& app, int& exit_code);

}  // namespace tilefit::inline v0::bench
