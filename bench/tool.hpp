// Programs of a toolkit that tilefit-bench runs: finding them, running them, what they print.
// Knows: the PATH and where toolkits are installed.
// Must not know: what the output means.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tilefit::inline v0::bench {

/// The first of `names` that can be executed: `given` as it is when it is not empty, otherwise NAME in `folders` and
/// the folders of PATH, then NAME with a version behind it (llvm-mca-22), the highest first. "" when there is none.
std::string find_tool(const std::string& given, const std::vector<std::string>& names,
                      const std::vector<std::string>& folders);

struct tool_output {
  bool ok = false;  ///< it ran and ended with 0
  std::string text;
};
/// Runs a program with arguments; what it prints on standard output, or on both when it fails.
tool_output run_tool(const std::string& program, const std::vector<std::string>& arguments);

/// The line of `program --version` that has a version in it, or "".
std::string version_of(const std::string& program);

/// A file that lives as long as this.
class temporary_file {
 public:
  explicit temporary_file(std::string_view contents);
  ~temporary_file();
  temporary_file(const temporary_file&) = delete;
  temporary_file& operator=(const temporary_file&) = delete;
  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

}  // namespace tilefit::inline v0::bench
