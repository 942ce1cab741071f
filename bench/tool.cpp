#include "tool.hpp"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <system_error>

namespace tilefit::inline v0::bench {

std::string find_tool(const std::string& given, const std::vector<std::string>& names,
                      const std::vector<std::string>& folders) {
  const auto runs = [](const std::string& path) {
    std::error_code error;
    return access(path.c_str(), X_OK) == 0 && !std::filesystem::is_directory(path, error);
  };
  if (!given.empty() && (given.find('/') != std::string::npos)) return runs(given) ? given : "";
  std::vector<std::string> where = folders;
  if (const char* const path = std::getenv("PATH"); path != nullptr) {
    std::string_view left = path;
    while (!left.empty()) {
      const std::size_t end = left.find(':');
      where.emplace_back(left.substr(0, end));
      left = end == std::string_view::npos ? std::string_view{} : left.substr(end + 1);
    }
  }
  for (const std::string& name : given.empty() ? names : std::vector<std::string>{given}) {
    for (const std::string& folder : folders)
      if (const std::string path = fmt::format("{}/{}", folder, name); runs(path)) return path;
    constexpr int newest = 40, oldest = 20;  // LLVM knows gfx950 since 20; without a number it may be older
    for (int version = newest; version >= oldest; --version)
      for (const std::string& folder : where)
        if (const std::string path = fmt::format("{}/{}-{}", folder, name, version); runs(path)) return path;
    for (const std::string& folder : where)
      if (const std::string path = fmt::format("{}/{}", folder, name); runs(path)) return path;
  }
  return {};
}

tool_output run_tool(const std::string& program, const std::vector<std::string>& arguments) {
  const auto quoted = [](const std::string& word) {
    std::string out = "'";
    for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out + "'";
  };
  std::string command = quoted(program);
  for (const std::string& argument : arguments) command += ' ' + quoted(argument);
  const temporary_file errors("");
  command += " 2>" + quoted(errors.path());
  tool_output out;
  std::FILE* const pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return out;
  std::array<char, 1 << 16> buffer{};
  for (std::size_t count = 0; (count = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
    out.text.append(buffer.data(), count);
  const int status = pclose(pipe);
  out.ok = status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (!out.ok)
    if (std::FILE* const file = std::fopen(errors.path().c_str(), "r"); file != nullptr) {
      out.text.append(buffer.data(), std::fread(buffer.data(), 1, buffer.size(), file));
      static_cast<void>(std::fclose(file));
    }
  return out;
}

std::string version_of(const std::string& program) {
  const std::string text = run_tool(program, {"--version"}).text;
  std::size_t at = text.find("version");
  for (const char* const word : {"LLVM version", "Build cuda", "release"})
    if (const std::size_t found = text.find(word); found != std::string::npos) {
      at = found;
      break;
    }
  if (at == std::string::npos) return {};
  return text.substr(at, text.find('\n', at) - at);
}

temporary_file::temporary_file(std::string_view contents) {
  std::string path = (std::filesystem::temp_directory_path() / "tilefit-bench-XXXXXX").string();
  const int handle = mkstemp(path.data());
  if (handle < 0) throw std::runtime_error("no temporary file can be made in " + path);
  path_ = path;
  std::FILE* const file = fdopen(handle, "w");
  const bool written = file != nullptr && std::fwrite(contents.data(), 1, contents.size(), file) == contents.size();
  if (file == nullptr || std::fclose(file) != 0 || !written) throw std::runtime_error(path + " cannot be written");
}

temporary_file::~temporary_file() {
  std::error_code error;
  std::filesystem::remove(path_, error);
}

}  // namespace tilefit::inline v0::bench
