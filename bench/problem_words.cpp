#include "problem_words.hpp"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <vector>

#include "commands.hpp"

namespace tilefit::inline v0::bench {

std::optional<model_shape> read_shape(const std::string& text) {
  model_shape shape{.name = "shape"};
  struct member {
    std::string_view name;
    std::int64_t most;
    std::int64_t value = 0;
  };
  member members[] = {{"experts", 4096}, {"topk", 4096}, {"hidden", 1 << 20}, {"intermediate", 1 << 19}};
  const auto refuse = [&](std::string_view part, std::string_view why) {
    bad_input(
        fmt::format("--shape: '{:.80}' {}; wanted is experts=64,topk=6,hidden=4096,intermediate=1536", part, why));
    return std::nullopt;
  };
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::string_view part = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(part.size() + 1, rest.size()));
    const std::size_t equals = part.find('=');
    const auto found = std::find_if(std::begin(members), std::end(members),
                                    [&](const member& each) { return each.name == part.substr(0, equals); });
    if (equals == std::string_view::npos || found == std::end(members))
      return refuse(part, "is none of its four words");
    if (found->value != 0) return refuse(part, "is there twice");
    const char* const end = part.data() + part.size();
    const auto [stop, error] = std::from_chars(part.data() + equals + 1, end, found->value);
    if (error != std::errc{} || stop != end || found->value < 1 || found->value > found->most)
      return refuse(part, fmt::format("is no whole number from 1 to {}", found->most));
  }
  for (const member& each : members)
    if (each.value == 0) return refuse(text, fmt::format("lacks {}", each.name));
  shape.experts = static_cast<int>(members[0].value);
  shape.topk = static_cast<int>(members[1].value);
  shape.hidden = members[2].value;
  shape.intermediate = members[3].value;
  if (shape.topk > shape.experts) return refuse(text, "has more choices than experts");
  return shape;
}

void add_problem_options(CLI::App& command, problem_words& words) {
  command.add_option("--arch", words.arch, "architecture")->capture_default_str();
  command.add_option("--sm-count", words.sm_count, "multiprocessors, where not the nominal board's")
      ->check(CLI::Range(1, 1024));
  std::vector<std::string> names;
  for (const model_shape& shape : models) names.emplace_back(shape.name);
  CLI::Option* const model =
      command.add_option("--model", words.model, "whose layer")->check(CLI::IsMember(names))->capture_default_str();
  command.add_option("--shape", words.shape, "a layer of your own: experts=64,topk=6,hidden=4096,intermediate=1536")
      ->excludes(model);
  command.add_option("--gemm", words.gemm, "which matmul of it")
      ->check(CLI::IsMember({"gate_up", "down"}))
      ->capture_default_str();
  command.add_option("--tokens", words.tokens, "rows of X")->check(CLI::Range(0, 1 << 20))->capture_default_str();
  command.add_option("--x", words.x, "format of X: bf16, fp16, e4m3, mxfp8, mxfp4")->capture_default_str();
  command.add_option("--y", words.y, "format of Y: bf16, fp16, fp32, e4m3, mxfp8")->capture_default_str();
  command.add_option("--policy", words.policy, "whose kernels")
      ->check(CLI::IsMember({"tilefit", "triton-3.4.0", "triton-2025-12"}))
      ->capture_default_str();
  command.add_flag("--tma", words.has_tma, "Triton's persistent kernels can use TMA");
  command.add_option("--constraints", words.constraints, "as in TILEFIT_CONSTRAINTS: 'block_k=128,strict=1'");
}

std::optional<asked_problem> read_problem(const problem_words& words) {
  const std::optional<arch_traits> row = read_arch(words.arch);
  if (!row) return std::nullopt;
  asked_problem asked;
  asked.arch = merge(*row, device_report{.sm_count = words.sm_count}).traits;
  const std::optional<model_shape> model =
      words.shape.empty() ? *std::find_if(std::begin(models), std::end(models),
                                          [&](const model_shape& shape) { return shape.name == words.model; })
                          : read_shape(words.shape);
  if (!model) return std::nullopt;
  const std::optional<dtype> x = find_dtype(words.x), y = find_dtype(words.y);
  if (!x || !y) {
    bad_input(fmt::format("'{:.80}' is no element format; there are fp32, bf16, fp16, e4m3, mxfp8 and mxfp4",
                          !x ? words.x : words.y));
    return std::nullopt;
  }
  const std::optional<opt_flags_constraints> constraints = read_constraints(asked.arch.id, words.constraints);
  if (!constraints) return std::nullopt;
  asked.constraints = *constraints;

  const bool gate_up = words.gemm == "gate_up";
  asked.problem = {.m = words.tokens * model->topk,
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
  if (words.policy != "tilefit")
    asked.policy =
        triton_ogs_policy{.release = words.policy == "triton-3.4.0" ? triton_release::v3_4_0 : triton_release::v2025_12,
                          .has_tma = words.has_tma};
  return asked;
}

void add_layer_options(CLI::App& command, layer_words& words) {
  std::vector<std::string> names;
  for (const model_shape& shape : models) names.emplace_back(shape.name);
  CLI::Option* const model = command.add_option("--model", words.models, "whose layers")
                                 ->delimiter(',')
                                 ->check(CLI::IsMember(names))
                                 ->capture_default_str();
  command.add_option("--shape", words.shape, "a layer of your own: experts=64,topk=6,hidden=4096,intermediate=1536")
      ->excludes(model);
  command.add_option("--tokens", words.tokens, "rows of X")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 17))
      ->capture_default_str();
}

std::vector<model_shape> read_layers(const layer_words& words) {
  std::vector<model_shape> shapes;
  if (!words.shape.empty()) {
    if (const std::optional<model_shape> shape = read_shape(words.shape)) shapes.push_back(*shape);
    return shapes;
  }
  for (const model_shape& each : models)
    if (std::find(words.models.begin(), words.models.end(), each.name) != words.models.end()) shapes.push_back(each);
  return shapes;
}

}  // namespace tilefit::inline v0::bench
