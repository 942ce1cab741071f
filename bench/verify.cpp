// tilefit-bench verify: every kernel that this program has for a device, on shapes with tails, skew, empty experts and
// absent rows, and on whole layers computed by somebody else, against float64. What it prints is meant to be sent back.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include <tilefit/explain.hpp>
#include <tilefit/host/moe_mlp.hpp>
#include <tilefit/routing.hpp>
#include <tilefit/weights.hpp>

#include "commands.hpp"
#include "device.hpp"
#include "host_call.hpp"
#include "moe_layer.hpp"

namespace tilefit::inline v0::bench {
namespace {

struct verify_options {
  std::string device = "auto";
  std::string golden = TILEFIT_GOLDEN_DIR;
  bool quick = false;
  bool json = false;
};

constexpr dtype formats[] = {dtype::bf16, dtype::fp16, dtype::fp8_e4m3, dtype::mxfp8, dtype::mxfp4};
constexpr const char* golden_files[] = {"moe_layer_h320_e8.safetensors", "moe_layer_h320_e8_skew.safetensors"};

/// Shapes for X of a format. Sizes are small: a float64 reference is computed on the CPU.
std::vector<call_spec> sweep(dtype x, bool quick) {
  using enum dtype;
  constexpr activation swiglu = activation::swiglu;
  std::vector<int> many(70, 0);
  for (std::size_t i = 0; i < many.size(); i += 3) many[i] = static_cast<int>(i % 4) + 1;
  std::vector<call_spec> all = {
      {.rows = {1}, .n = 32, .k = 32, .y = fp32, .bias = false},
      {.rows = {3, 10}, .n = 128, .k = 192, .act = swiglu, .gammas = true},
      {.rows = {1, 6}, .n = 96, .k = 320, .y = fp32, .scatter = true},
      {.rows = {5}, .n = 320, .k = 96, .y = fp16, .gammas = true},
      {.rows = {0, 0, 70, 1, 0, 2},
       .n = 64,
       .k = 128,
       .y = fp32,
       .gather = true,
       .scatter = true,
       .absent = true,
       .gammas = true},
      {.rows = {0, 0, 0, 5}, .n = 64, .k = 2880, .y = fp32, .act = swiglu},
      {.rows = {27, 13}, .n = 96, .k = 160, .gammas = true, .topk = 2},
      {.rows = {0, 0}, .n = 64, .k = 64},
      {.rows = {130, 0}, .n = 160, .k = 352, .gather = true, .scatter = true, .absent = true, .every_row = true},
      {.rows = {3}, .n = 2880, .k = 96},
      {.rows = {7, 20}, .n = 160, .k = 1056, .y = fp32, .act = swiglu, .bias = false, .accumulate = true},
      {.rows = many, .n = 64, .k = 128, .y = fp16, .gather = true, .absent = true},
      {.rows = {31, 33, 64, 65},
       .n = 288,
       .k = 416,
       .y = fp32,
       .scatter = true,
       .absent = true,
       .gammas = true,
       .topk = 1},
      {.rows = {200, 57, 0, 11}, .n = 512, .k = 640, .act = swiglu, .gather = true},
      {.rows = {40, 0, 24},
       .n = 320,
       .k = 320,
       .y = fp32,
       .scatter = true,
       .absent = true,
       .gammas = true,
       .accumulate = true,
       .topk = 4}};
  if (quick) all.resize(8);
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i].x = x;
    all[i].seed = i + 1;
  }
  return all;
}

std::string words_of(const call_spec& spec) {
  const std::vector<int>& rows = spec.rows;
  return fmt::format("{} rows of {} experts, n {}, k {}, {}{}{}{}{}", std::accumulate(rows.begin(), rows.end(), 0),
                     rows.size(), spec.n, spec.k, name_of(spec.y), spec.act == activation::swiglu ? ", swiglu" : "",
                     spec.absent ? ", absent rows" : "", spec.accumulate ? ", accumulated" : "",
                     spec.topk > 1 ? fmt::format(", sum of {}", spec.topk) : "");
}

/// What came of one tile's kernel for one format of X.
struct tally {
  dtype x = dtype::bf16;
  opt_flags flags;
  int cases = 0, refused = 0, failed = 0;
  double error = 0;  ///< of the case that comes nearest to its limit
  double limit = 1;
  std::vector<std::string> faults = {};  ///< the first ones

  bool right() const noexcept { return failed == 0 && cases > refused; }
  void note(const std::string& what, const std::string& fault) {
    ++failed;
    if (faults.size() < 3) faults.push_back(what + ": " + fault);
  }
};

/// A call's data on the device, for any number of runs.
class placed_call {
 public:
  placed_call(device& on, const host_call& call) : on_(on), call_(call), memory_(on), args_(call.args) {
    args_.x.data = memory_.copy(call.x.data);
    args_.x.block_scales = memory_.copy(call.x.scales);
    args_.x.scale = memory_.copy(call.x.scale);
    args_.bias = memory_.copy(call.bias);
    args_.gammas = memory_.copy(call.gammas);
    args_.expert_offsets = memory_.copy(call.offsets);
    args_.gather_indx = memory_.copy(call.gather);
    args_.scatter_indx = memory_.copy(call.scatter);
    args_.w = {.type = dtype::mxfp4, .layout = on.layout};
    if (on.layout == weight_layout::row_major) {
      args_.w.data = memory_.copy(std::vector<std::uint8_t>(call.w_values.begin(), call.w_values.end()));
      args_.w.block_scales = memory_.copy(std::vector<std::uint8_t>(call.w_scales.begin(), call.w_scales.end()));
    } else {
      const weight_shape shape{args_.experts, args_.n, args_.k};
      std::vector<std::uint8_t> packed(
          static_cast<std::size_t>(args_.experts * bytes_per_expert(on.layout, args_.n, args_.k)));
      if (shuffle_weights(on.layout, shape, {call.w_values.data(), call.w_scales.data()}, {packed.data(), nullptr}) !=
          status_code::ok)
        throw device_failure("shuffle_weights refuses the weights of a case", false);
      args_.w.data = memory_.copy(packed);
    }
    y_ = static_cast<std::uint8_t*>(memory_.take(call.y_bytes() + 2 * guard));
    args_.y.data = y_ + guard;
  }

  /// One run on fresh poison; Y afterwards in `y`. What went wrong, "" or "refused: ...".
  std::string run(const opt_flags& flags, std::vector<std::uint8_t>& y) {
    const cuda::launch_status possible = on_.can_launch(args_, flags);
    if (!succeeded(possible.code)) return "refused: " + text_of(possible);
    std::vector<std::uint8_t> whole(call_.y_bytes() + 2 * guard, poison);
    std::copy(call_.y_before.begin(), call_.y_before.end(), whole.begin() + guard);
    on_.upload(y_, whole.data(), whole.size());
    device_memory own(on_);
    matmul_args args = args_;
    args.workspace_bytes = on_.workspace_bytes(args, flags);
    if (args.workspace_bytes > 0) {
      args.workspace = own.take(args.workspace_bytes);
      const std::vector<std::uint8_t> full(args.workspace_bytes, poison);
      on_.upload(args.workspace, full.data(), full.size());
      const cuda::launch_status ready = on_.prepare_workspace(args.workspace, args.workspace_bytes);
      if (!succeeded(ready.code)) return "prepare_workspace answers " + text_of(ready);
    }
    const cuda::launch_status launched = on_.launch(args, flags);
    on_.wait();
    if (launched.code != (args.m == 0 ? status_code::empty : status_code::ok))
      return "launch answers " + text_of(launched);
    on_.download(whole.data(), y_, whole.size());
    const auto kept = [](auto first, auto last) {
      return std::all_of(first, last, [](std::uint8_t byte) { return byte == poison; });
    };
    y.assign(whole.begin() + guard, whole.end() - guard);
    return kept(whole.begin(), whole.begin() + guard) && kept(whole.end() - guard, whole.end())
               ? ""
               : "written before or behind Y";
  }

 private:
  static constexpr std::ptrdiff_t guard = 512;
  static constexpr std::uint8_t poison = 0xFF;  // NaN in every format, and an index out of range
  device& on_;
  const host_call& call_;
  device_memory memory_;
  matmul_args args_;
  std::uint8_t* y_ = nullptr;
};

/// Runs a placed call and counts it. True when Y can be gone on with.
bool count_run(tally& to, const std::string& what, placed_call& placed, const host_call& call, const opt_flags& flags,
               std::vector<std::uint8_t>& y) {
  ++to.cases;
  const std::string answer = placed.run(flags, y);
  if (answer.starts_with("refused")) {
    ++to.refused;
    return false;
  }
  if (!answer.empty()) {
    to.note(what, answer);
    return false;
  }
  const call_verdict verdict = call.judge(y);
  if (!(verdict.error / verdict.limit <= to.error / to.limit)) to.error = verdict.error, to.limit = verdict.limit;
  if (!verdict.fault.empty()) to.note(what, verdict.fault);
  return true;
}

/// A layer of tests/golden as two calls.
class golden_run {
 public:
  golden_run(const moe_layer_data& data, dtype x) : data_(data), x_(x) {
    std::vector<float> hidden(data.x.size());
    for (std::size_t i = 0; i < hidden.size(); ++i) hidden[i] = bf16_to_float(data.x[i]);
    const auto rows = static_cast<std::size_t>(data.tokens * data.topk),
               experts = static_cast<std::size_t>(data.experts);
    std::vector<float> logits(static_cast<std::size_t>(data.tokens) * experts), weight(rows);
    std::vector<std::int32_t> index(rows), map(experts), histogram(experts);
    std::iota(map.begin(), map.end(), 0);
    offsets_.resize(experts + 1);
    gather_.resize(rows);
    scatter_.resize(rows);
    gammas_.resize(rows);
    if (host::router_logits(hidden, data.router_weight, data.router_bias, data.hidden, logits) != status_code::ok ||
        choose_experts<float>({data.tokens, data.experts, data.topk}, logits, index, weight) != status_code::ok ||
        sort_rows({data.tokens, data.experts, data.topk}, index, weight, map,
                  {histogram, offsets_, gather_, scatter_, gammas_}) != status_code::ok)
      throw device_failure("routing refuses a golden layer", false);
    same_experts_ = index == data.expected_index;
    first_.x = code_rows(x, std::move(hidden), data.tokens, data.hidden, false);
    set(first_, data.gate_up_blocks, data.gate_up_scales, data.gate_up_bias, 2 * data.intermediate, data.hidden,
        data.tokens);
    first_.args.y = {.type = x == dtype::fp16 ? dtype::fp16 : dtype::bf16,
                     .rows = static_cast<std::int64_t>(rows),
                     .row_stride = data.intermediate};
    first_.args.act = activation::swiglu;
    first_.args.swiglu = data.swiglu;
    first_.gather = gather_;
    first_.finish(1);
  }

  void run(device& on, const opt_flags& flags, const std::string& what, tally& to) {
    std::vector<std::uint8_t> between, y;
    if (!same_experts_) to.note(what, "other experts than in the file");
    placed_call placed_first(on, first_);
    if (!count_run(to, what + ", gate_up", placed_first, first_, flags, between)) return;
    const std::int64_t rows = first_.args.m;
    std::vector<float> numbers(static_cast<std::size_t>(rows * data_.intermediate));
    for (std::size_t i = 0; i < numbers.size(); ++i)
      numbers[i] = static_cast<float>(load_number(first_.args.y.type, between.data(), static_cast<std::int64_t>(i)));
    host_call second;
    second.x = code_rows(x_, std::move(numbers), rows, data_.intermediate, false);
    set(second, data_.down_blocks, data_.down_scales, data_.down_bias, data_.hidden, data_.intermediate, rows);
    second.args.y = {.type = dtype::fp32, .rows = data_.tokens, .row_stride = data_.hidden};
    second.args.topk = data_.topk;
    second.scatter = scatter_;
    second.gammas = gammas_;
    second.finish(1);
    placed_call placed_second(on, second);
    if (!count_run(to, what + ", down", placed_second, second, flags, y) || bits_of(x_) != 16) return;
    // 16-bit X: the layer against what the file says it gives.
    double wrong = 0, norm = 0;
    for (std::size_t i = 0; i < data_.expected_output.size(); ++i) {
      const auto ref = static_cast<double>(data_.expected_output[i]);
      const double difference = load_number(dtype::fp32, y.data(), static_cast<std::int64_t>(i)) - ref;
      wrong += difference * difference;
      norm += ref * ref;
    }
    ++to.cases;
    constexpr double limit = 4e-3;
    const double error = std::sqrt(wrong / norm);
    if (!(error / limit <= to.error / to.limit)) to.error = error, to.limit = limit;
    if (!(error <= limit)) to.note(what, fmt::format("error {:.2e} against the file", error));
  }

 private:
  void set(host_call& call, std::span<const std::uint8_t> blocks, std::span<const std::uint8_t> scales,
           const std::vector<float>& bias, std::int64_t n, std::int64_t k, std::int64_t x_rows) const {
    call.args = {
        .m = data_.tokens * data_.topk,
        .n = n,
        .k = k,
        .experts = data_.experts,
        .x = {.type = x_, .rows = x_rows, .row_stride = call.x.stride, .block_scale_stride = call.x.scale_stride}};
    call.w_values = blocks;
    call.w_scales = scales;
    call.bias = bias;
    call.offsets = offsets_;
  }

  const moe_layer_data& data_;
  dtype x_;
  bool same_experts_ = false;
  std::vector<std::int32_t> offsets_, gather_, scatter_;
  std::vector<float> gammas_;
  host_call first_;
};

/// Flags to run a tile with: as the catalogue has it, and alone along K where it may share.
std::vector<opt_flags> ways_of(const opt_flags& tile) {
  std::vector<opt_flags> ways = {tile};
  if (tile.split_k > 1) {
    ways.push_back(tile);
    ways.back().split_k = 1;
  }
  return ways;
}

std::unique_ptr<device> open_device(const std::string& wanted, std::string& why) {
  std::unique_ptr<device> found;
  std::string cuda_why, hip_why;
  if (wanted == "cuda" || wanted == "auto") found = open_cuda_device(cuda_why);
  if (!found && (wanted == "hip" || wanted == "auto")) found = open_hip_device(hip_why);
  why = wanted == "cuda" ? cuda_why : wanted == "hip" ? hip_why : cuda_why + "; " + hip_why;
  if (!found && (wanted == "cpu" || wanted == "auto")) found = open_host_device();
  return found;
}

void run_all(device& on, const verify_options& options, const std::vector<moe_layer_data>& layers, progress& steps,
             std::vector<tally>& tallies) {
  for (const dtype x : formats) {
    const std::vector<opt_flags> tiles = on.tiles(x);
    if (tiles.empty()) continue;
    const std::size_t first = tallies.size();
    for (const opt_flags& flags : tiles) tallies.push_back({.x = x, .flags = flags});
    for (const call_spec& spec : sweep(x, options.quick)) {
      steps.step(fmt::format("{}: {}", name_of(x), words_of(spec)));
      const host_call call = make_call(spec);
      placed_call placed(on, call);
      std::vector<std::uint8_t> y;
      for (std::size_t i = 0; i < tiles.size(); ++i)
        for (const opt_flags& flags : ways_of(tiles[i]))
          count_run(tallies[first + i], words_of(spec), placed, call, flags, y);
    }
    for (std::size_t l = 0; l < layers.size(); ++l) {
      if (options.quick && l > 0) continue;
      steps.step(fmt::format("{}: {}", name_of(x), golden_files[l]));
      golden_run golden(layers[l], x);
      for (std::size_t i = 0; i < tiles.size(); ++i) golden.run(on, tiles[i], golden_files[l], tallies[first + i]);
    }
  }
}

int run_verify(const verify_options& options) {
  std::vector<moe_layer_data> layers;
  for (const char* const file : golden_files) {
    result<moe_layer_data> layer =
        load_layer({.path = options.golden + "/" + file, .prefix = "", .tokens = {}, .seed = 1});
    if (!layer) return bad_input(layer.error() + " (--golden names the folder of tests/golden)");
    layers.push_back(*std::move(layer));
  }
  std::string why;
  const std::unique_ptr<device> on = open_device(options.device, why);
  if (!on) {
    static_cast<void>(bad_input(why));
    return exit_unavailable;
  }
  if (on->kind == "cpu" && options.device == "auto")
    fmt::print(stderr, "tilefit-bench: {}: verifying the CPU backend\n", why);

  progress steps(options.json);
  std::vector<tally> tallies;
  std::string lost;
  try {
    run_all(*on, options, layers, steps, tallies);
  } catch (const device_failure& failure) {
    lost = failure.what();
  }
  steps.finish();

  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::array<char, 16> date{};
  std::strftime(date.data(), date.size(), "%Y-%m-%d", std::gmtime(&now));
  const std::string version =
      fmt::format("{}.{}.{}", TILEFIT_VERSION_MAJOR, TILEFIT_VERSION_MINOR, TILEFIT_VERSION_PATCH);
  const bool right = lost.empty() && !tallies.empty() &&
                     std::all_of(tallies.begin(), tallies.end(), [](const tally& t) { return t.right(); });
  nlohmann::json json = {{"device", on->name},   {"kind", on->kind},       {"arch", on->arch.name},
                         {"driver", on->driver}, {"toolkit", on->toolkit}, {"tilefit", version},
                         {"date", date.data()},  {"quick", options.quick}, {"right", right}};
  nlohmann::json& entries = json["entries"] = nlohmann::json::array();
  for (const tally& t : tallies)
    entries.push_back({{"x", name_of(t.x)},
                       {"tile", detail::tile_words(t.flags)},
                       {"cases", t.cases},
                       {"refused", t.refused},
                       {"failed", t.failed},
                       {"worst_relative_error", t.error},
                       {"its_limit", t.limit},
                       {"ok", t.right()},
                       {"faults", t.faults}});
  if (!lost.empty()) json["lost"] = lost;
  if (options.json) {
    print_json(json);
    return right ? exit_ok : exit_failed;
  }
  fmt::print(
      "device   {}{}\ndriver   {}\ntoolkit  {}\ntilefit  {}, {}{}\n\n{:<6} {:<16} {:>6} {:>6} {:>8} {:>12} {:>9}\n",
      on->name,
      on->arch.name.empty() ? ""
                            : fmt::format(", {}, {} {}", on->arch.name, on->arch.sm_count,
                                          on->arch.vendor == vendor_id::amd ? "CUs" : "SMs"),
      on->driver.empty() ? "none" : on->driver, on->toolkit, version, date.data(), options.quick ? ", --quick" : "",
      "X", "tile", "stages", "cases", "refused", "worst error", "of limit");
  for (const tally& t : tallies) {
    fmt::print("{:<6} {:<16} {:>6} {:>6} {:>8} {:>12.2e} {:>7.0f} %  {}\n", name_of(t.x), detail::tile_words(t.flags),
               t.flags.num_stages, t.cases, t.refused, t.error, 100 * t.error / t.limit, t.right() ? "ok" : "FAILED");
    for (const std::string& fault : t.faults) fmt::print("         {}\n", fault);
  }
  if (!lost.empty()) fmt::print("\nthe device was lost: {}\n", lost);
  if (tallies.empty()) fmt::print("\nthis program has no kernel for this device\n");
  fmt::print("\n{}\n", right ? "ok" : "FAILED");
  return right ? exit_ok : exit_failed;
}

}  // namespace

void add_verify(CLI::App& app, int& exit_code) {
  const auto options = std::make_shared<verify_options>();
  CLI::App* run = app.add_subcommand(
      "verify", "Run every kernel there is for a device against float64, and print a table to send back");
  run->add_option("--device", options->device, "auto: a CUDA device, else a HIP device, else the CPU backend")
      ->check(CLI::IsMember({"auto", "cuda", "hip", "cpu"}))
      ->capture_default_str();
  run->add_option("--golden", options->golden, "folder with the golden layers")
      ->type_name("DIR")
      ->capture_default_str();
  run->add_flag("--quick", options->quick, "fewer shapes, one layer");
  run->add_flag("--json", options->json, "one JSON object on standard output");
  run->footer(
      "Relative error: ||y - reference|| / ||reference||, the worst of a kernel's cases by the share of its limit.\n"
      "Exit codes: 0, 1 (a case is wrong or the device was lost), 2 (bad input), 77 (no such device here).");
  run->callback([options, &exit_code] { exit_code = run_verify(*options); });
}

}  // namespace tilefit::inline v0::bench
