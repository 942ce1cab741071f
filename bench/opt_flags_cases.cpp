#include "opt_flags_cases.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <optional>
#include <utility>

namespace tilefit::inline v0::bench {
namespace {

/// One record of a CSV file (RFC 4180: quoted cells may hold commas, doubled quotes and line ends).
struct record {
  std::string_view text;  ///< without the line end
  std::vector<std::string> cells;
  std::size_t line = 0;
};

class csv_reader {
 public:
  explicit csv_reader(std::string_view text) : rest_(text) {}

  /// The next record; nothing at the end. An unfinished quote makes `broken` true.
  std::optional<record> next() {
    if (rest_.empty()) return std::nullopt;
    record out{.text = {}, .cells = {}, .line = line_};
    std::string cell;
    bool quoted = false;
    std::size_t at = 0;
    for (; at < rest_.size(); ++at) {
      const char c = rest_[at];
      if (c == '\n') ++line_;
      if (quoted) {
        if (c != '"') {
          cell += c;
        } else if (at + 1 < rest_.size() && rest_[at + 1] == '"') {
          cell += rest_[++at];
        } else {
          quoted = false;
        }
      } else if (c == '"' && cell.empty()) {
        quoted = true;
      } else if (c == ',') {
        out.cells.push_back(std::exchange(cell, {}));
      } else if (c == '\n') {
        break;
      } else {
        cell += c;
      }
    }
    broken = quoted;
    out.text = rest_.substr(0, at);
    rest_.remove_prefix(std::min(at + 1, rest_.size()));
    if (!out.text.empty() && out.text.back() == '\r') {
      out.text.remove_suffix(1);
      if (!cell.empty() && cell.back() == '\r') cell.pop_back();
    }
    out.cells.push_back(std::move(cell));
    return out;
  }

  bool broken = false;

 private:
  std::string_view rest_;
  std::size_t line_ = 1;
};

/// Reads the cells of one record; keeps the first complaint.
class cell_reader {
 public:
  cell_reader(const std::vector<std::string>& columns, const record& row) : columns_(columns), row_(row) {}

  std::string_view text(std::string_view column) const {
    const auto found = std::find(columns_.begin(), columns_.end(), column);
    return found == columns_.end() ? std::string_view{}
                                   : row_.cells[static_cast<std::size_t>(found - columns_.begin())];
  }
  /// A whole number in [least, most]; an empty cell is `otherwise`, or wrong where there is none.
  std::int64_t integer(std::string_view column, std::int64_t least, std::int64_t most,
                       std::optional<std::int64_t> otherwise = std::nullopt) {
    const std::string_view cell = text(column);
    if (cell.empty() && otherwise) return *otherwise;
    std::int64_t value = 0;
    const auto [end, failure] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
    if (failure == std::errc{} && end == cell.data() + cell.size() && value >= least && value <= most) return value;
    complain(column, fmt::format("a whole number from {} to {}", least, most));
    return least;
  }
  double number(std::string_view column) {
    const std::string_view cell = text(column);
    if (cell.empty()) return 0.0;
    double value = 0.0;
    const auto [end, failure] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
    if (failure == std::errc{} && end == cell.data() + cell.size() && value >= 0.0 && value <= 64.0) return value;
    complain(column, "a number from 0 to 64");
    return 0.0;
  }
  void complain(std::string_view column, std::string_view expected) {
    if (error.empty())
      error = fmt::format("line {}, column {}: expected {}, not '{}'", row_.line, column, expected, text(column));
  }

  std::string error;

 private:
  const std::vector<std::string>& columns_;
  const record& row_;
};

/// "key=value;key=value" with upstream's True and False, as the engine's own constraint text.
opt_flags_constraints constraints_in(cell_reader& cells, arch_id arch) {
  std::string text(cells.text("constraints"));
  std::replace(text.begin(), text.end(), ';', ',');
  for (const auto& [theirs, ours] : {std::pair{"=True", "=true"}, std::pair{"=False", "=false"}})
    for (std::size_t at = text.find(theirs); at != std::string::npos; at = text.find(theirs))
      text.replace(at, std::string_view(theirs).size(), ours);
  const parsed_constraints parsed = parse_constraints(text);
  if (parsed.status != status_code::ok)
    cells.complain("constraints",
                   fmt::format("{} at character {}", phrase_of(parsed.error.expected), parsed.error.column));
  return parsed.for_arch(arch);
}

triton_ogs_policy read_policy(cell_reader& cells) {
  triton_ogs_policy policy;
  const std::string_view version = cells.text("version");
  if (version == "3.4.0")
    policy.release = triton_release::v3_4_0;
  else if (version != "2025-12")
    cells.complain("version", "3.4.0 or 2025-12");
  constexpr std::pair<std::string_view, triton_scale_layout> layouts[] = {
      {"strided", triton_scale_layout::strided}, {"hopper4", triton_scale_layout::hopper4},
      {"hopper8", triton_scale_layout::hopper8}, {"blackwell", triton_scale_layout::blackwell},
      {"cdna4", triton_scale_layout::cdna4},
  };
  const auto layout = std::find_if(std::begin(layouts), std::end(layouts),
                                   [&](const auto& entry) { return entry.first == cells.text("scale_layout"); });
  if (layout != std::end(layouts))
    policy.scale_layout = layout->second;
  else
    cells.complain("scale_layout", "strided, hopper4, hopper8, blackwell or cdna4");
  policy.has_tma = cells.integer("tma", 0, 1) != 0;
  policy.effective_itemsize = cells.number("effective_itemsize");
  policy.mx_output = cells.integer("mx_out", 0, 1, 0) != 0;
  return policy;
}

dtype read_dtype(cell_reader& cells, std::string_view column) {
  if (const std::optional<dtype> type = find_dtype(cells.text(column))) return *type;
  cells.complain(column, "fp32, bf16, fp16, e4m3, mxfp8 or mxfp4");
  return dtype::bf16;
}

opt_flags_case read_case(cell_reader& cells) {
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
  opt_flags_case out{
      .arch = {}, .problem = {}, .constraints = {}, .policy = read_policy(cells), .text = {}, .cells = {}};
  const auto sm_count = static_cast<int>(cells.integer("sm_count", 1, 65'536));
  const std::int64_t budget = cells.integer("smem_budget", 1, most);
  if (const std::optional<arch_id> id = find_arch(cells.text("arch")))
    out.arch = merge(traits_of(*id), {.sm_count = sm_count, .smem_optin = budget}).traits;
  else
    cells.complain("arch", "an architecture such as sm_120 or gfx950");
  out.problem.m = cells.integer("m", 0, most);
  out.problem.n = cells.integer("n", 0, most);
  out.problem.k = cells.integer("k", 0, most);
  out.problem.experts = static_cast<int>(cells.integer("experts", 0, most));
  out.problem.topk = static_cast<int>(cells.integer("topk", 0, most));
  out.problem.formats.x = read_dtype(cells, "x_dtype");
  out.problem.formats.y = read_dtype(cells, "y_dtype");
  out.problem.formats.x_transposed = cells.integer("x_transpose", 0, 1, 0) != 0;
  out.problem.formats.accumulate = cells.integer("y_acc_in", 0, 1, 0) != 0;
  out.constraints = constraints_in(cells, out.arch.id);
  return out;
}

}  // namespace

std::string_view opt_flags_cases::cell(const opt_flags_case& row, std::string_view column) const noexcept {
  const auto found = std::find(columns_.begin(), columns_.end(), column);
  return found == columns_.end() ? std::string_view{} : row.cells[static_cast<std::size_t>(found - columns_.begin())];
}

result<opt_flags_cases> opt_flags_cases::parse(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  csv_reader reader(text);
  opt_flags_cases cases;
  std::optional<record> header = reader.next();
  if (!header) return file_error{"the file is empty"};
  cases.header_ = header->text;
  cases.columns_ = std::move(header->cells);
  for (const std::string_view needed : {"version", "arch", "sm_count", "smem_budget", "experts", "topk", "m", "n", "k",
                                        "x_dtype", "y_dtype", "scale_layout", "tma"})
    if (std::count(cases.columns_.begin(), cases.columns_.end(), needed) != 1)
      return file_error{fmt::format("line 1: column {} must be there once", needed)};
  while (std::optional<record> row = reader.next()) {
    if (reader.broken) return file_error{fmt::format("line {}: a quoted cell has no end", row->line)};
    if (row->text.empty()) continue;
    if (row->cells.size() != cases.columns_.size())
      return file_error{
          fmt::format("line {}: {} cells in {} columns", row->line, row->cells.size(), cases.columns_.size())};
    cell_reader cells(cases.columns_, *row);
    opt_flags_case one = read_case(cells);
    if (!cells.error.empty()) return file_error{cells.error};
    one.line = row->line;
    one.text = row->text;
    one.cells = std::move(row->cells);
    cases.rows_.push_back(std::move(one));
  }
  return cases;
}

std::string answer_cells(const opt_flags_case& row, const selection& choice) {
  if (!choice.ok() || !choice.has_tile()) return fmt::format("{},,,,,,,,,,,,", name_of(choice.status));
  const opt_flags& flags = choice.flags;
  const auto where = [](bool present, int value) { return present ? fmt::format("{}", value) : std::string(); };
  return fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{}", name_of(choice.status), flags.block_m, flags.block_n,
                     flags.block_k, flags.num_warps, flags.num_stages, flags.group_m, flags.xcd_swizzle, flags.split_k,
                     flags.is_persistent ? 1 : 0, where(flags.epilogue_subtile > 0, flags.epilogue_subtile),
                     where(row.arch.vendor == vendor_id::amd, flags.waves_per_eu), choice.need_bytes());
}

result<std::string> answer_cases(std::string_view text) {
  result<opt_flags_cases> cases = opt_flags_cases::parse(text);
  if (!cases) return file_error{cases.error()};
  std::string out = fmt::format("{},{}\n", cases->header(), answer_columns);
  for (const opt_flags_case& row : cases->rows()) {
    const selection choice = make_opt_flags(row.arch, row.problem, row.constraints, row.policy);
    fmt::format_to(std::back_inserter(out), "{},{}\n", row.text, answer_cells(row, choice));
  }
  return out;
}

}  // namespace tilefit::inline v0::bench
