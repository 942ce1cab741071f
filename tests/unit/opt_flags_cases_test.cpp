// triton_ogs_policy against what the unmodified upstream chooser answered, row by row; and the reader of such files.
#include <algorithm>
#include <array>
#include <cstdint>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <tilefit/tilefit.hpp>

#include "catch.hpp"
#include "opt_flags_cases.hpp"

using namespace tilefit;
using namespace std::literals;

namespace {

std::string read_golden(const char* name) {
  std::ifstream file(std::string(TILEFIT_GOLDEN_DIR "/") + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<std::string> split(std::string_view text, char mark) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == mark)
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

/// Upstream's cell of every answer column, status left out.
std::vector<std::string> upstream_answer(const bench::opt_flags_cases& file, const bench::opt_flags_case& row) {
  std::vector<std::string> cells;
  for (const std::string& column : split(bench::answer_columns, ','))
    if (column != "tf_status") cells.emplace_back(file.cell(row, std::string_view(column).substr(3)));
  return cells;
}

/// Every power of two that Triton can compile, whatever its own heuristic prefers.
template <class Visitor>
void for_each_tile(Visitor visit) {
  for (const int block_m : {16, 32, 64, 128, 256})
    for (const int block_n : {8, 16, 32, 64, 128, 256, 512})
      for (const int block_k : {32, 64, 128, 256})
        for (const int subtile : {1, 2, 4})
          for (const bool is_persistent : {false, true})
            visit(opt_flags{.block_m = block_m,
                            .block_n = block_n,
                            .block_k = block_k,
                            .num_stages = 1,
                            .is_persistent = is_persistent,
                            .epilogue_subtile = subtile});
}

/// True when some tile honours the constraints that `dropped` lists and fits: then dropping them was wrong.
bool could_be_honoured(const bench::opt_flags_case& row) {
  bool found = false;
  const bool amd = row.arch.vendor == vendor_id::amd;
  const auto agrees = [](const auto& wanted, auto value) { return !wanted || *wanted == value; };
  for_each_tile([&](opt_flags flags) {
    const opt_flags_constraints& wanted = row.constraints;
    const bool persistent_is_possible =
        amd ? wanted.is_persistent.value_or(false) : row.policy.has_tma || wanted.is_persistent.value_or(false);
    if (flags.is_persistent && !persistent_is_possible) return;
    if (!agrees(wanted.block_m, flags.block_m) || !agrees(wanted.block_n, flags.block_n) ||
        !agrees(wanted.block_k, flags.block_k) || !agrees(wanted.is_persistent, flags.is_persistent) ||
        !agrees(wanted.epilogue_subtile, flags.epilogue_subtile))
      return;
    const smem_plan plan = row.policy.plan(row.arch, row.problem.formats, flags);
    const int stages = wanted.num_stages.value_or(plan.min_stages);
    found = found || (stages >= plan.min_stages && plan.bytes_with(stages) <= row.arch.smem_block_bytes);
  });
  return found;
}

std::string judge(const bench::opt_flags_cases& file, const bench::opt_flags_case& row, const selection& choice) {
  const std::string_view expect = file.cell(row, "expect");
  const std::string status(name_of(choice.status));
  const std::vector<std::string> ours = split(bench::answer_cells(row, choice), ',');
  if (ours[0] != status) return "status cell is " + ours[0];
  if (expect == "same") {
    if (choice.status != status_code::ok) return "status is " + status;
    const std::vector<std::string> theirs = upstream_answer(file, row);
    for (std::size_t i = 0; i < theirs.size(); ++i)
      if (ours[i + 1] != theirs[i]) return "cell " + std::to_string(i) + ": " + ours[i + 1] + " is not " + theirs[i];
    return {};
  }
  if (expect == "fallback") {
    if (choice.status == status_code::ok_constraint_relaxed)
      return could_be_honoured(row) ? "constraints could have been honoured" : "";
    if (choice.status != status_code::ok_fallback) return "status is " + status;
    if (!choice.relaxed.empty()) return "relaxed without saying so";
    if (choice.need_bytes() > choice.budget_bytes) return "does not fit";
    if (choice.plan.num_stages < choice.plan.min_stages) return "too few stages";
    if (!detail::broken_by(choice.flags, choice.flags.num_stages, row.constraints).empty())
      return "breaks a constraint";
    if (choice.wished_bytes <= choice.budget_bytes) return "what was wished for fits";
    const std::string_view upstream_bytes = file.cell(row, "need_bytes");
    if (file.cell(row, "upstream") == "ok" && std::to_string(choice.wished_bytes) != upstream_bytes)
      return "wished for " + std::to_string(choice.wished_bytes) + " B, upstream for " + std::string(upstream_bytes);
    return {};
  }
  if (expect != "status") return "what is expected of it is unknown";
  if (choice.ok()) return "status is " + status;
  if (choice.refused.subject.empty() || choice.refused.status != choice.status) return "no reason is given";
  if (ours.size() != 13 || std::any_of(ours.begin() + 1, ours.end(), [](const auto& cell) { return !cell.empty(); }))
    return "a failing status must leave the cells empty";
  return {};
}

constexpr auto small_header =
    "version,arch,sm_count,smem_budget,experts,topk,m,n,k,x_dtype,y_dtype,scale_layout,tma,effective_itemsize,mx_out,"
    "x_transpose,y_acc_in,constraints"sv;
constexpr auto small_row = "3.4.0,sm_120,170,101376,32,4,2080,5760,2880,bf16,bf16,strided,0,,0,0,0,"sv;

std::string file_of(std::string_view header, std::string_view row) {
  return std::string(header) + "\n" + std::string(row) + "\n";
}

/// The complaint about a file of one row whose cell `column` is `cell`.
std::string complaint(std::string_view column, std::string_view cell) {
  const std::vector<std::string> columns = split(small_header, ',');
  std::vector<std::string> cells = split(small_row, ',');
  cells[static_cast<std::size_t>(std::find(columns.begin(), columns.end(), column) - columns.begin())] = cell;
  std::string row;
  for (std::size_t i = 0; i < cells.size(); ++i) row += (i > 0 ? "," : "") + cells[i];
  const auto parsed = bench::opt_flags_cases::parse(file_of(small_header, row));
  return parsed ? "" : parsed.error();
}

/// True when every part is in the text.
bool says(std::string_view text, std::initializer_list<std::string_view> parts) {
  return std::all_of(parts.begin(), parts.end(),
                     [&](std::string_view part) { return text.find(part) != std::string_view::npos; });
}

selection choose(std::string_view header, std::string_view row) {
  const std::string text = file_of(header, row);
  const auto parsed = bench::opt_flags_cases::parse(text);
  REQUIRE(parsed);
  REQUIRE(parsed->rows().size() == 1);
  const bench::opt_flags_case& one = parsed->rows().front();
  return make_opt_flags(one.arch, one.problem, one.constraints, one.policy);
}

}  // namespace

TEST_CASE("triton_ogs_policy answers every recorded call as upstream does, or with a tile that fits") {
  const std::string text = read_golden("opt_flags_cases.csv");
  const auto file = bench::opt_flags_cases::parse(text);
  REQUIRE(file);
  std::size_t same = 0, fallback = 0, refused = 0, wrong = 0;
  for (const bench::opt_flags_case& row : file->rows()) {
    const selection choice = make_opt_flags(row.arch, row.problem, row.constraints, row.policy);
    const std::string fault = judge(*file, row, choice);
    const std::string_view expect = file->cell(row, "expect");
    ++(expect == "same" ? same : expect == "fallback" ? fallback : refused);
    if (!fault.empty() && ++wrong <= 10) FAIL_CHECK("line " << row.line << ": " << fault << "\n  " << row.text);
  }
  CHECK(wrong == 0);
  CHECK(same == 12'200);
  CHECK(fallback == 4'065);
  CHECK(refused == 2'199);
}

TEST_CASE("An answered file keeps its rows and gains the answers") {
  const std::string text = file_of(small_header, small_row);
  const auto answered = bench::answer_cases(text);
  REQUIRE(answered);
  const std::vector<std::string> lines = split(*answered, '\n');
  REQUIRE(lines.size() == 3);
  CHECK(lines[0] == std::string(small_header) + "," + std::string(bench::answer_columns));
  CHECK(lines[1].starts_with(std::string(small_row) + ",ok_fallback,"));
  CHECK(split(lines[1], ',').size() == split(lines[0], ',').size());
  CHECK(lines[2].empty());

  SECTION("a row that fails has a status and nothing else") {
    const std::string row = "2025-12,sm_120,170,101376,32,4,2080,5760,2880,bf16,bf16,blackwell,0,,0,0,0,";
    const auto failed = bench::answer_cases(file_of(small_header, row));
    REQUIRE(failed);
    CHECK(split(*failed, '\n')[1] == row + ",unsupported_feature,,,,,,,,,,,,");
  }
  SECTION("no rows: nothing to choose, no tile") {
    const auto empty = bench::answer_cases(
        file_of(small_header, "3.4.0,sm_120,170,101376,32,4,0,5760,2880,bf16,bf16,strided,0,,0,0,0,"));
    REQUIRE(empty);
    CHECK(split(*empty, '\n')[1].ends_with(",empty,,,,,,,,,,,,"));
  }
  SECTION("waves_per_eu is a number on AMD, 0 included; epilogue_subtile 0 is none") {
    const auto amd = bench::answer_cases(
        file_of(small_header, "3.4.0,gfx942,304,65536,32,4,64,5760,2880,bf16,bf16,strided,0,,0,0,0,"));
    REQUIRE(amd);
    const std::vector<std::string> cells = split(split(*amd, '\n')[1], ',');
    const std::size_t first = split(small_header, ',').size();
    CHECK(cells[first] == "ok");
    CHECK(cells[first + 10].empty());
    CHECK(cells[first + 11] == "0");
  }
  SECTION("CR LF line ends") {
    const auto windows = bench::answer_cases(std::string(small_header) + "\r\n" + std::string(small_row) + "\r\n");
    REQUIRE(windows);
    CHECK(*windows == *answered);
  }
}

TEST_CASE("Columns may come in any order, be quoted, and be joined by unknown ones") {
  const selection plain = choose(small_header, small_row);
  const auto mixed =
      choose("note,tma,scale_layout,y_dtype,x_dtype,k,n,m,topk,experts,smem_budget,sm_count,arch,version,constraints",
             "\"a \"\"quoted\"\", note\nof two "
             "lines\",0,strided,\"bf16\",bf16,2880,5760,2080,4,32,101376,170,12.0,\"3.4.0\",");
  CHECK(mixed.status == plain.status);
  CHECK(mixed.flags == plain.flags);

  const auto constrained = [](std::string_view text) {
    return choose(small_header, std::string(small_row) + std::string(text));
  };
  CHECK(constrained("block_k=128").flags.block_k == 128);
  CHECK(constrained("\"block_k=64;epilogue_subtile=1\"").flags.block_k == 64);
  CHECK(constrained("is_persistent=True;epilogue_subtile=1").flags.is_persistent);
  CHECK_FALSE(constrained("is_persistent=False").flags.is_persistent);
  CHECK(constrained("block_m=16;strict=True").flags.block_m == 16);
  CHECK(constrained("block_n=64").status == status_code::constraint_refused);
}

TEST_CASE("A bad file is answered with line, column and text") {
  const auto parse_error = [](std::string_view text) {
    const auto parsed = bench::opt_flags_cases::parse(text);
    return parsed ? std::string("no error") : parsed.error();
  };
  CHECK(says(complaint("m", "many"), {"line 2", "column m", "'many'"}));
  CHECK(says(complaint("m", "99999999999999999999999999"), {"column m"}));
  CHECK(says(complaint("m", "-1"), {"column m"}));
  CHECK(says(complaint("m", "1.5"), {"column m"}));
  CHECK(says(complaint("m", ""), {"column m"}));
  CHECK(says(complaint("n", "0x10"), {"column n"}));
  CHECK(says(complaint("experts", "4294967297"), {"column experts"}));
  CHECK(says(complaint("smem_budget", "4294967297"), {"column smem_budget"}));
  CHECK(says(complaint("sm_count", "0"), {"column sm_count"}));
  CHECK(says(complaint("arch", "sm_12x"), {"column arch", "'sm_12x'"}));
  CHECK(says(complaint("version", "3.5"), {"column version", "'3.5'"}));
  CHECK(says(complaint("x_dtype", "int8"), {"column x_dtype", "'int8'"}));
  CHECK(says(complaint("y_dtype", ""), {"column y_dtype"}));
  CHECK(says(complaint("scale_layout", "blackwel"), {"column scale_layout"}));
  CHECK(says(complaint("tma", "2"), {"column tma"}));
  CHECK(says(complaint("tma", "yes"), {"column tma"}));
  for (const auto number : {"nan", "inf", "-1", "1e300", "6x"})
    CHECK(says(complaint("effective_itemsize", number), {"column effective_itemsize"}));
  CHECK(says(complaint("constraints", "block_q=1"), {"column constraints", "'block_q=1'"}));
  for (const auto text : {"block_k", "block_k=", "=1", "block_k=x", "is_persistent=Maybe", "block_k=99999999999",
                          "block_k=64;block_k=128", "block_k=-1", "block_k=0"})
    CHECK(says(complaint("constraints", text), {"column constraints"}));

  CHECK(says(parse_error(""), {"empty"}));
  CHECK(says(parse_error("version,arch\n3.4.0,sm_120\n"), {"column sm_count"}));
  CHECK(says(parse_error(file_of(std::string(small_header) + ",m", std::string(small_row) + ",1")), {"column m"}));
  CHECK(says(parse_error(file_of(small_header, "3.4.0,sm_120")), {"line 2"}));
  CHECK(says(parse_error(file_of(small_header, std::string(small_row) + ",")), {"line 2"}));
  CHECK(says(parse_error(file_of(small_header, std::string(small_row) + "\"block_k=128")), {"quoted"}));
  CHECK(says(parse_error(std::string(small_header) + "\n" + std::string(small_row) + "\n\"\n"), {"line 3"}));

  // Whatever the bytes are, the reader answers.
  const std::string good = file_of(small_header, small_row);
  for (std::size_t at = 0; at < good.size(); ++at)
    for (const char byte : {'"', ',', '\n', '\0', '\xFF', '9'}) {
      std::string bad = good;
      bad[at] = byte;
      const auto parsed = bench::opt_flags_cases::parse(bad);
      if (parsed) (void)bench::answer_cases(bad);
    }
  for (std::size_t length = 0; length < good.size(); ++length)
    (void)bench::opt_flags_cases::parse(std::string_view(good).substr(0, length));
}

TEST_CASE("Constraints that upstream does not know are refused, by release and vendor") {
  const auto status_of = [](std::string_view version, std::string_view arch, std::string_view constraints,
                            std::string_view layout = "strided") {
    const std::string row = std::string(version) + "," + std::string(arch) + "," +
                            (arch.starts_with("sm") ? "170,101376" : "256,163840") + ",32,4,64,5760,2880,bf16,bf16," +
                            std::string(layout) + ",1,,0,0,0," + std::string(constraints);
    return choose(small_header, row).status;
  };
  using enum status_code;
  // No NVIDIA chooser of upstream takes block_n; the AMD one does, in the later release.
  CHECK(status_of("3.4.0", "sm_120", "block_n=64") == constraint_refused);
  CHECK(status_of("2025-12", "sm_120", "block_n=64") == constraint_refused);
  CHECK(status_of("3.4.0", "gfx950", "block_n=64") == constraint_refused);
  CHECK(status_of("2025-12", "gfx950", "block_n=64") == ok);
  CHECK(status_of("3.4.0", "sm_120", "num_warps=4") == constraint_refused);
  CHECK(status_of("3.4.0", "gfx950", "num_warps=4") == constraint_refused);
  CHECK(succeeded(status_of("2025-12", "sm_120", "num_warps=4")));
  CHECK(succeeded(status_of("2025-12", "gfx950", "num_warps=4")));
  CHECK(status_of("2025-12", "sm_90", "num_warps=4", "hopper8") == constraint_refused);
  CHECK(succeeded(status_of("2025-12", "sm_90", "num_warps=8", "hopper8")));
  CHECK(status_of("3.4.0", "gfx950", "num_stages=2") == constraint_refused);
  CHECK(status_of("2025-12", "gfx950", "num_stages=2") == constraint_refused);
  CHECK(status_of("2025-12", "gfx950", "idle_sms=2") == constraint_refused);
  // The later release splits K only where no operand has block scales, so never here.
  CHECK(status_of("2025-12", "sm_120", "split_k=2") == constraint_refused);
  CHECK(succeeded(status_of("2025-12", "sm_120", "split_k=1")));
  CHECK(succeeded(status_of("3.4.0", "sm_120", "split_k=2")));
  CHECK(status_of("2025-12", "sm_120", "max_allowable_mn=1000") == constraint_refused);
  CHECK(succeeded(status_of("2025-12", "sm_120", "max_allowable_mn=1000;split_k=1")));
  CHECK(succeeded(status_of("2025-12", "sm_120", "max_allowable_mn=0")));
  CHECK(status_of("3.4.0", "sm_120", "max_allowable_mn=1000;split_k=2") == constraint_refused);
}

TEST_CASE("Upstream's rules for calls outside the recorded ones") {
  constexpr triton_ogs_policy later{.release = triton_release::v2025_12};
  constexpr triton_ogs_policy release{.release = triton_release::v3_4_0};
  constexpr arch_traits h100 = arch_v<arch_id::sm_90>, gfx950 = arch_v<arch_id::gfx950>;
  const auto flags_of = [](const arch_traits& arch, const matmul_problem& problem,
                           const opt_flags_constraints& constraints, const triton_ogs_policy& policy) {
    return make_opt_flags(arch, problem, constraints, policy).wished;
  };
  // Few rows: an expert's tile is made twice as tall, so that its weights are read once; a dense matmul's is not.
  CHECK(flags_of(h100, {.m = 20, .n = 4096, .k = 4096}, {}, later).block_m == 32);
  CHECK(flags_of(h100, {.m = 160, .n = 4096, .k = 4096, .experts = 8, .topk = 2}, {}, later).block_m == 64);
  CHECK(flags_of(h100, {.m = 5, .n = 4096, .k = 4096}, {}, release).block_m == 64);
  // A batch counts in the grid that decides on persistence: 4 * 16 column tiles of 132 SMs, or 8 times that.
  triton_ogs_policy with_tma = later;
  with_tma.has_tma = true;
  matmul_problem dense{.m = 512, .n = 4096, .k = 4096};
  CHECK_FALSE(flags_of(h100, dense, {}, with_tma).is_persistent);
  dense.batch = 8;
  CHECK(flags_of(h100, dense, {}, with_tma).is_persistent);
  // Eight columns: a persistent tile has 16 at least.
  matmul_problem narrow{.m = 4096, .n = 8, .k = 4096, .formats = {.x = dtype::fp8_e4m3}};
  CHECK(flags_of(h100, narrow, {.is_persistent = false}, with_tma).block_n == 8);
  CHECK(flags_of(h100, narrow, {}, with_tma).is_persistent);
  CHECK(flags_of(h100, narrow, {}, with_tma).block_n == 16);
  CHECK(flags_of(h100, narrow, {.is_persistent = false}, release).block_n == 16);
  // FP32 output never runs persistent by itself; n <= 128 takes the columns there are.
  dense.formats.y = dtype::fp32;
  CHECK_FALSE(flags_of(h100, dense, {}, with_tma).is_persistent);
  CHECK(flags_of(h100, {.m = 64, .n = 96, .k = 4096}, {}, release).block_n == 128);
  CHECK(flags_of(gfx950, {.m = 64, .n = 64, .k = 4096}, {}, release).block_n == 64);
  // gfx950, 16-bit X, many rows: 64 x 512 by itself, but a constrained block_m wins.
  const matmul_problem prefill{.m = 8192, .n = 5760, .k = 2880, .experts = 32, .topk = 4};
  CHECK(flags_of(gfx950, prefill, {}, later).block_m == 64);
  CHECK(flags_of(gfx950, prefill, {}, later).block_n == 512);
  CHECK(flags_of(gfx950, prefill, {.block_m = 128}, later).block_m == 128);
  CHECK(flags_of(gfx950, prefill, {.block_n = 256}, later).block_n == 256);
  // One tile for every m: 128 rows, 256 on gfx950.
  CHECK(flags_of(h100, prefill, {.batch_invariant = true}, later).block_m == 128);
  CHECK(flags_of(gfx950, prefill, {.batch_invariant = true}, release).block_m == 256);
  // split_k where 3.4.0 takes it; the accumulator then counts four bytes.
  CHECK(flags_of(h100, prefill, {.split_k = 4}, release).split_k == 4);
  // SMs that the caller wants left alone stay so when the wish fits, too.
  CHECK(make_opt_flags(h100, prefill, {.idle_sms = 4}, later).flags.idle_sms == 4);
  // A size of an output element that no kernel has is refused before anything is multiplied by it.
  triton_ogs_policy odd = later;
  for (const double itemsize : {-1.0, 65.0, 1e300, std::numeric_limits<double>::quiet_NaN()}) {
    odd.effective_itemsize = itemsize;
    CHECK(make_opt_flags(h100, prefill, {}, odd).status == status_code::unsupported_feature);
  }
}

TEST_CASE("What replaces Triton's answer fits with the split it runs with, wherever a kernel may run") {
  // Small m * n and many SMs invite a split, persistent kernels count 4 bytes for it, swizzled scales leave no others.
  const arch_id archs[] = {arch_id::sm_80, arch_id::sm_90, arch_id::sm_100, arch_id::sm_120, arch_id::gfx942};
  int faults = 0, replaced = 0;
  for (const arch_id id : archs)
    for (const triton_release release : {triton_release::v3_4_0, triton_release::v2025_12})
      for (const triton_scale_layout layout : {triton_scale_layout::strided, triton_scale_layout::blackwell})
        for (const bool tma : {false, true})
          for (const dtype y : {dtype::bf16, dtype::fp32, dtype::fp8_e4m3})
            for (const int m : {1, 4, 16, 388, 2'080})
              for (const int n : {64, 512, 2'880})
                for (const std::optional<int> block_m : {std::optional<int>{}, std::optional<int>{256}}) {
                  const matmul_problem problem{
                      .m = m, .n = n, .k = 4096, .experts = 8, .topk = 4, .formats = {.x = dtype::bf16, .y = y}};
                  const triton_ogs_policy policy{.release = release, .scale_layout = layout, .has_tma = tma};
                  const arch_traits& arch = traits_of(id);
                  const selection choice = make_opt_flags(arch, problem, {.block_m = block_m}, policy);
                  if (choice.status == status_code::unsupported_feature && !tma) continue;  // the layout needs TMA
                  replaced += choice.status == status_code::ok_fallback ? 1 : 0;
                  const bool may_split = release == triton_release::v3_4_0 && !choice.flags.is_persistent;
                  if (!choice.ok() || choice.need_bytes() > arch.smem_block_bytes ||
                      (choice.flags.split_k > 1 && !may_split))
                    ++faults;
                }
  CHECK(faults == 0);
  CHECK(replaced > 50);
}

TEST_CASE("A block has no more threads than the chip allows") {
  const matmul_problem problem{.m = 4096, .n = 5760, .k = 2880, .experts = 32, .topk = 4};
  const selection warps = make_opt_flags(traits_of(arch_id::gfx942), problem, {.num_warps = 32}, triton_ogs_policy{});
  CHECK(warps.status == status_code::invalid_constraint);
  CHECK(warps.refused.limit == 16);
  // 4,096 rows are 256 warps by upstream's rule.
  const selection rows = make_opt_flags(traits_of(arch_id::sm_90), problem, {.block_m = 4096}, triton_ogs_policy{});
  CHECK(rows.status == status_code::ok_constraint_relaxed);
  CHECK(rows.flags.num_warps <= 32);
}
