// tilefit-bench select: what the engine chooses, for one problem, for a file of them, and how long it takes to choose.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include <tilefit/explain.hpp>

#include "allocation_count.hpp"
#include "commands.hpp"
#include "models.hpp"
#include "opt_flags_cases.hpp"

namespace tilefit::inline v0::bench {
namespace {

struct select_options {
  std::string cases;
  std::string arch = "sm_120";
  std::string model = "gpt-oss-20b";
  std::string gemm = "gate_up";
  std::string policy = "tilefit";
  std::string x = "bf16";
  std::string y = "bf16";
  std::string constraints;
  std::int64_t tokens = 520;
  int sm_count = 0;
  bool has_tma = false;
  bool latency = false;
  bool json = false;
};

// --- how long a choice takes
// --------------------------------------------------------------------------------------------

/// Exactly 200 tiles, all different, crossing what the catalogues of the built-in policies cross.
struct policy_of_200 : ogs_policy {
  static constexpr auto tiles = [] {
    std::array<opt_flags, 216> all{};
    std::size_t count = 0;
    for (const int block_m : {8, 16, 32, 64, 128, 256})
      for (const int block_n : {64, 128, 256})
        for (const int block_k : {64, 128, 256})
          for (const int pieces : {0, 1, 2, 4})
            all[count++] = {.block_m = block_m,
                            .block_n = block_n,
                            .block_k = block_k,
                            .num_warps = 8,
                            .num_stages = 8,
                            .group_m = 8,
                            .is_persistent = pieces > 0,
                            .epilogue_subtile = pieces > 0 ? pieces : 1};
    return all;
  }();
  constexpr std::span<const opt_flags> candidates(const arch_traits&, const matmul_problem&) const noexcept {
    return std::span(tiles).first<200>();
  }
};

struct latency {
  std::string_view name;
  std::size_t candidates = 0;
  double median_ns = 0.0;
  double p99_ns = 0.0;
  std::size_t allocations = 0;
};

constexpr int rounds = 5, choices_per_round = 10'000;

/// One choice per token count of 1 to 8192, so that neither branches nor results repeat; each timed on its own. Of five
/// rounds the one with the lowest median counts: a neighbour on the same core slows whole rounds down.
template <class Policy>
latency measure_latency(std::string_view name, const arch_traits& arch, const Policy& policy) {
  std::vector<double> took(choices_per_round);
  matmul_problem problem{.n = 5760,
                         .k = 2880,
                         .experts = 32,
                         .topk = 4,
                         .formats = {.act = activation::swiglu, .gather = true, .bias = true}};
  latency result{.name = name, .candidates = policy.candidates(arch, problem).size()};
  int sink = 0;
  for (int round = 0; round < rounds; ++round) {
    const std::size_t before = allocation_count();
    for (int i = 0; i < choices_per_round; ++i) {
      problem.m = std::int64_t{4} * (1 + (std::int64_t{i} * 4799) % 8192);
      const auto start = std::chrono::steady_clock::now();
      const selection choice = make_opt_flags(arch, problem, {}, policy);
      const std::chrono::duration<double, std::nano> one = std::chrono::steady_clock::now() - start;
      took[static_cast<std::size_t>(i)] = one.count();
      sink += choice.flags.block_m;
    }
    result.allocations += allocation_count() - before;
    std::sort(took.begin(), took.end());
    if (round > 0 && took[choices_per_round / 2] >= result.median_ns) continue;
    result.median_ns = took[choices_per_round / 2];
    result.p99_ns = took[choices_per_round * 99 / 100];
  }
  if (sink == 0) result.candidates = 0;  // the choices were used
  return result;
}

int print_latency(const select_options& options) {
  const latency rows[] = {
      measure_latency("200 candidates, sm_120", arch_v<arch_id::sm_120>, policy_of_200{}),
      measure_latency("200 candidates, sm_90", arch_v<arch_id::sm_90>, policy_of_200{}),
      measure_latency("tilefit's own, sm_120", arch_v<arch_id::sm_120>, ogs_policy{}),
      measure_latency("tilefit's own, sm_90", arch_v<arch_id::sm_90>, ogs_policy{}),
      measure_latency("tilefit's own, gfx950", arch_v<arch_id::gfx950>, ogs_policy{}),
      measure_latency("triton 3.4.0, sm_90", arch_v<arch_id::sm_90>,
                      triton_ogs_policy{.release = triton_release::v3_4_0}),
      measure_latency("triton 3.4.0, sm_120", arch_v<arch_id::sm_120>,  // falls back from 520 tokens on
                      triton_ogs_policy{.release = triton_release::v3_4_0}),
  };
  if (options.json) {
    nlohmann::json all = nlohmann::json::array();
    for (const latency& row : rows)
      all.push_back({{"policy", row.name},
                     {"candidates", row.candidates},
                     {"median_ns", row.median_ns},
                     {"p99_ns", row.p99_ns},
                     {"allocations", row.allocations}});
    print_json({{"host", host_name()}, {"rounds", rounds}, {"choices_per_round", choices_per_round}, {"latency", all}});
    return exit_ok;
  }
  fmt::print("{:<26}{:>11}{:>12}{:>10}{:>13}\n", "one choice of", "candidates", "median ns", "p99 ns", "allocations");
  for (const latency& row : rows)
    fmt::print("{:<26}{:>11}{:>12.0f}{:>10.0f}{:>13}\n", row.name, row.candidates, row.median_ns, row.p99_ns,
               row.allocations);
  fmt::print("best of {} rounds of {} choices, two clock readings included\n", rounds, choices_per_round);
  return exit_ok;
}

// --- a file of problems
// -------------------------------------------------------------------------------------------------

int write_cases(const select_options& options) {
  const result<mapped_file> file = mapped_file::open(options.cases);
  if (!file) return bad_input(fmt::format("{}: {}", options.cases, file.error()));
  const std::span<const std::byte> bytes = file->bytes();
  const result<std::string> written = answer_cases({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (!written) return bad_input(fmt::format("{}: {}", options.cases, written.error()));
  fmt::print("{}", *written);
  return exit_ok;
}

// --- one problem
// --------------------------------------------------------------------------------------------------------

int explain_one(const select_options& options) {
  const std::optional<arch_traits> row = read_arch(options.arch);
  if (!row) return exit_bad_input;
  const arch_traits arch = merge(*row, device_report{.sm_count = options.sm_count}).traits;
  const auto model = std::find_if(std::begin(models), std::end(models),
                                  [&](const model_shape& shape) { return shape.name == options.model; });
  const std::optional<dtype> x = find_dtype(options.x), y = find_dtype(options.y);
  if (!x || !y)
    return bad_input(fmt::format("'{}' is no element format; there are fp32, bf16, fp16, e4m3, mxfp8 and mxfp4",
                                 (!x ? options.x : options.y).substr(0, 80)));
  const std::optional<opt_flags_constraints> constraints = read_constraints(arch.id, options.constraints);
  if (!constraints) return exit_bad_input;

  const bool gate_up = options.gemm == "gate_up";
  const matmul_problem problem{.m = options.tokens * model->topk,
                               .n = gate_up ? 2 * model->intermediate : model->hidden,
                               .k = gate_up ? model->hidden : model->intermediate,
                               .experts = model->experts,
                               .topk = model->topk,
                               .formats = {.x = *x,
                                           .y = *y,
                                           .act = gate_up ? activation::swiglu : activation::none,
                                           .gather = gate_up,
                                           .scatter = !gate_up,
                                           .bias = true}};
  const auto report = [&](const auto& policy) {
    const explanation why = explain(arch, problem, *constraints, policy);
    if (!why.choice.ok()) return bad_input(fmt::format("{}: {}", name_of(why.choice.status), reason(why.choice)));
    fmt::print("{}{}", options.json ? why.json() : why.text(wants_colour()), options.json ? "\n" : "");
    return exit_ok;
  };
  if (options.policy == "tilefit") return report(ogs_policy{});
  const triton_release release = options.policy == "triton-3.4.0" ? triton_release::v3_4_0 : triton_release::v2025_12;
  return report(triton_ogs_policy{.release = release, .has_tma = options.has_tma});
}

}  // namespace

void add_select(CLI::App& app, int& exit_code) {
  const auto options = std::make_shared<select_options>();
  CLI::App* select = app.add_subcommand("select", "Choose a tile and say why; or do so for a file of problems");
  CLI::Option* cases =
      select->add_option("--cases", options->cases,
                         "CSV file of problems (format: tests/golden/README.md): written back with what "
                         "Triton's policy chooses, in columns tf_*");
  cases->type_name("FILE");
  CLI::Option* latency =
      select->add_flag("--latency", options->latency, "time the choice itself and count allocations");
  latency->excludes(cases);
  select->add_option("--arch", options->arch, "architecture")->capture_default_str();
  select->add_option("--sm-count", options->sm_count, "multiprocessors, where not the nominal board's")
      ->check(CLI::Range(1, 1024));
  std::vector<std::string> names;
  for (const model_shape& shape : models) names.emplace_back(shape.name);
  select->add_option("--model", options->model, "whose layer")->check(CLI::IsMember(names))->capture_default_str();
  select->add_option("--gemm", options->gemm, "which matmul of it")
      ->check(CLI::IsMember({"gate_up", "down"}))
      ->capture_default_str();
  select->add_option("--tokens", options->tokens, "rows of X")->check(CLI::Range(0, 1 << 20))->capture_default_str();
  select->add_option("--x", options->x, "format of X: bf16, fp16, e4m3, mxfp8, mxfp4")->capture_default_str();
  select->add_option("--y", options->y, "format of Y: bf16, fp16, fp32, e4m3, mxfp8")->capture_default_str();
  select->add_option("--policy", options->policy, "whose kernels")
      ->check(CLI::IsMember({"tilefit", "triton-3.4.0", "triton-2025-12"}))
      ->capture_default_str();
  select->add_flag("--tma", options->has_tma, "Triton's persistent kernels can use TMA");
  select->add_option("--constraints", options->constraints, "as in TILEFIT_CONSTRAINTS: 'block_k=128,strict=1'");
  select->add_flag("--json", options->json, "JSON on standard output");
  // A file and the clock have problems of their own: words about one problem would be ignored.
  for (CLI::Option* option : select->get_options()) {
    if (option == cases || option == latency || option->check_name("--json") || option->check_name("--help")) continue;
    cases->excludes(option);
    latency->excludes(option);
  }
  select->callback([options, cases, &exit_code] {
    exit_code = cases->count() > 0 ? write_cases(*options)
                : options->latency ? print_latency(*options)
                                   : explain_one(*options);
  });
}

}  // namespace tilefit::inline v0::bench
