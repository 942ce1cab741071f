// tilefit-bench static: what can be said of compiled kernels without running them. Everything printed comes from the
// code object's disassembly and metadata, a scheduling model (llvm-mca), and the rates in arch_table.hpp.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include <tilefit/explain.hpp>

#include "commands.hpp"
#include "disassembly.hpp"
#include "static_kernels.hpp"
#include "tool.hpp"

namespace tilefit::inline v0::bench {
namespace {

struct static_options {
  std::string arch = "gfx950";
  std::string code_object;
  std::string objdump, readelf, mca, cuobjdump;
  std::string show;
  bool check = false;
  bool json = false;
};

/// Latency that bytes under way have to cover: an assumption, of the kernels' design too.
constexpr double latency_us = 2.0;
constexpr int clocks_of_slot = 4;  // a SIMD of 16 lanes takes 4 clocks for a wave of 64; llvm-mca counts in these

/// Least shares of the matrix peak that many-row tiles are held to, by bits of X.
constexpr double least_share(int x_bits) { return x_bits == 16 ? 0.5 : 0.6; }

int unavailable(std::string_view sentence) {
  static_cast<void>(bad_input(sentence));
  return exit_unavailable;
}

bool is_amd(const arch_traits& arch) { return arch.vendor == vendor_id::amd; }

std::string file_name_of(const arch_traits& arch) {
  return is_amd(arch) ? fmt::format("catalogue_{}.hsaco", arch.name)
                      : fmt::format("catalogue_{}.cubin", arch.compute_capability);
}

/// What a code object tells of a kernel beside its instructions.
struct kernel_facts {
  int vgprs = 0, agprs = 0, sgprs = 0, lds_bytes = 0;
};

int number_after(std::string_view text, std::string_view key) {
  const std::size_t at = text.find(key);
  return at == std::string_view::npos ? 0 : std::atoi(std::string(text.substr(at + key.size(), 16)).c_str());
}

/// Of `llvm-readelf --notes`: a kernel's keys begin with .agpr_count and end before the next one.
std::map<std::string, kernel_facts> facts_of_notes(std::string_view notes) {
  std::map<std::string, kernel_facts> all;
  constexpr std::string_view first = ".agpr_count:", name = "    .name: ";
  for (std::size_t at = notes.find(first); at != std::string_view::npos;) {
    const std::size_t next = notes.find(first, at + 1);
    const std::string_view block = notes.substr(at, next - at);
    at = next;
    std::size_t begin = block.rfind(name);
    if (begin == std::string_view::npos) continue;
    begin = block.find_first_not_of(' ', begin + name.size());
    all[std::string(block.substr(begin, block.find('\n', begin) - begin))] = {
        .vgprs = number_after(block, ".vgpr_count:"),
        .agprs = number_after(block, ".agpr_count:"),
        .sgprs = number_after(block, ".sgpr_count:"),
        .lds_bytes = number_after(block, ".group_segment_fixed_size:")};
  }
  return all;
}

/// Of `cuobjdump -res-usage`: "Function NAME:", and a line with REG:n behind it.
std::map<std::string, kernel_facts> facts_of_usage(std::string_view usage) {
  std::map<std::string, kernel_facts> all;
  constexpr std::string_view function = " Function ";
  for (std::size_t at = usage.find(function); at != std::string_view::npos;) {
    const std::size_t next = usage.find(function, at + 1);
    const std::string_view block = usage.substr(at + function.size(), next - at - function.size());
    at = next;
    all[std::string(block.substr(0, block.find(':')))] = {.vgprs = number_after(block, "REG:")};
  }
  return all;
}

/// One instruction of a loop as llvm-mca is given it, or "". The model of LLVM 22 has 8 (4) passes for v_mfma_scale
/// with FP8 operands where the rate in arch_table.hpp makes it 16 (8): an instruction with so many, the same sums and
/// registers of both operands takes its place.
std::string line_for_mca(const instruction& op) {
  if (op.kind == op_class::branch || op.mnemonic() == "s_barrier") return {};
  const matrix_shape shape = shape_of(op);
  if (op.kind != op_class::scaled_matrix || shape.bits != 8) return op.text + '\n';
  int numbers[8] = {};
  const std::string operands = op.text.substr(op.text.find(' ') + 1);
  if (std::sscanf(operands.c_str(), "v[%d:%d], v[%d:%d], v[%d:%d], v[%d:%d]", &numbers[0], &numbers[1], &numbers[2],
                  &numbers[3], &numbers[4], &numbers[5], &numbers[6], &numbers[7]) != 8)
    return op.text + '\n';
  return fmt::format("v_mfma_f32_{} v[{}:{}], v{}, v{}, v[{}:{}]\n", shape.m == 32 ? "32x32x2_f32" : "16x16x4_f32",
                     numbers[0], numbers[1], numbers[2], numbers[5], numbers[6], numbers[7]);
}

/// Clocks of one round of a loop of one wave alone by llvm-mca; 0 when it fails.
double mca_clocks(const std::string& mca, std::string_view arch, const kernel_text& kernel,
                  const std::vector<std::size_t>& loop) {
  constexpr int rounds = 20;
  std::string text;
  for (const std::size_t i : loop) text += line_for_mca(kernel.instructions[i]);
  const temporary_file file(text);
  const tool_output out =
      run_tool(mca, {"-mtriple=amdgcn-amd-amdhsa", fmt::format("-mcpu={}", arch), fmt::format("-iterations={}", rounds),
                     "-instruction-info=0", "-resource-pressure=0", file.path()});
  return out.ok ? static_cast<double>(number_after(out.text, "Total Cycles:")) * clocks_of_slot / rounds : 0.0;
}

/// Flops that a SIMD's (an SM's quarter's) matrix unit does in a clock, from the board's rate.
double flops_of_clock(const arch_traits& arch, int bits) {
  const int gflops = bits == 4 ? arch.fp4_gflops : bits == 8 ? arch.fp8_gflops : arch.bf16_gflops;
  return 1e3 * gflops / (4.0 * arch.sm_count * arch.clock_mhz);
}

/// The generic kernels have a path for scales that cannot be folded beside the other one: no more than a step's
/// mma.sync m16n8k16 are counted. The others are counted as they are.
std::vector<std::size_t> main_loop_of(const planned_kernel& planned, const kernel_text& kernel) {
  const opt_flags& f = planned.flags;
  if (planned.arch >= arch_id::gfx90a) return main_loop(kernel);
  return main_loop(kernel, f.block_m * f.block_n * f.block_k / f.num_warps / (16 * 8 * 16));
}

nlohmann::json report_of(const arch_traits& arch, const planned_kernel& planned, const kernel_text& kernel,
                         const kernel_facts& facts, const std::string& mca) {
  const std::vector<std::size_t> loop = main_loop_of(planned, kernel);
  const op_counts counts = count_ops(kernel, loop);
  double flops = 0, matrix_clocks = 0;
  for (const std::size_t i : loop) {
    const matrix_shape shape = shape_of(kernel.instructions[i]);
    flops += shape.flops();
    if (shape.m > 0) matrix_clocks += shape.flops() / flops_of_clock(arch, shape.bits);
  }
  nlohmann::json classes;
  for (std::size_t c = 0; c < op_class_count; ++c)
    classes[std::string(name_of(static_cast<op_class>(c)))] = counts.of[c];
  const int waves = planned.flags.num_warps, threads = waves * arch.wave_size;
  // Registers of a lane: 512 on CDNA3 and CDNA4 for a wave alone, in steps of 8; 65,536 of an SM in steps of 8 a
  // thread.
  const int allocated = static_cast<int>(detail::align_up(std::max(facts.vgprs, 1), 8));
  const int by_smem = blocks_per_sm(arch, planned.smem_bytes, threads);
  const int resident = is_amd(arch) ? std::min({8, 512 / allocated, by_smem * waves / 4})
                                    : std::min(by_smem, arch.regs_per_sm / (allocated * threads)) * waves / 4;
  nlohmann::json out = {{"x", name_of(planned.x)},
                        {"tile", planned.tile_text()},
                        {"few_rows", planned.few_rows},
                        {"kernel", kernel.name},
                        {"loop", classes},
                        {"loop_instructions", counts.total},
                        {"lds_bytes_per_matrix_instruction",
                         static_cast<double>(counts.lds_lane_bytes * arch.wave_size) / std::max(counts.matrices(), 1)},
                        {"vgprs", facts.vgprs},
                        {"agprs", facts.agprs},
                        {"sgprs", facts.sgprs},
                        {"lds_bytes", planned.smem_bytes},
                        {"waves_per_simd", resident},
                        {"matrix_clocks", matrix_clocks}};
  const int clocks_of_other = is_amd(arch) ? clocks_of_slot : 1;
  const double others = static_cast<double>((counts.total - counts.matrices()) * clocks_of_other);
  out["share_nothing_overlaps"] = matrix_clocks / std::max(matrix_clocks + others, 1.0);
  if (!is_amd(arch)) {
    out["share"] = matrix_clocks / std::max({matrix_clocks, static_cast<double>(counts.total), 1.0});
    return out;
  }
  const double clocks = mca_clocks(mca, arch.name, kernel, loop);
  out["mca_clocks"] = clocks;
  out["share"] = clocks > 0 ? matrix_clocks / clocks : 0.0;
  if (!planned.few_rows) return out;
  // Little's law, and what the SIMDs can ask for when nothing overlaps.
  const double pieces = flops / (2.0 * planned.flags.block_m * planned.flags.block_n * 128);
  const double asked_gbps = 4 * pieces * planned.w_bytes_of_128_k / std::max(matrix_clocks + others, 1.0) *
                            arch.sm_count * arch.clock_mhz * 1e-3;
  const double needed = latency_us * arch.dram_gbps * 1e3 / arch.sm_count;
  out["bytes_in_flight"] = planned.bytes_in_flight;
  out["bytes_in_flight_needed"] = needed;
  out["asked_gbps"] = asked_gbps;
  out["memory_share"] = std::min({1.0, planned.bytes_in_flight / needed, asked_gbps / arch.dram_gbps});
  return out;
}

std::vector<std::string> basis_of(const arch_traits& arch) {
  std::vector<std::string> lines = {
      "Predicted from compiled code. It was not run on the card, and nothing here is a measurement.",
      fmt::format(
          "Matrix rate: {:.0f} flops of 16-bit operands a clock and SIMD, from {:.1f} TFLOP/s at {} MHz and {} {} "
          "(the board's data sheet, arch_table.hpp).",
          flops_of_clock(arch, 16), arch.bf16_gflops * 1e-3, arch.clock_mhz, arch.sm_count,
          is_amd(arch) ? "CUs" : "SMs")};
  if (!is_amd(arch)) {
    lines.emplace_back(
        "Share: matrix clocks over the larger of them and all issue slots of the loop, one a clock and scheduler: an "
        "upper bound. In parentheses: over their sum. Memory, latency and bank conflicts are not in it.");
    lines.emplace_back(
        "The loop for all rows of a tile; the way around it with folded scales. A step multiplies block_k.");
    return lines;
  }
  lines.emplace_back(
      "Share: matrix clocks over the clocks that llvm-mca gives a round of the loop of one wave alone, without "
      "barriers; "
      "waits are the model's own, for loads that hit. In parentheses: were nothing overlapped, 4 clocks for any other "
      "instruction.");
  if (arch.features.has(feature::mfma_scale))
    lines.emplace_back(
        "v_mfma_scale with FP8 X counts 16 passes (32 x 32) or 8 (16 x 16), as the FP8 rate of the data sheet has it; "
        "LLVM's model has half of that.");
  lines.push_back(
      fmt::format("Few rows: bytes of packed W that the blocks of a CU have asked for, against {:.0f} B = {:.0f} us x "
                  "{} GB/s / {} CUs "
                  "(the latency is assumed); memory: the least of that ratio, of what the SIMDs can ask for, and of 1.",
                  latency_us * arch.dram_gbps * 1e3 / arch.sm_count, latency_us, arch.dram_gbps, arch.sm_count));
  return lines;
}

/// A sentence in lines of at most 118 characters.
void print_wrapped(std::string_view text) {
  constexpr std::size_t most = 118;
  while (text.size() > most && text.rfind(' ', most) != std::string_view::npos) {
    const std::size_t end = text.rfind(' ', most);
    fmt::print("{}\n", text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  fmt::print("{}\n", text);
}

void print_report(const nlohmann::json& report) {
  const bool amd = report.at("tools").contains("mca");
  fmt::print("{}: {} kernels of {}, {}\n", report.at("arch").get<std::string>(), report.at("entries").size(),
             report.at("code_object").get<std::string>(), report.at("date").get<std::string>());
  for (const auto& [name, version] : report.at("tools").items())
    fmt::print("{}: {}\n", name, version.get<std::string>());
  for (const nlohmann::json& line : report.at("basis")) print_wrapped(line.get<std::string>());
  fmt::print(
      "\nInstructions of one round of the main loop, of a wave\n{:<6} {:<16}{:>5} {:>6} {:>6} {:>5} {:>6} {:>9} {:>9} "
      "{:>7} {:>5} {:>6} {:>5} {:>6} {:>9}\n",
      "X", "tile", "all", amd ? "mfma" : "mma", "scaled", "cvt", "vector", "LDS read", "LDS write", "direct", "load",
      "scalar", "wait", "branch", "LDS B/mma");
  const auto whole = [](const nlohmann::json& entry, const char* key) { return entry.at(key).get<int>(); };
  for (const nlohmann::json& e : report.at("entries")) {
    const nlohmann::json& l = e.at("loop");
    fmt::print("{:<6} {:<16}{:>5} {:>6} {:>6} {:>5} {:>6} {:>9} {:>9} {:>7} {:>5} {:>6} {:>5} {:>6} {:>9.0f}\n",
               e.at("x").get<std::string>(), e.at("tile").get<std::string>(), whole(e, "loop_instructions"),
               whole(l, "matrix"), whole(l, "scaled_matrix"), whole(l, "convert"), whole(l, "vector"),
               whole(l, "lds_read"), whole(l, "lds_write"), whole(l, "lds_direct"), whole(l, "global_load"),
               whole(l, "scalar"), whole(l, "wait"), whole(l, "branch"),
               e.at("lds_bytes_per_matrix_instruction").get<double>());
  }
  fmt::print("\n{:<6} {:<16}{:>5} {:>5} {:>5} {:>8} {:>11} {:>13} {:>10} {:>13}   {}\n", "X", "tile", "VGPRs", "AGPRs",
             "SGPRs", amd ? "LDS B" : "shared B", amd ? "waves/SIMD" : "warps/sched", "matrix clocks",
             amd ? "mca clocks" : "slots", "share of peak", amd ? "bytes under way, memory" : "");
  for (const nlohmann::json& e : report.at("entries")) {
    std::string memory;
    if (e.contains("bytes_in_flight"))
      memory = fmt::format("{} of {:.0f}, {:.0f} %", detail::grouped(e.at("bytes_in_flight").get<std::int64_t>()),
                           e.at("bytes_in_flight_needed").get<double>(), 100 * e.at("memory_share").get<double>());
    const std::string line = fmt::format(
        "{:<6} {:<16}{:>5} {:>5} {:>5} {:>8} {:>11} {:>13.0f} {:>10.0f} {:>13}   {}", e.at("x").get<std::string>(),
        e.at("tile").get<std::string>(), whole(e, "vgprs"), whole(e, "agprs"), whole(e, "sgprs"),
        detail::grouped(whole(e, "lds_bytes")), whole(e, "waves_per_simd"), e.at("matrix_clocks").get<double>(),
        amd ? e.at("mca_clocks").get<double>() : e.at("loop_instructions").get<double>(),
        fmt::format("{:.0f} % ({:.0f} %)", 100 * e.at("share").get<double>(),
                    100 * e.at("share_nothing_overlaps").get<double>()),
        memory);
    fmt::print("{}\n", line.substr(0, line.find_last_not_of(' ') + 1));
  }
}

/// What the entries miss of their targets, a line each.
std::vector<std::string> misses_of(const nlohmann::json& report) {
  std::vector<std::string> misses;
  for (const nlohmann::json& e : report.at("entries")) {
    const std::string x = e.at("x").get<std::string>(), what = x + ", " + e.at("tile").get<std::string>();
    const double share = e.at("share").get<double>(), least = least_share(bits_of(*find_dtype(x)));
    if (!e.at("few_rows").get<bool>()) {
      if (share < least)
        misses.push_back(
            fmt::format("{}: {:.0f} % of the matrix peak, at least {:.0f} % is meant", what, 100 * share, 100 * least));
    } else if (e.at("bytes_in_flight").get<double>() < e.at("bytes_in_flight_needed").get<double>()) {
      misses.push_back(fmt::format("{}: {} B under way, at least {:.0f} B cover the latency", what,
                                   e.at("bytes_in_flight").get<int>(), e.at("bytes_in_flight_needed").get<double>()));
    }
  }
  return misses;
}

int finish(const static_options& options, const nlohmann::json& report) {
  if (options.json)
    print_json(report);
  else
    print_report(report);
  if (!options.check) return exit_ok;
  const std::vector<std::string> misses = misses_of(report);
  for (const std::string& miss : misses) fmt::print(stderr, "tilefit-bench: {}\n", miss);
  if (!options.json && misses.empty())
    fmt::print(
        "\nTargets are met: many rows at least {:.0f} % (16-bit X: {:.0f} %) of the peak, few rows cover {:.0f} us.\n",
        100 * least_share(8), 100 * least_share(16), latency_us);
  return misses.empty() ? exit_ok : exit_failed;
}

int show_report(const static_options& options) try {
  std::ifstream file(options.show);
  if (!file) return bad_input(fmt::format("{}: cannot be read", options.show));
  return finish(options, nlohmann::json::parse(file));
} catch (const nlohmann::json::exception&) {
  return bad_input(fmt::format("{}: is no report of `static --json`", options.show));
}

int run_static(const static_options& options) {
  if (!options.show.empty()) return show_report(options);
  std::string name = options.arch;
  if (name.starts_with("sm_") && name.ends_with('a')) name.pop_back();  // sm_120a: the same row
  const std::optional<arch_traits> arch = read_arch(name);
  if (!arch) return exit_bad_input;
  const std::vector<planned_kernel> planned = planned_kernels(*arch);
  if (planned.empty())
    return bad_input(fmt::format("{} has no kernels; gfx950, gfx942, and the sm_ numbers since 80 have", arch->name));
  if (options.check && !is_amd(*arch)) return bad_input("--check knows targets of gfx950 and gfx942 alone");

  const std::string object = !options.code_object.empty()
                                 ? options.code_object
                                 : std::string(TILEFIT_CODE_OBJECTS) + "/" + file_name_of(*arch);
  std::error_code error;
  if (!std::filesystem::is_regular_file(object, error))
    return options.code_object.empty()
               ? unavailable(
                     fmt::format("{} is not there: build the target tilefit-code-objects where a {} compiler is, or "
                                 "name a file with --code-object",
                                 object, is_amd(*arch) ? "HIP" : "CUDA"))
               : bad_input(fmt::format("{}: no such file", object));

  const std::vector<std::string> llvm = {"/opt/rocm/llvm/bin", "/opt/rocm/lib/llvm/bin"};
  const char* const home = std::getenv("CUDA_HOME");
  const std::vector<std::string> cuda = {std::string(home != nullptr ? home : "/usr/local/cuda") + "/bin"};
  struct tool {
    const char* key;
    const char* option;
    std::string path;
  };
  std::vector<tool> tools;
  if (is_amd(*arch))
    tools = {{"objdump", "--objdump", find_tool(options.objdump, {"llvm-objdump"}, llvm)},
             {"readelf", "--readelf", find_tool(options.readelf, {"llvm-readelf"}, llvm)},
             {"mca", "--mca", find_tool(options.mca, {"llvm-mca"}, llvm)}};
  else
    tools = {{"cuobjdump", "--cuobjdump", find_tool(options.cuobjdump, {"cuobjdump"}, cuda)}};
  nlohmann::json versions;
  for (const tool& each : tools) {
    if (each.path.empty())
      return unavailable(fmt::format("no {} here: it comes with {}; {} names one",
                                     is_amd(*arch) ? fmt::format("llvm-{}", each.key) : each.key,
                                     is_amd(*arch) ? "LLVM or ROCm" : "the CUDA toolkit", each.option));
    versions[each.key] = version_of(each.path);
  }

  progress steps(options.json);
  steps.step("disassembling");
  const tool_output text =
      is_amd(*arch)
          ? run_tool(tools[0].path, {"-d", "--no-show-raw-insn", fmt::format("--mcpu={}", arch->name), object})
          : run_tool(tools[0].path, {"-sass", object});
  const tool_output facts_text =
      is_amd(*arch) ? run_tool(tools[1].path, {"--notes", object}) : run_tool(tools[0].path, {"-res-usage", object});
  if (!text.ok || !facts_text.ok)
    return bad_input(
        fmt::format("{}: cannot be disassembled: {}", object, (text.ok ? facts_text : text).text.substr(0, 300)));
  if (is_amd(*arch)) {
    // The compiler signs its work in a comment.
    const std::string comment = run_tool(tools[1].path, {"-p", ".comment", object}).text;
    if (const std::size_t at = comment.find("clang version"); at != std::string::npos)
      versions["compiler"] = comment.substr(at, comment.find('\n', at) - at);
  }
  const std::vector<kernel_text> kernels = is_amd(*arch) ? read_amdgpu_disassembly(text.text) : read_sass(text.text);
  const std::map<std::string, kernel_facts> facts =
      is_amd(*arch) ? facts_of_notes(facts_text.text) : facts_of_usage(facts_text.text);

  nlohmann::json entries = nlohmann::json::array();
  for (const planned_kernel& each : planned) {
    steps.step(fmt::format("{}, {}", name_of(each.x), each.tile_text()));
    const auto found = std::find_if(kernels.begin(), kernels.end(),
                                    [&](const kernel_text& kernel) { return is_kernel(each, kernel.name); });
    const auto known = found == kernels.end() ? facts.end() : facts.find(found->name);
    if (known == facts.end() || main_loop_of(each, *found).empty())
      return bad_input(fmt::format("{}: has no kernel of {} for {} X and tiles of {}", object, arch->name,
                                   name_of(each.x), each.tile_text()));
    entries.push_back(report_of(*arch, each, *found, known->second, is_amd(*arch) ? tools[2].path : ""));
  }
  steps.finish();
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::array<char, 16> date{};
  std::strftime(date.data(), date.size(), "%Y-%m-%d", std::gmtime(&now));
  return finish(options, {{"arch", arch->name},
                          {"date", date.data()},
                          {"code_object", std::filesystem::path(object).filename().string()},
                          {"tools", versions},
                          {"basis", basis_of(*arch)},
                          {"entries", entries}});
}

}  // namespace

void add_static(CLI::App& app, int& exit_code) {
  const auto options = std::make_shared<static_options>();
  CLI::App* run = app.add_subcommand(
      "static", "Report on compiled kernels without running them: instructions, registers, predicted shares of peaks");
  run->add_option("--arch", options->arch,
                  "gfx950, gfx942, or an NVIDIA architecture since sm_80 (its generic kernels)")
      ->capture_default_str();
  run->add_option("--code-object", options->code_object,
                  "code object or cubin with the catalogue; without it the one that tilefit-code-objects built")
      ->type_name("FILE");
  run->add_option("--objdump", options->objdump, "llvm-objdump")->type_name("PROGRAM");
  run->add_option("--readelf", options->readelf, "llvm-readelf")->type_name("PROGRAM");
  run->add_option("--mca", options->mca, "llvm-mca")->type_name("PROGRAM");
  run->add_option("--cuobjdump", options->cuobjdump, "cuobjdump")->type_name("PROGRAM");
  run->add_option("--show", options->show, "print the report that --json wrote to this file")
      ->type_name("FILE")
      ->excludes("--arch")
      ->excludes("--code-object");
  run->add_flag("--check", options->check, "exit code 1 unless the targets of AMD kernels are met");
  run->add_flag("--json", options->json, "one JSON object on standard output");
  run->footer(
      "Exit codes: 0, 1 (--check: a target is missed), 2 (bad input), 77 (no code object or no tool on this machine).");
  run->callback([options, &exit_code] { exit_code = run_static(*options); });
}

}  // namespace tilefit::inline v0::bench
