// tilefit-bench tune: the fastest tile for given layers, measured on the GPU at hand; what the engine's own choice
// costs beside it; and a header of tuned rows for programs that want the measured ones.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include <tilefit/matmul_problem.hpp>

#include "commands.hpp"
#include "gpu_sweep.hpp"
#include "problem_words.hpp"
#include "sweep_results.hpp"

namespace tilefit::inline v0::bench {
namespace {

struct tune_options {
  layer_words layers;
  std::string header;
  std::string name = "tuned_rows";
  double least_gain = 3;  // percent
  sweep_options how{.all_tiles = true, .splits = {1, 2, 4, 8}};
  bool json = false;
};

/// One matmul of one layer: what was chosen, and what was fastest.
struct tuned_matmul {
  const layer_times* layer = nullptr;
  int which = 0;
  const tile_time* best = nullptr;
  double choice_us = 0;

  double gain() const { return choice_us / best->time.median - 1; }
};

std::string flags_text(const opt_flags& f) {
  constexpr const char* hints[] = {"normal", "evict_first", "evict_last"};
  return fmt::format(
      "{{.block_m = {}, .block_n = {}, .block_k = {}, .num_warps = {}, .num_stages = {}, .group_m = {}, .xcd_swizzle = "
      "{}, .split_k = {}, .is_persistent = {}, .epilogue_subtile = {}, .idle_sms = {}, .waves_per_eu = {}, .w_cache = "
      "tilefit::cache_hint::{}}}",
      f.block_m, f.block_n, f.block_k, f.num_warps, f.num_stages, f.group_m, f.xcd_swizzle, f.split_k, f.is_persistent,
      f.epilogue_subtile, f.idle_sms, f.waves_per_eu, hints[static_cast<int>(f.w_cache)]);
}

std::string header_text(const tune_options& options, const gpu_facts& facts, const std::vector<tuned_matmul>& rows) {
  std::string text = fmt::format(
      "// Tuned tiles, written by tilefit-bench tune.\n"
      "// Measured on {} ({} SMs, driver for CUDA {}, toolkit {}), {}, medians of {} replays with\n"
      "// an empty L2. Each row is at least {:g} % faster than what the engine chooses by itself.\n"
      "#pragma once\n\n#include <array>\n\n#include <tilefit/tuned.hpp>\n\n"
      "inline constexpr std::array<tilefit::tuned_row, {}> {}{{{{\n",
      facts.device, facts.multiprocessors, cuda_version(facts.driver), cuda_version(facts.toolkit),
      date_now().substr(0, 10), options.how.repeats, options.least_gain, rows.size(), options.name);
  for (const tuned_matmul& row : rows) {
    const model_shape& model = row.layer->model;
    const bool gate_up = row.which == 0;
    fmt::format_to(
        std::back_inserter(text),
        "    {{.arch = tilefit::arch_id::{}, .sm_count = {}, .m = {}, .n = {}, .k = {}, .experts = {}, .topk = {}, "
        ".act = tilefit::activation::{},\n     .flags = {},\n     .microseconds = {:.2f}f, .engine_microseconds = "
        "{:.2f}f}},\n",
        facts.arch, facts.multiprocessors, row.layer->tokens * model.topk,
        gate_up ? 2 * model.intermediate : model.hidden, gate_up ? model.hidden : model.intermediate, model.experts,
        gate_up ? model.topk : 1, gate_up ? "swiglu" : "none", flags_text(row.best->flags), row.best->time.median,
        row.choice_us);
  }
  return text + "}};\n";
}

bool is_identifier(const std::string& name) {
  return !name.empty() && std::isdigit(static_cast<unsigned char>(name[0])) == 0 &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; });
}

int run_tune(const tune_options& options) {
  if (!is_identifier(options.name))
    return bad_input(fmt::format("--name: '{:.80}' is no C++ identifier", options.name));
  const std::vector<model_shape> shapes = read_layers(options.layers);
  if (shapes.empty()) return exit_bad_input;
  std::string why_not;
  const std::unique_ptr<gpu_sweeper> on = open_gpu(false, why_not);
  if (on == nullptr) {
    bad_input(why_not);
    return exit_unavailable;
  }

  std::vector<std::unique_ptr<layer_times>> layers;
  progress steps(options.json);
  for (const model_shape& shape : shapes) {
    on->take(shape, *std::max_element(options.layers.tokens.begin(), options.layers.tokens.end()));
    for (const std::int64_t tokens : options.layers.tokens) {
      steps.step(fmt::format("{}, {} tokens", shape.name, tokens));
      layers.push_back(std::make_unique<layer_times>(on->measure(tokens, 0, options.how)));
    }
  }
  steps.finish();

  const gpu_facts& facts = on->facts();
  nlohmann::ordered_json file = json_head(facts, {}, options.how.repeats);
  std::vector<tuned_matmul> tuned;
  double logs = 0, worst = 1;
  int count = 0, faults = 0;
  if (!options.json) {
    fmt::print("{}, {} SMs, {} kernels, medians of {} replays\n", facts.device, facts.multiprocessors,
               facts.catalogue.size(), options.how.repeats);
    fmt::print("{:<13}{:>7}  {:<8}  {:<30}{:>10}{:>9}  {:<30}{:>10}{:>9}{:>8}\n", "model", "tokens", "matmul",
               "the engine's choice", "us", "spread", "fastest", "us", "spread", "ratio");
  }
  for (const std::unique_ptr<layer_times>& layer : layers) {
    file["rows"].push_back(json_of(*layer, {}, nullptr));
    for (int which = 0; which < 2; ++which) {
      const matmul_times& part = layer->parts[which];
      const tile_time* const best = part.best();
      if (best == nullptr) {
        ++faults;
        fmt::print(stderr, "{} tokens, {}: {}\n", layer->tokens, which == 0 ? "gate_up" : "down",
                   part.choice.fault.empty() ? "no kernel ran" : part.choice.fault);
        continue;
      }
      const tuned_matmul found{.layer = layer.get(), .which = which, .best = best, .choice_us = part.time_of_choice()};
      logs += std::log(1 + found.gain());
      worst = std::max(worst, 1 + found.gain());
      ++count;
      if (100 * found.gain() >= options.least_gain) tuned.push_back(found);
      const auto words = [](const opt_flags& f) {
        return fmt::format("{}x{}x{} s{} split {}", f.block_m, f.block_n, f.block_k, f.num_stages, f.split_k);
      };
      const auto spread = [](const time_summary& time) {
        return fmt::format("{:.1f} %{}", 100 * time.spread(), time.spread() > wide_spread ? "!" : " ");
      };
      if (!options.json)
        fmt::print("{:<13}{:>7}  {:<8}  {:<30}{:>10.1f}{:>9}  {:<30}{:>10.1f}{:>9}{:>8.3f}\n", layer->model.name,
                   layer->tokens, which == 0 ? "gate_up" : "down", words(part.choice.flags), found.choice_us,
                   spread(part.choice.time), words(best->flags), best->time.median, spread(best->time),
                   1 + found.gain());
    }
  }
  if (!options.json && count > 0)
    fmt::print("choice over best: {:.3f} geometric mean, {:.2f} worst, {} matmuls; {} rows gain {:g} % or more\n",
               std::exp(logs / count), worst, count, tuned.size(), options.least_gain);
  if (options.json) fmt::print("{}\n", file.dump(1, ' '));
  if (!options.header.empty()) {
    std::ofstream out(options.header);
    out << header_text(options, facts, tuned);
    out.flush();
    if (!out) return bad_input(fmt::format("{}: it cannot be written", options.header));
    if (!options.json) fmt::print("{} rows written to {}\n", tuned.size(), options.header);
  }
  return faults == 0 ? exit_ok : exit_failed;
}

}  // namespace

void add_tune(CLI::App& app, int& exit_code) {
  const auto options = std::make_shared<tune_options>();
  CLI::App* tune = app.add_subcommand("tune", "Measure every kernel for given layers, and keep what beats the engine");
  options->layers.models = {"gpt-oss-20b"};
  add_layer_options(*tune, options->layers);
  tune->add_option("--splits", options->how.splits, "splits along K to try")
      ->delimiter(',')
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  tune->add_option("--repeats", options->how.repeats, "replays")->check(CLI::Range(3, 10000))->capture_default_str();
  tune->add_option("--header", options->header, "C++ header of tuned rows to write")->type_name("FILE");
  tune->add_option("--name", options->name, "of the array in it")->capture_default_str();
  tune->add_option("--gain", options->least_gain, "percent that a row must gain to be kept")
      ->check(CLI::Range(0.0, 1000.0))
      ->capture_default_str();
  tune->add_flag("--json", options->json, "JSON on standard output");
  tune->callback([options, &exit_code] { exit_code = run_tune(*options); });
}

}  // namespace tilefit::inline v0::bench
