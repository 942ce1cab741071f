// The choices of tilefit's own policy as a text that a person can review: tests/golden/selections.txt.
// TILEFIT_UPDATE_GOLDEN=1 in the environment writes the file anew instead of comparing with it.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <tilefit/tilefit.hpp>

#include "catch.hpp"
#include "models.hpp"

using namespace tilefit;

namespace {

constexpr const char* golden_path = TILEFIT_GOLDEN_DIR "/selections.txt";

std::string line_of(const selection& choice, std::int64_t tokens) {
  const opt_flags& flags = choice.flags;
  return fmt::format(
      "{:>7}  {:>3} x {:>3} x {:>4}  {:>2} warps  {} stages  split {:>2}  {:<10}  {} piece{}  {:>7} B  "
      "{:>9}.{:03} us  {}{}\n",
      tokens, flags.block_m, flags.block_n, flags.block_k, flags.num_warps, flags.num_stages, flags.split_k,
      flags.is_persistent ? "persistent" : "plain", flags.epilogue_subtile, flags.epilogue_subtile == 1 ? " " : "s",
      choice.need_bytes(), choice.cost.total_ps / 1'000'000, choice.cost.total_ps / 1'000 % 1'000,
      name_of(choice.cost.limiter),
      choice.status == status_code::ok
          ? std::string()
          : fmt::format("  {}: {} x {} x {} needs {} B", name_of(choice.status), choice.wished.block_m,
                        choice.wished.block_n, choice.wished.block_k, choice.wished_bytes));
}

std::string all_selections() {
  std::string text =
      "# What ogs_policy chooses: architecture, model, matmul, format of X; then one line per number of tokens:\n"
      "# tokens, block_m x block_n x block_k, warps, stages, split_k, schedule, pieces of the output tile, shared\n"
      "# memory, predicted time, what limits it, and with a fallback the wished-for tile.\n"
      "# TILEFIT_UPDATE_GOLDEN=1 tilefit-unit \"[golden]\" writes this file.\n";
  for (const arch_traits& arch : arch_table)
    for (const bench::model_shape& model : bench::models) {
      // The whole list for the two models that most is known of; one of each other kind of shape.
      const bool thorough = model.name == "gpt-oss-20b" || model.name == "gpt-oss-120b";
      for (const bool is_gate_up : {true, false})
        for (const dtype x : {dtype::bf16, dtype::mxfp8}) {
          if (x != dtype::bf16 && model.name != "gpt-oss-20b") continue;
          text +=
              fmt::format("\n{}, {}, {}, X {}\n", arch.name, model.name, is_gate_up ? "gate_up" : "down", name_of(x));
          const std::vector<std::int64_t> counts = thorough ? std::vector<std::int64_t>{1, 8, 64, 519, 520, 4096, 16384}
                                                            : std::vector<std::int64_t>{1, 128, 4096};
          for (const std::int64_t tokens : counts) {
            const matmul_problem problem{
                .m = tokens * model.topk,
                .n = is_gate_up ? 2 * model.intermediate : model.hidden,
                .k = is_gate_up ? model.hidden : model.intermediate,
                .experts = model.experts,
                .topk = model.topk,
                .formats = is_gate_up ? matmul_formats{.x = x, .act = activation::swiglu, .gather = true, .bias = true}
                                      : matmul_formats{.x = x, .scatter = true, .bias = true}};
            text += line_of(make_opt_flags(arch, problem), tokens);
          }
        }
    }
  return text;
}

}  // namespace

TEST_CASE("The choices are the reviewed ones", "[golden]") {
  const std::string now = all_selections();
  if (const char* update = std::getenv("TILEFIT_UPDATE_GOLDEN"); update != nullptr && *update != '\0') {
    std::ofstream file(golden_path, std::ios::binary);
    file << now;
    REQUIRE(file.flush());
    WARN("wrote " << golden_path);
    return;
  }
  std::ifstream file(golden_path, std::ios::binary);
  REQUIRE(file);
  const std::string golden{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::istringstream ours(now), theirs(golden);
  std::string our_line, their_line, heading;
  int number = 0, differences = 0;
  while (true) {
    const bool more = static_cast<bool>(std::getline(ours, our_line));
    const bool more_there = static_cast<bool>(std::getline(theirs, their_line));
    if (!more && !more_there) break;
    ++number;
    if (!more) our_line = "(end)";
    if (!more_there) their_line = "(end)";
    if (!our_line.empty() && our_line.front() != ' ') heading = our_line;
    if (our_line != their_line && ++differences <= 10)
      FAIL_CHECK("line " << number << ", " << heading << "\n  reviewed: " << their_line
                         << "\n  now:      " << our_line);
  }
  INFO("after a change that is meant: TILEFIT_UPDATE_GOLDEN=1 tilefit-unit \"[golden]\", then review the diff");
  CHECK(differences == 0);
}
