// tilefit-bench run: one GPT-OSS MoE layer from routing to output, with the tiles that the engine chooses.
#include <fmt/format.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include <tilefit/explain.hpp>
#include <tilefit/host/moe_mlp.hpp>

#include "commands.hpp"
#include "host_ceilings.hpp"
#include "moe_layer.hpp"

namespace tilefit::inline v0::bench {
namespace {

struct run_options {
  std::string layer;
  std::string prefix;
  std::string arch = "sm_120";
  std::string backend = "host";
  std::string activations = "bf16";
  std::int64_t tokens = -1;
  std::uint64_t seed = 1;
  int threads = 0;
  int repeats = 5;
  bool ceilings = false;
  bool json = false;
};

/// Physical memory, less a quarter for everything else.
std::size_t memory_bytes() {
  return static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) / 4 * 3 * static_cast<std::size_t>(sysconf(_SC_PAGE_SIZE));
}

/// The two matmuls of a layer as the engine sees them.
struct layer_problems {
  matmul_problem gate_up;
  matmul_problem down;
};

layer_problems problems_of(const model_shape& shape, std::int64_t tokens, dtype x) {
  const std::int64_t rows = tokens * shape.topk;
  layer_problems both;
  both.gate_up = {.m = rows,
                  .n = 2 * shape.intermediate,
                  .k = shape.hidden,
                  .experts = shape.experts,
                  .topk = shape.topk,
                  .formats = {.x = x, .y = x, .act = activation::swiglu, .gather = true, .bias = true}};
  both.down = {.m = rows,
               .n = shape.hidden,
               .k = shape.intermediate,
               .experts = shape.experts,
               .topk = shape.topk,
               .formats = {.x = x, .y = x, .scatter = true, .bias = true}};
  return both;
}

// --- the table of all architectures
// -----------------------------------------------------------------------------------

/// gpt-oss-20b's gate_up at the token counts between which Triton's wish outgrows 101,376 B.
int print_all_architectures(const run_options& options) {
  nlohmann::json rows = nlohmann::json::array();
  if (!options.json)
    fmt::print(
        "gpt-oss-20b gate_up, BF16 x MXFP4. Left: what Triton 3.4.0's matmul_ogs wishes for (without TMA) and the "
        "tile\n"
        "that takes its place where that does not fit. Right: the tile of tilefit's own kernels.\n\n"
        "{:<17}{:>6}  {:<15}{:>9}{:>9}  {:<15}{:>6}  {:<12}| {:<15}{:>6}{:>9}\n",
        "architecture", "tokens", "wished-for tile", "needs B", "budget B", "chosen tile", "stages", "status",
        "own tile", "stages", "needs B");
  for (const arch_traits& arch : arch_table)
    for (const std::int64_t tokens : {std::int64_t{519}, std::int64_t{520}}) {
      const matmul_problem problem = problems_of(models[0], tokens, dtype::bf16).gate_up;
      const triton_ogs_policy upstream{.release = triton_release::v3_4_0};
      const selection triton = make_opt_flags(arch, problem, {}, upstream);
      const selection own = make_opt_flags(arch, problem);
      if (options.json) {
        const auto entry = [&](const auto& policy) {
          return nlohmann::json::parse(explain(arch, problem, {}, policy).json());
        };
        rows.push_back(
            {{"arch", arch.name}, {"tokens", tokens}, {"triton", entry(upstream)}, {"own", entry(ogs_policy{})}});
        continue;
      }
      const auto tile = [](const opt_flags& flags) { return flags.block_m > 0 ? detail::tile_words(flags) : "-"; };
      fmt::print("{:<17}{:>6}  {:<15}{:>9}{:>9}  {:<15}{:>6}  {:<12}| {:<15}{:>6}{:>9}\n", arch.name, tokens,
                 tile(triton.wished), detail::grouped(triton.wished_bytes), detail::grouped(triton.budget_bytes),
                 tile(triton.flags), triton.flags.num_stages, name_of(triton.status), tile(own.flags),
                 own.flags.num_stages, detail::grouped(own.need_bytes()));
    }
  if (options.json) print_json({{"rows", rows}});
  return exit_ok;
}

// --- one layer
// --------------------------------------------------------------------------------------------------------

double norm_of_difference(std::span<const float> y, std::span<const double> reference, double& norm) {
  double difference = 0.0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    const double delta = static_cast<double>(y[i]) - reference[i];
    difference += delta * delta;
    norm += reference[i] * reference[i];
  }
  return difference;
}

struct outcome {
  double seconds = 0.0;  ///< median
  double slowest_seconds = 0.0;
  double relative_error = 0.0;  ///< ||y - reference|| / ||reference||
  std::int64_t compared_rows = 0;
  std::string reference;
  std::optional<bool> same_experts;
};

/// Rows of the layer against the file's own output, or against the float64 reference for a few of them.
void compare(const moe_layer_data& data, std::span<const float> y, std::span<const std::int32_t> experts,
             std::span<const float> weights, outcome& out) {
  const auto width = static_cast<std::size_t>(data.hidden);
  double difference = 0.0, norm = 0.0;
  if (!data.expected_output.empty()) {
    out.reference = "the output in the file";
    out.compared_rows = data.tokens;
    const std::vector<double> expected(data.expected_output.begin(), data.expected_output.end());
    difference = norm_of_difference(y, expected, norm);
    out.same_experts =
        std::equal(experts.begin(), experts.end(), data.expected_index.begin(), data.expected_index.end());
  } else {
    out.reference = "float64 arithmetic";
    constexpr std::int64_t most_rows = 3;  // about a second of one core each at gpt-oss-20b's size
    out.compared_rows = std::min(data.tokens, most_rows);
    for (std::int64_t i = 0; i < out.compared_rows; ++i) {
      const std::int64_t token = i * (data.tokens - 1) / std::max<std::int64_t>(out.compared_rows - 1, 1);
      const auto first = static_cast<std::size_t>(token * data.topk);
      const std::vector<double> row =
          reference_row(data, token, experts.subspan(first, static_cast<std::size_t>(data.topk)),
                        weights.subspan(first, static_cast<std::size_t>(data.topk)));
      difference += norm_of_difference(y.subspan(static_cast<std::size_t>(token) * width, width), row, norm);
    }
  }
  out.relative_error = norm > 0.0 ? std::sqrt(difference / norm) : std::numeric_limits<double>::quiet_NaN();
}

void print_ceilings(const host_ceilings& ceilings, const moe_layer_data& data, std::span<const std::int32_t> experts,
                    double seconds, nlohmann::json& json, bool as_json) {
  std::vector<bool> active(static_cast<std::size_t>(data.experts));
  for (const std::int32_t expert : experts) active[static_cast<std::size_t>(expert)] = true;
  const auto used = static_cast<double>(std::count(active.begin(), active.end(), true));
  const auto elements = static_cast<double>(3 * data.hidden * data.intermediate);
  const double gmacs = static_cast<double>(data.tokens * data.topk) * elements / seconds / 1e9;
  const double gbps = used * elements * (0.5 + 1.0 / 32.0) / seconds / 1e9;
  json["ceilings"] = {{"gmacs", ceilings.gmacs}, {"read_gbps", ceilings.read_gbps}};
  json["reached"] = {{"gmacs", gmacs}, {"read_gbps", gbps}};
  if (as_json) return;
  fmt::print(
      "rates     {:.1f} of {:.1f} GFMA/s (registers only) = {:.0f} %, weights at {:.1f} of {:.1f} GB/s (plain reads) = "
      "{:.0f} %\n",
      gmacs, ceilings.gmacs, 100.0 * gmacs / ceilings.gmacs, gbps, ceilings.read_gbps,
      100.0 * gbps / ceilings.read_gbps);
}

int run_layer(const run_options& options) {
  const std::optional<arch_traits> arch = read_arch(options.arch);
  if (!arch) return exit_bad_input;
  const std::optional<opt_flags_constraints> constraints = read_constraints(arch->id);
  if (!constraints) return exit_bad_input;

  progress steps(options.json);
  steps.step(options.layer.empty() ? "making a layer of gpt-oss-20b's size" : "reading " + options.layer);
  result<moe_layer_data> made =
      options.layer.empty() ? make_layer(models[0], options.tokens < 0 ? 64 : options.tokens, options.seed)
                            : load_layer({.path = options.layer,
                                          .prefix = options.prefix,
                                          .tokens = options.tokens < 0 ? std::nullopt : std::optional(options.tokens),
                                          .seed = options.seed});
  if (!made) return bad_input(made.error());
  const moe_layer_data& data = *made;

  steps.step("routing");
  const auto elements = static_cast<std::size_t>(data.tokens * data.hidden);
  const auto pairs = static_cast<std::size_t>(data.tokens * data.topk);
  std::vector<float> x_wide(elements), logits(static_cast<std::size_t>(data.tokens * data.experts));
  for (std::size_t i = 0; i < elements; ++i) x_wide[i] = bf16_to_float(data.x[i]);
  std::vector<std::int32_t> expert_index(pairs);
  std::vector<float> expert_weight(pairs);
  if (data.tokens > 0) {
    status_code routed = host::router_logits(x_wide, data.router_weight, data.router_bias, data.hidden, logits);
    if (routed == status_code::ok)
      routed = choose_experts<float>({data.tokens, data.experts, data.topk}, logits, expert_index, expert_weight);
    if (routed != status_code::ok) return bad_input(fmt::format("routing answers {}", name_of(routed)));
  }
  std::vector<std::int32_t> histogram(static_cast<std::size_t>(data.experts));
  for (const std::int32_t expert : expert_index) ++histogram[static_cast<std::size_t>(expert)];

  // The kernels of the engine's policy take 16-bit X; fp32 mode only changes what the CPU computes with.
  layer_problems problems =
      problems_of({"", data.experts, data.topk, data.hidden, data.intermediate}, data.tokens, dtype::bf16);
  problems.gate_up.rows = problems.down.rows = row_distribution::counted(histogram);
  const explanation gate_up = explain(*arch, problems.gate_up, *constraints);
  const explanation down = explain(*arch, problems.down, *constraints);
  for (const explanation* each : {&gate_up, &down})
    if (!each->choice.ok()) return bad_input(reason(each->choice));

  nlohmann::json json = {
      {"layer", options.layer.empty() ? "gpt-oss-20b, made" : options.layer},
      {"arch", arch->name},
      {"host", host_name()},
      {"backend", options.backend},
      {"activations", options.activations},
      {"tokens", data.tokens},
      {"seed", options.seed},
      {"matmuls", {{"gate_up", nlohmann::json::parse(gate_up.json())}, {"down", nlohmann::json::parse(down.json())}}}};
  if (!options.json) fmt::print("{}\n{}\n", gate_up.text(wants_colour()), down.text(wants_colour()));
  if (data.tokens == 0) {
    json["seconds"] = 0.0;
    json["relative_error"] = 0.0;
    if (options.json)
      print_json(json);
    else
      fmt::print("no tokens: nothing to compute\n");
    return exit_ok;
  }

  const bool fp32 = options.activations == "fp32";
  const x_operand x{.data = fp32 ? static_cast<const void*>(x_wide.data()) : data.x.data(),
                    .type = fp32 ? dtype::fp32 : dtype::bf16,
                    .rows = data.tokens,
                    .row_stride = data.hidden};
  std::vector<float> y(elements, std::numeric_limits<float>::quiet_NaN());  // what is not written shows
  const host::moe_layer layer = host_layer(data, x, y.data());
  const host::moe_flags flags{gate_up.choice.flags, down.choice.flags};
  const host::execution how{.thread_count = options.threads};
  const std::size_t workspace_bytes = host::workspace_bytes(layer, flags, how);
  if (workspace_bytes > memory_bytes())
    return bad_input(fmt::format("{} tokens need a workspace of {} B and this machine has {} B", data.tokens,
                                 detail::grouped(static_cast<std::int64_t>(workspace_bytes)),
                                 detail::grouped(static_cast<std::int64_t>(memory_bytes()))));
  std::vector<std::byte> workspace(workspace_bytes);
  const host::moe_buffers buffers{.logits = logits,
                                  .expert_index = expert_index,
                                  .expert_weight = expert_weight,
                                  .workspace = workspace.data(),
                                  .workspace_bytes = workspace.size()};
  std::vector<double> seconds;
  for (int i = 0; i <= options.repeats; ++i) {  // the first one warms up
    steps.step(i == 0 ? "computing, warm-up" : fmt::format("computing, {} of {}", i, options.repeats));
    const auto start = std::chrono::steady_clock::now();
    const status_code status = host::moe_mlp(layer, flags, buffers, how);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    if (status != status_code::ok) return bad_input(fmt::format("the layer answers {}", name_of(status)));
    if (i > 0) seconds.push_back(took.count());
  }
  std::sort(seconds.begin(), seconds.end());
  outcome out{
      .seconds = seconds[seconds.size() / 2], .slowest_seconds = seconds.back(), .reference = {}, .same_experts = {}};
  steps.step("comparing");
  compare(data, y, expert_index, expert_weight, out);
  host_ceilings ceilings;
  if (options.ceilings) {
    steps.step("measuring this machine");
    ceilings = measure_host_ceilings({.threads = options.threads});
  }
  steps.finish();
  // Bounds of a correct layer: rounding of bf16 activations, of fp32 sums.
  const double bound = fp32 ? 1e-5 : 4e-3;
  const bool right = out.relative_error <= bound && out.same_experts.value_or(true);
  json["seconds"] = out.seconds;
  json["slowest_seconds"] = out.slowest_seconds;
  json["repeats"] = options.repeats;
  json["relative_error"] = out.relative_error;
  json["error_bound"] = bound;
  json["compared_rows"] = out.compared_rows;
  json["reference"] = out.reference;
  if (out.same_experts) json["same_experts"] = *out.same_experts;
  if (!options.json) {
    fmt::print("layer     {} tokens, hidden {}, intermediate {}, {} experts, top-{}, {} activations\n", data.tokens,
               data.hidden, data.intermediate, data.experts, data.topk, options.activations);
    if (out.same_experts)
      fmt::print("routing   {}\n",
                 *out.same_experts ? "the same experts as in the file" : "OTHER experts than in the file");
    fmt::print("time      {:.3f} ms on this CPU, median of {} (slowest {:.3f} ms)\n", 1e3 * out.seconds,
               options.repeats, 1e3 * out.slowest_seconds);
    fmt::print("error     {:.2e} relative to {}, over {} rows; at most {:.0e} is right: {}\n", out.relative_error,
               out.reference, out.compared_rows, bound, right ? "yes" : "NO");
  }
  if (options.ceilings) print_ceilings(ceilings, data, expert_index, out.seconds, json, options.json);
  if (options.json) print_json(json);
  return right ? exit_ok : exit_failed;
}

}  // namespace

void add_run(CLI::App& app, int& exit_code) {
  const auto options = std::make_shared<run_options>();
  CLI::App* run = app.add_subcommand("run", "Compute an MoE layer with the tiles the engine chooses, and check it");
  run->add_option("--layer", options->layer, "safetensors file with a GPT-OSS MoE layer; without it one is made")
      ->type_name("FILE");
  run->add_option("--prefix", options->prefix, "take this layer of a checkpoint, as in model.layers.0.mlp.")
      ->needs("--layer");
  run->add_option("--arch", options->arch, "architecture to choose tiles for; 'all' prints a table of them")
      ->capture_default_str();
  run->add_option("--tokens", options->tokens, "rows of X to take or to make (64)")->check(CLI::Range(0, 1 << 16));
  run->add_option("--backend", options->backend, "where to compute")
      ->check(CLI::IsMember({"host"}))
      ->capture_default_str();
  run->add_option("--activations", options->activations, "format of X and between the matmuls")
      ->check(CLI::IsMember({"bf16", "fp32"}))
      ->capture_default_str();
  run->add_option("--seed", options->seed, "of what is made")
      ->check(CLI::Range(std::int64_t{0}, std::numeric_limits<std::int64_t>::max()))
      ->capture_default_str();
  run->add_option("--threads", options->threads, "0 = one per hardware thread")
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  run->add_option("--repeats", options->repeats, "timed runs")->check(CLI::Range(1, 10000))->capture_default_str();
  run->add_flag("--ceilings", options->ceilings, "also measure what this machine can do at best");
  run->add_flag("--json", options->json, "one JSON object on standard output");
  run->callback([options, run, &exit_code] {
    const bool all = options->arch == "all";
    if (all && run->count_all() > 2 + (options->json ? 1u : 0u))
      exit_code = bad_input("--arch all prints a table of fixed problems; only --json goes with it");
    else if (run->count("--layer") > 0 && options->layer.empty())
      exit_code = bad_input("--layer needs the name of a file");
    else
      exit_code = all ? print_all_architectures(*options) : run_layer(*options);
  });
}

}  // namespace tilefit::inline v0::bench
