// One problem on the command line: chip, layer, matmul, formats, whose kernels.
// Knows: the options and how they become arguments of the engine. Must not know: what is done with the choice.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include <tilefit/tilefit.hpp>

#include "models.hpp"

namespace CLI {  // NOLINT(readability-identifier-naming): CLI11's
class App;
}

namespace tilefit::inline v0::bench {

/// What the words were, before anybody has looked at them.
struct problem_words {
  std::string arch = "sm_120";
  int sm_count = 0;
  std::string model = "gpt-oss-20b";
  std::string shape;  ///< "" = the model's
  std::string gemm = "gate_up";
  std::int64_t tokens = 520;
  std::string x = "bf16";
  std::string y = "bf16";
  std::string policy = "tilefit";
  bool has_tma = false;
  std::string constraints;
};

/// What they mean: arguments of make_opt_flags.
struct asked_problem {
  arch_traits arch{};
  matmul_problem problem{};
  opt_flags_constraints constraints{};
  std::variant<ogs_policy, triton_ogs_policy> policy{};
};

void add_problem_options(CLI::App& command, problem_words& words);

/// Nothing after a sentence on standard error.
std::optional<asked_problem> read_problem(const problem_words& words);

/// Layers at several token counts, before anybody has looked at them.
struct layer_words {
  std::vector<std::string> models;
  std::string shape;  ///< "" = the models'
  std::vector<std::int64_t> tokens = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192};
};

void add_layer_options(CLI::App& command, layer_words& words);

/// The layers that are meant; none after a sentence on standard error.
std::vector<model_shape> read_layers(const layer_words& words);

/// "experts=64,topk=6,hidden=4096,intermediate=1536", in any order; nothing after a sentence.
std::optional<model_shape> read_shape(const std::string& text);

}  // namespace tilefit::inline v0::bench
