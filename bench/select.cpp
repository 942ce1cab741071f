// tilefit-bench select and explain: what the engine chooses, for one problem or for a file of them, and how long it
// takes to choose.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>
#include <vector>

#include <tilefit/explain.hpp>

#include "allocation_count.hpp"
#include "commands.hpp"
#include "opt_flags_cases.hpp"
#include "problem_words.hpp"

namespace tilefit::inline v0::bench {
namespace {

struct select_options {
  problem_words words;
  std::string cases;
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

/// The choice in a few lines, or with everything that is to be said about it; in JSON the same for both.
int print_choice(const problem_words& words, bool whole, bool json) {
  const std::optional<asked_problem> asked = read_problem(words);
  if (!asked) return exit_bad_input;
  const explanation why =
      std::visit([&](const auto& policy) { return explain(asked->arch, asked->problem, asked->constraints, policy); },
                 asked->policy);
  if (!why.choice.ok()) return bad_input(fmt::format("{}: {}", name_of(why.choice.status), reason(why.choice)));
  if (json)
    fmt::print("{}\n", why.json());
  else
    fmt::print("{}", whole ? why.text(wants_colour()) : why.summary(wants_colour()));
  return exit_ok;
}

}  // namespace

void add_select(CLI::App& app, int& exit_code) {
  const auto options = std::make_shared<select_options>();
  CLI::App* select = app.add_subcommand("select", "Choose a tile for one problem, or for a file of them");
  CLI::Option* cases =
      select->add_option("--cases", options->cases,
                         "CSV file of problems (format: tests/golden/README.md): written back with what "
                         "Triton's policy chooses, in columns tf_*");
  cases->type_name("FILE");
  CLI::Option* latency =
      select->add_flag("--latency", options->latency, "time the choice itself and count allocations");
  latency->excludes(cases);
  add_problem_options(*select, options->words);
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
                                   : print_choice(options->words, false, options->json);
  });
}

void add_explain(CLI::App& app, int& exit_code) {
  const auto options = std::make_shared<select_options>();
  CLI::App* command =
      app.add_subcommand("explain", "Choose a tile and say why: its memory, its predicted time, what was rejected");
  add_problem_options(*command, options->words);
  command->add_flag("--json", options->json, "JSON on standard output");
  command->callback([options, &exit_code] { exit_code = print_choice(options->words, true, options->json); });
}

}  // namespace tilefit::inline v0::bench
