// tilefit-bench sweep: the matmuls of expert layers on the GPU at hand, next to the floor that its measured rates set
// and to recorded times of another implementation.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "commands.hpp"
#include "gpu_sweep.hpp"
#include "problem_words.hpp"
#include "sweep_results.hpp"

namespace tilefit::inline v0::bench {
namespace {

struct options_of_sweep {
  layer_words layers;
  std::string kernels = "device";
  std::string anchor, from, out, plot;
  sweep_options how{};
  bool ceilings = true;
  bool json = false;
};

/// Writes a file, or says why not.
bool write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.flush();
  if (!file) bad_input(fmt::format("{}: it cannot be written", path));
  return file.good();
}

std::string tile_words(const opt_flags& f) {
  return fmt::format("{}x{}x{} s{} split {}", f.block_m, f.block_n, f.block_k, f.num_stages, f.split_k);
}

void print_row(const layer_times& row, const rate_ceilings& rates, const anchor_row* anchor, bool joint) {
  const double sum = row.sum_us(), floor = row.floor_us(rates);
  const tile_time &gate_up = row.parts[0].choice, &down = row.parts[1].choice;
  const double spread = std::max(gate_up.time.spread(), down.time.spread());
  fmt::print("{:<13}{:>7}{:>5}{:>10.1f}{:>10.1f}{:>10.1f}{}{:>10.1f}{:>7.2f}{}{:>8.1f} %{}  {} | {}\n", row.model.name,
             row.tokens, row.active_experts, gate_up.time.median, down.time.median, sum,
             joint ? fmt::format("{:>10.1f}", row.joint.median) : "", floor, sum / floor,
             anchor != nullptr ? fmt::format("{:>10.1f}{:>7.2f}", anchor->sum_us, sum / anchor->sum_us)
                               : fmt::format("{:>10}{:>7}", "-", "-"),
             100 * spread, spread > wide_spread ? " (wide)" : "       ", tile_words(gate_up.flags),
             tile_words(down.flags));
  for (const matmul_times& part : row.parts) {
    if (!part.choice.fault.empty()) fmt::print("  FAULT {}: {}\n", tile_words(part.choice.flags), part.choice.fault);
    for (const tile_time& each : part.all)
      if (!each.fault.empty()) fmt::print("  FAULT {}: {}\n", tile_words(each.flags), each.fault);
    if (const tile_time* best = part.best())
      fmt::print("  {:<8} choice {:<28}{:>10.1f} us   best {:<28}{:>10.1f} us   {:.2f} times the best\n",
                 &part == &row.parts[0] ? "gate_up" : "down", tile_words(part.choice.flags), part.time_of_choice(),
                 tile_words(best->flags), best->time.median, part.time_of_choice() / best->time.median);
  }
  std::fflush(stdout);
}

int faults_of(const layer_times& row) {
  int faults = 0;
  for (const matmul_times& part : row.parts) {
    faults += part.choice.fault.empty() ? 0 : 1;
    for (const tile_time& each : part.all) faults += each.fault.empty() ? 0 : 1;
  }
  return faults;
}

int finish(const options_of_sweep& options, const nlohmann::ordered_json& file, int faults) {
  if (!options.plot.empty()) {
    const result<sweep_file> sweep = read_sweep(file);
    if (!sweep) return bad_input(sweep.error());
    if (!write_file(options.plot, draw_sweep(*sweep))) return exit_bad_input;
  }
  if (options.json) fmt::print("{}\n", file.dump(1, ' '));
  return faults == 0 ? exit_ok : exit_failed;
}

int draw_again(const options_of_sweep& options) {
  if (options.plot.empty()) return bad_input("--from FILE is for --plot FILE");
  const result<sweep_file> sweep = read_sweep_file(options.from);
  if (!sweep) return bad_input(fmt::format("{}: {}", options.from, sweep.error()));
  return write_file(options.plot, draw_sweep(*sweep)) ? exit_ok : exit_bad_input;
}

int run_sweep(const options_of_sweep& options) {
  std::vector<anchor_row> anchor;
  if (!options.anchor.empty()) {
    result<std::vector<anchor_row>> rows = read_anchor(options.anchor);
    if (!rows) return bad_input(fmt::format("{}: {}", options.anchor, rows.error()));
    anchor = std::move(*rows);
  }
  const std::vector<model_shape> shapes = read_layers(options.layers);
  if (shapes.empty()) return exit_bad_input;
  std::string why_not;
  const std::unique_ptr<gpu_sweeper> on = open_gpu(options.kernels == "generic", why_not);
  if (on == nullptr) {
    bad_input(why_not);
    return exit_unavailable;
  }

  const gpu_facts& facts = on->facts();
  const rate_ceilings rates = options.ceilings ? on->ceilings() : rate_ceilings{};
  nlohmann::ordered_json file = json_head(facts, rates, options.how.repeats);
  if (!options.json) {
    fmt::print("{}, {} SMs, driver for CUDA {}, toolkit {}, {} kernels, medians of {} replays\n", facts.device,
               facts.multiprocessors, cuda_version(facts.driver), cuda_version(facts.toolkit), facts.catalogue.size(),
               options.how.repeats);
    fmt::print("copy {:.0f} GB/s (read + written), read {:.0f} GB/s, BF16 product {:.0f} TFLOP/s ({})\n",
               rates.copy_gbps, rates.read_gbps, rates.gemm_tflops,
               rates.gemm_source.empty() ? "not measured" : rates.gemm_source);
    fmt::print("{:<13}{:>7}{:>5}{:>10}{:>10}{:>10}{}{:>10}{:>7}{:>10}{:>7}{:>10}{:<7}  {}\n", "model", "tokens", "act",
               "gate_up", "down", "sum us", options.how.joint ? "     joint" : "", "floor us", "ratio", "anchor us",
               "ratio", "spread", "", "tiles of both");
  }
  progress steps(options.json);
  std::vector<double> regret;
  int faults = 0;
  for (const model_shape& shape : shapes) {
    on->take(shape, *std::max_element(options.layers.tokens.begin(), options.layers.tokens.end()));
    for (const std::int64_t tokens : options.layers.tokens) {
      steps.step(fmt::format("{}, {} tokens", shape.name, tokens));
      const anchor_row* const other = find_anchor(anchor, shape.name, tokens);
      const layer_times row = on->measure(tokens, other != nullptr ? other->active_experts : 0, options.how);
      steps.finish();
      faults += faults_of(row);
      for (const matmul_times& part : row.parts)
        if (const tile_time* best = part.best()) regret.push_back(part.time_of_choice() / best->time.median);
      if (!options.json) print_row(row, rates, other, options.how.joint);
      file["rows"].push_back(json_of(row, rates, other));
      if (!options.out.empty() && !write_file(options.out, file.dump(1, ' ') + "\n")) return exit_bad_input;
    }
  }
  if (!options.json) {
    if (!regret.empty()) {
      double logs = 0;
      for (const double ratio : regret) logs += std::log(ratio);
      fmt::print("choice over best: {:.3f} geometric mean, {:.2f} worst, {} matmuls\n",
                 std::exp(logs / static_cast<double>(regret.size())), *std::max_element(regret.begin(), regret.end()),
                 regret.size());
    }
    fmt::print("{} rows, {} faults\n", file["rows"].size(), faults);
  }
  return finish(options, file, faults);
}

}  // namespace

void add_sweep(CLI::App& app, int& exit_code) {
  const auto options = std::make_shared<options_of_sweep>();
  CLI::App* sweep = app.add_subcommand(
      "sweep", "Time the matmuls of expert layers on the GPU at hand, over token counts; or draw an earlier sweep");
  options->layers.models = {"gpt-oss-20b", "gpt-oss-120b"};
  add_layer_options(*sweep, options->layers);
  sweep->add_option("--kernels", options->kernels, "those for the device, or the generic ones within an SM120's memory")
      ->check(CLI::IsMember({"device", "generic"}))
      ->capture_default_str();
  sweep->add_option("--anchor", options->anchor, "JSON file of another implementation's times")->type_name("FILE");
  sweep->add_flag("--joint", options->how.joint, "also both matmuls in one graph");
  sweep->add_flag("--all-tiles", options->how.all_tiles, "every kernel beside the engine's choice");
  sweep->add_option("--splits", options->how.splits, "splits along K that --all-tiles tries")
      ->delimiter(',')
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  sweep->add_option("--entry", options->how.entry, "this kernel instead of the engine's choice")
      ->check(CLI::Range(0, 1000));
  sweep->add_option("--repeats", options->how.repeats, "replays")->check(CLI::Range(3, 10000))->capture_default_str();
  sweep->add_flag("!--no-ceilings", options->ceilings, "do not measure the device's rates: no floor");
  sweep->add_option("--out", options->out, "JSON file, written again after each row")->type_name("FILE");
  sweep->add_option("--plot", options->plot, "SVG picture")->type_name("FILE");
  CLI::Option* const from =
      sweep->add_option("--from", options->from, "draw this earlier --out or --json instead of measuring");
  from->type_name("FILE");
  sweep->add_flag("--json", options->json, "JSON on standard output");
  sweep->callback(
      [options, from, &exit_code] { exit_code = from->count() > 0 ? draw_again(*options) : run_sweep(*options); });
}

}  // namespace tilefit::inline v0::bench
