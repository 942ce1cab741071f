// tilefit-bench report: tables and pictures of a text that come from files of results, written again or checked.
//
// In the text, what stands between these lines is the report's; names of files are relative to the text's folder:
//   <!-- report matmul=FILE generic=FILE plot=FILE -->
//   <!-- end of report -->
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "commands.hpp"
#include "sweep_results.hpp"

namespace tilefit::inline v0::bench {
namespace {

struct report_options {
  std::string text = "README.md";
  bool check = false;
};

std::optional<std::string> read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  return std::string{std::istreambuf_iterator<char>(file), {}};
}

std::string grouped_number(std::int64_t value) {
  std::string text = fmt::format("{}", value);
  for (std::ptrdiff_t at = static_cast<std::ptrdiff_t>(text.size()) - 3; at > 0; at -= 3)
    text.insert(static_cast<std::size_t>(at), 1, ',');
  return text;
}

const sweep_row* find_row(const sweep_file& file, const std::string& model, std::int64_t tokens) {
  for (const sweep_row& row : file.rows)
    if (row.model == model && row.tokens == tokens) return &row;
  return nullptr;
}

/// The table of the two GPT-OSS models, and what its floor is.
std::string table_of(const sweep_file& matmul, const sweep_file& generic) {
  constexpr std::int64_t counts[] = {1, 4, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192};
  constexpr const char* names[] = {"gpt-oss-20b", "gpt-oss-120b"};
  std::string out = fmt::format(
      "Floor: bytes at the read bandwidth ({} GB/s) or flops at the BF16 GEMM rate ({:.0f} TFLOP/s) of the same run, "
      "{}.\n\n"
      "| tokens | 20b µs | over the floor | of Triton’s time | generic µs | 120b µs | over the floor | of Triton’s "
      "time | "
      "generic µs |\n|---|---|---|---|---|---|---|---|---|\n",
      grouped_number(std::lround(matmul.rates.read_gbps)), matmul.rates.gemm_tflops, matmul.date);
  for (const std::int64_t tokens : counts) {
    std::string line = fmt::format("| {} |", grouped_number(tokens));
    for (const char* name : names) {
      const sweep_row* const own = find_row(matmul, name, tokens);
      const sweep_row* const other = find_row(generic, name, tokens);
      if (own == nullptr)
        line += " | | |";
      else
        line += fmt::format(" {:.1f} | {:.2f}x | {} |", own->sum_us, own->sum_us / own->floor_us,
                            own->anchor_us > 0 ? fmt::format("{:.2f}x", own->sum_us / own->anchor_us) : "");
      line += other == nullptr ? " |" : fmt::format(" {:.1f} |", other->sum_us);
    }
    out += line + "\n";
  }
  return out;
}

/// Key and value of the words behind "report" in a marker.
std::map<std::string, std::string> words_of(const std::string& marker) {
  std::map<std::string, std::string> words;
  std::istringstream in(marker);
  for (std::string word; in >> word;)
    if (const std::size_t equals = word.find('='); equals != std::string::npos)
      words[word.substr(0, equals)] = word.substr(equals + 1);
  return words;
}

/// Writes a file that is out of date, or says that it is. True when it was as it should be.
bool settle(const std::filesystem::path& path, const std::string& wanted, bool check, int& exit_code) {
  if (read_text(path) == wanted) return true;
  if (check) {
    fmt::print(stderr, "tilefit-bench: {} is out of date: run tilefit-bench report\n", path.string());
    exit_code = exit_failed;
    return false;
  }
  std::ofstream file(path, std::ios::binary);
  file << wanted;
  file.flush();
  if (!file) exit_code = bad_input(fmt::format("{}: it cannot be written", path.string()));
  return false;
}

int run_report(const report_options& options) {
  constexpr std::string_view begin = "<!-- report ", end = "<!-- end of report -->";
  const std::filesystem::path path = options.text;
  const std::optional<std::string> text = read_text(path);
  if (!text) return bad_input(fmt::format("{}: it cannot be read", options.text));
  std::string wanted;
  int exit_code = exit_ok, reports = 0;
  std::size_t at = 0;
  for (std::size_t start = text->find(begin); start != std::string::npos; start = text->find(begin, at)) {
    const std::size_t line_end = text->find('\n', start), stop = text->find(end, start);
    if (line_end == std::string::npos || stop == std::string::npos)
      return bad_input(fmt::format("{}: a report has no end", options.text));
    const std::map<std::string, std::string> words = words_of(text->substr(start, line_end - start));
    const auto sweep_called = [&](const char* word) -> std::optional<sweep_file> {
      const auto name = words.find(word);
      if (name == words.end()) {
        exit_code = bad_input(fmt::format("{}: a report lacks {}=FILE", options.text, word));
        return std::nullopt;
      }
      const result<sweep_file> file = read_sweep_file((path.parent_path() / name->second).string());
      if (file) return *file;
      exit_code = bad_input(fmt::format("{}: {}", name->second, file.error()));
      return std::nullopt;
    };
    const std::optional<sweep_file> matmul = sweep_called("matmul");
    if (!matmul) return exit_code;
    const std::optional<sweep_file> generic = sweep_called("generic");
    if (!generic) return exit_code;
    wanted += text->substr(at, line_end + 1 - at) + table_of(*matmul, *generic);
    if (const auto plot = words.find("plot"); plot != words.end()) {
      wanted += fmt::format("\n![Roofline, and time over the floor]({})\n", plot->second);
      settle(path.parent_path() / plot->second, draw_sweep(*matmul), options.check, exit_code);
    }
    at = stop;
    ++reports;
  }
  if (reports == 0) return bad_input(fmt::format("{}: there is no report in it", options.text));
  wanted += text->substr(at);
  const bool as_it_was = settle(path, wanted, options.check, exit_code);
  if (exit_code == exit_ok) fmt::print("{}: {}\n", options.text, as_it_was ? "up to date" : "written again");
  return exit_code;
}

}  // namespace

void add_report(CLI::App& app, int& exit_code) {
  const auto options = std::make_shared<report_options>();
  CLI::App* report =
      app.add_subcommand("report", "Write the tables and pictures of a text again from its files of results");
  report->add_option("text", options->text, "Markdown with <!-- report ... --> lines")->capture_default_str();
  report->add_flag("--check", options->check, "write nothing: exit code 1 when something is out of date");
  report->callback([options, &exit_code] { exit_code = run_report(*options); });
}

}  // namespace tilefit::inline v0::bench
