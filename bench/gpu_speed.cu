// How fast the two matmuls of a GPT-OSS expert layer are on the GPU at hand, next to the floor that its measured
// memory and matrix rates set, and to recorded times of another implementation.
// Knows: the protocol (each matmul in a CUDA graph, the L2 emptied before each replay, medians), models, tables.
// Must not know: how tiles are chosen; whether results are right (the tests do), beyond a check that they are there.
//
// nvcc -std=c++20 -O3 -gencode arch=compute_90a,code=sm_90a -I include -I bench -o gpu_speed bench/gpu_speed.cu
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "gpu_matmul_timer.cuh"

namespace tilefit_gpu {
namespace {

struct speed_options {
  std::string model;  ///< "" = both of GPT-OSS
  std::vector<std::int64_t> tokens;
  bool sweep = false;
  bool generic = false;
  bool joint = false;
  bool ceilings = true;
  int entry = -1;
  int repeats = 30;
  std::vector<int> splits = {1, 2, 4, 8};
  double gemm_tflops = 0;
  double read_gbps = 0;
  std::string anchor, json;
};

// --- recorded times -------------------------------------------------------------------------------------------------

struct anchor_row {
  std::string model;
  int experts = 0;
  std::int64_t tokens = 0;
  int active = 0;
  double gate_up_us = 0, down_us = 0;
};

/// The number behind `key` in a JSON text, or 0.
double number_in(const std::string& text, const std::string& key) {
  const std::size_t at = text.find(bench::json_quoted(key));
  const std::size_t colon = at == std::string::npos ? at : text.find(':', at);
  return colon == std::string::npos ? 0 : std::atof(text.c_str() + colon + 1);
}

/// Rows ["model", experts, tokens, active experts, gate_up us, down us, ...] of a JSON file, wherever they stand in it.
std::vector<anchor_row> read_anchor(const std::string& text) {
  std::vector<anchor_row> rows;
  for (std::size_t at = text.find('['); at != std::string::npos; at = text.find('[', at + 1)) {
    char model[64] = {};
    long tokens = 0;
    anchor_row row;
    if (std::sscanf(text.c_str() + at, "[ \"%63[^\"]\" , %d , %ld , %d , %lf , %lf", model, &row.experts, &tokens,
                    &row.active, &row.gate_up_us, &row.down_us) != 6)
      continue;
    row.model = model;
    row.tokens = tokens;
    rows.push_back(row);
  }
  return rows;
}

// --- one row --------------------------------------------------------------------------------------------------------

/// Everything that is run for one matmul of a row.
struct matmul_row {
  measurement choice;
  std::vector<measurement> all;  ///< with --sweep
  /// The fastest, the choice included, of those that were timed in full; null without --sweep.
  const measurement* best() const {
    if (all.empty() || !choice.fault.empty()) return nullptr;
    const measurement* found = &choice;
    for (const measurement& each : all)
      if (each.fault.empty() && each.confirmed && each.time.median < found->time.median) found = &each;
    return found;
  }
  double time_of_choice() const;
};

/// Microseconds of the chosen flags, measured in the sweep like those they are compared with: what the device does
/// meanwhile changes them. Before the sweep where they are not part of it.
double matmul_row::time_of_choice() const {
  for (const measurement& each : all)
    if (each.fault.empty() && each.confirmed && each.flags == choice.flags) return each.time.median;
  return choice.time.median;
}

bool same_tile(const opt_flags& a, opt_flags b) {
  b.split_k = a.split_k;
  b.num_stages = a.num_stages;
  b.group_m = a.group_m;
  b.idle_sms = a.idle_sms;
  b.w_cache = a.w_cache;
  return a == b;
}

/// The engine's choice, or the entry asked for.
opt_flags choose_flags(const speed_options& options, const std::vector<opt_flags>& catalogue, const matmul_args& args) {
  if (options.entry >= 0 && options.entry < static_cast<int>(catalogue.size()))
    return catalogue[static_cast<std::size_t>(options.entry)];
  return ogs::choose(args).flags;
}

/// Every entry with every split, quickly; then the fastest few again, as long as the choice, because the fastest of
/// many short measurements is partly luck.
void sweep(matmul_timer& on, const speed_options& options, const std::vector<opt_flags>& catalogue, layer& model,
           int which, matmul_row& row) {
  const bool compare = row.choice.fault.empty();
  model.keep_y(which);
  double best = compare ? row.choice.time.median : 1e9;
  std::vector<opt_flags> done;
  for (std::size_t e = 0; e < catalogue.size(); ++e) {
    std::vector<int> splits = {catalogue[e].split_k};
    splits.insert(splits.end(), options.splits.begin(), options.splits.end());
    for (const int split : splits) {
      opt_flags candidate = catalogue[e];
      candidate.split_k = split;
      if (std::find(done.begin(), done.end(), candidate) != done.end()) continue;
      done.push_back(candidate);
      measurement found = on.measure(model, which, candidate, 9, 1.5 * best, compare);
      if (found.fault == "refused") continue;
      found.entry = static_cast<int>(e);
      if (found.fault.empty())
        best = std::min(best, found.time.median);
      else
        std::printf("  FAULT entry %zu %s: %s\n", e, text_of(candidate).c_str(), found.fault.c_str());
      row.all.push_back(std::move(found));
    }
  }
  std::vector<measurement*> order;
  for (measurement& each : row.all)
    if (each.fault.empty()) order.push_back(&each);
  std::sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->time.median < b->time.median; });
  constexpr std::size_t confirmed = 4;
  for (std::size_t i = 0; i < std::min(confirmed, order.size()); ++i) {
    const measurement again = on.measure(model, which, order[i]->flags, options.repeats, 0, false);
    if (!again.fault.empty()) continue;
    order[i]->time = again.time;
    order[i]->confirmed = true;
  }
}

matmul_row run_matmul(matmul_timer& on, const speed_options& options, const std::vector<opt_flags>& catalogue,
                      layer& model, int which) {
  matmul_row row;
  const opt_flags flags = choose_flags(options, catalogue, model.args(which));
  row.choice = on.measure(model, which, flags, options.repeats, 0, false);
  row.choice.chosen = true;
  for (std::size_t e = 0; e < catalogue.size(); ++e)
    if (same_tile(flags, catalogue[e])) row.choice.entry = static_cast<int>(e);
  if (row.choice.fault.empty()) row.choice.launch_host_us = on.host_time_of_launch(model, which, flags);
  if (options.sweep) {
    sweep(on, options, catalogue, model, which, row);
    // The other matmul reads the choice's result again.
    static_cast<void>(on.measure(model, which, flags, 3, 0, false));
  }
  return row;
}

// --- output ---------------------------------------------------------------------------------------------------------

std::string date_now() {
  const std::time_t now = std::time(nullptr);
  char text[32] = {};
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  return text;
}

std::string json_of(const matmul_row& row) {
  json_object out;
  out.raw("choice", json_of(row.choice));
  if (const measurement* best = row.best()) out.raw("best", json_of(*best));
  std::vector<std::string> all;
  for (const measurement& each : row.all) all.push_back(json_of(each));
  if (!all.empty()) out.raw("sweep", bench::json_array(all));
  return out.text();
}

void write_json(const std::string& path, const std::string& head, const gpu_ceilings& rates,
                const std::vector<std::string>& rows) {
  if (path.empty()) return;
  std::ofstream file(path);
  json_object ceilings;
  ceilings.add("copy_GBps_read_plus_write", rates.copy_gbps)
      .add("read_GBps", rates.read_gbps)
      .add("bf16_gemm_TFLOPs", rates.gemm_tflops)
      .add("bf16_gemm_source", rates.gemm_source);
  file << "{\"machine\": " << head << ",\n\"ceilings\": " << ceilings.text()
       << ",\n\"rows\": " << bench::json_array(rows, true) << "}\n";
}

void print_head(bool joint, bool sweep) {
  std::printf("%-13s %6s %4s %9s %9s %9s%s %9s %6s %9s %7s  %s\n", "model", "tokens", "act", "gate_up", "down",
              "sum us", joint ? "     joint" : "", "floor us", "ratio", "anchor us", "to anch",
              sweep ? "" : "flags of both");
}

int run_speed(const speed_options& options) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("no CUDA device\n");
    return 77;
  }
  cudaDeviceProp device{};
  check(cudaGetDeviceProperties(&device, 0), "device");
  int driver = 0, runtime = 0;
  check(cudaDriverGetVersion(&driver), "driver");
  check(cudaRuntimeGetVersion(&runtime), "runtime");
  const std::string head =
      json_object()
          .add("device", device.name)
          .add("multiprocessors", device.multiProcessorCount)
          .add("driver", driver)
          .add("toolkit", runtime)
          .add("date", date_now())
          .add("catalogue", options.generic ? "generic" : "device")
          .add("protocol", "each matmul in a CUDA graph, L2 emptied before each replay, median of replays")
          .text();
  std::ifstream anchor_file(options.anchor);
  const std::string anchor_text{std::istreambuf_iterator<char>(anchor_file), {}};
  const std::vector<anchor_row> anchor = read_anchor(anchor_text);
  if (!options.anchor.empty() && anchor.empty()) std::printf("no rows in %s\n", options.anchor.c_str());

  matmul_timer on;
  ogs::generic = options.generic;
  const std::span<const opt_flags> known = ogs::catalogue();
  const std::vector<opt_flags> catalogue(known.begin(), known.end());
  std::printf("%s, driver %d, toolkit %d, %zu entries, %zu rows in the anchor\n", device.name, driver, runtime,
              catalogue.size(), anchor.size());
  gpu_ceilings rates;
  if (options.ceilings) {
    const std::size_t room = device.totalGlobalMem / 8;
    measure_bandwidth(on.main(), on.watch(), std::min(room, std::size_t{4} << 30) / 4096 * 4096, rates);
    if (options.gemm_tflops <= 0) measure_gemm(on.main(), on.watch(), 8192, rates);
  }
  if (options.gemm_tflops > 0) rates.gemm_tflops = options.gemm_tflops, rates.gemm_source = "given";
  if (options.read_gbps > 0) rates.read_gbps = options.read_gbps;
  if (rates.gemm_tflops <= 0) {
    rates.gemm_tflops = number_in(anchor_text, "bf16_gemm_8192_TFLOPs");
    if (rates.gemm_tflops > 0) rates.gemm_source = "the anchor's";
  }
  if (rates.read_gbps <= 0) rates.read_gbps = number_in(anchor_text, "read_GBps");
  std::printf("copy %.0f GB/s (read + written), read %.0f GB/s, bf16 product %.0f TFLOP/s (%s)\n", rates.copy_gbps,
              rates.read_gbps, rates.gemm_tflops, rates.gemm_source.empty() ? "unknown" : rates.gemm_source.c_str());
  std::fflush(stdout);

  std::vector<bench::model_shape> models;
  for (const bench::model_shape& each : bench::models)
    if (options.model.empty() ? each.name.starts_with("gpt-oss") : each.name == options.model) models.push_back(each);
  if (options.model == "tiny") models.push_back({"tiny", 8, 4, 320, 320});
  if (models.empty()) {
    std::printf("no model %s\n", options.model.c_str());
    return 2;
  }

  std::vector<std::string> rows;
  int faults = 0;
  std::vector<double> worse_than_best;
  print_head(options.joint, options.sweep);
  for (const bench::model_shape& model : models) {
    std::vector<std::int64_t> tokens = options.tokens;
    for (const anchor_row& row : anchor)
      if (options.tokens.empty() && row.model == model.name) tokens.push_back(row.tokens);
    if (tokens.empty()) tokens = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 519, 520, 1024, 2048, 4096, 8192};
    layer experts(on.main(), model, *std::max_element(tokens.begin(), tokens.end()));
    for (const std::int64_t count : tokens) {
      const anchor_row* other = nullptr;
      for (const anchor_row& row : anchor)
        if (row.model == model.name && row.tokens == count) other = &row;
      const int active = experts.route(count, other != nullptr ? other->active : 0);
      const matmul_row parts[2] = {run_matmul(on, options, catalogue, experts, 0),
                                   run_matmul(on, options, catalogue, experts, 1)};
      const double sum = parts[0].choice.time.median + parts[1].choice.time.median;
      const layer_floor least = floor_of(model, count, active);
      const double floor_us = least.microseconds(rates);
      time_summary joint;
      if (options.joint && parts[0].choice.fault.empty() && parts[1].choice.fault.empty())
        joint = on.measure_joint(experts, {parts[0].choice.flags, parts[1].choice.flags}, options.repeats);

      char joint_text[16] = "", other_text[32] = "        -       -";
      if (options.joint) std::snprintf(joint_text, sizeof joint_text, " %9.1f", joint.median);
      if (other != nullptr)
        std::snprintf(other_text, sizeof other_text, "%9.1f %6.2fx", other->gate_up_us + other->down_us,
                      sum / (other->gate_up_us + other->down_us));
      const std::string flags =
          options.sweep ? "" : text_of(parts[0].choice.flags) + " | " + text_of(parts[1].choice.flags);
      std::printf("%-13s %6lld %4d %9.1f %9.1f %9.1f%s %9.1f %5.2fx %s  %s\n", std::string(model.name).c_str(),
                  static_cast<long long>(count), active, parts[0].choice.time.median, parts[1].choice.time.median, sum,
                  joint_text, floor_us, sum / floor_us, other_text, flags.c_str());
      for (int which = 0; which < 2; ++which) {
        const measurement& choice = parts[which].choice;
        if (!choice.fault.empty()) {
          ++faults;
          std::printf("  FAULT %s: %s: %s\n", which == 0 ? "gate_up" : "down", text_of(choice.flags).c_str(),
                      choice.fault.c_str());
        }
        for (const measurement& each : parts[which].all) faults += each.fault.empty() ? 0 : 1;
        if (const measurement* best = parts[which].best()) {
          worse_than_best.push_back(parts[which].time_of_choice() / best->time.median);
          std::printf("  %-8s choice #%-3d %-32s %9.1f us   best #%-3d %-32s %9.1f us   %5.2fx\n",
                      which == 0 ? "gate_up" : "down", choice.entry, text_of(choice.flags).c_str(), choice.time.median,
                      best->entry, text_of(best->flags).c_str(), best->time.median, worse_than_best.back());
        }
      }
      std::fflush(stdout);
      json_object row;
      row.add("model", model.name).add("experts", model.experts).add("tokens", count).add("active_experts", active);
      row.raw("gate_up", json_of(parts[0])).raw("down", json_of(parts[1]));
      row.add("sum_us", sum).add("floor_us", floor_us).add("ratio_to_floor", sum / floor_us);
      row.add("bytes_gate_up", least.bytes[0]).add("bytes_down", least.bytes[1]);
      row.add("flops_gate_up", least.flops[0]).add("flops_down", least.flops[1]);
      if (options.joint) row.raw("joint", json_of(joint));
      if (other != nullptr)
        row.add("anchor_us", other->gate_up_us + other->down_us).add("anchor_active_experts", other->active);
      rows.push_back(row.text());
      write_json(options.json, head, rates, rows);
    }
  }
  if (!worse_than_best.empty()) {
    double logs = 0;
    for (const double ratio : worse_than_best) logs += std::log(ratio);
    std::printf("choice over best: %.3f geometric mean, %.2f worst, %zu matmuls\n",
                std::exp(logs / static_cast<double>(worse_than_best.size())),
                *std::max_element(worse_than_best.begin(), worse_than_best.end()), worse_than_best.size());
  }
  std::printf("%zu rows, %d faults\n", rows.size(), faults);
  return faults == 0 ? 0 : 1;
}

template <class T>
std::vector<T> numbers_of(const char* text) {
  std::vector<T> numbers;
  std::istringstream in(text);
  for (std::string word; std::getline(in, word, ',');) numbers.push_back(static_cast<T>(std::atoll(word.c_str())));
  return numbers;
}

constexpr const char* usage =
    "gpu_speed [--model NAME] [--rows TOKENS,TOKENS,...] [--anchor FILE] [--json FILE] [--joint]\n"
    "          [--sweep [--splits 1,2,4,8]] [--generic] [--entry INDEX] [--repeats N]\n"
    "          [--gemm-tflops X] [--read-gbps X] [--no-ceilings]\n"
    "  --model NAME   gpt-oss-20b, gpt-oss-120b (both without it), another of bench/models.hpp, or tiny\n"
    "  --rows LIST    tokens; without it those of the anchor, or 1 ... 8192\n"
    "  --anchor FILE  recorded times to compare with\n"
    "  --sweep        every entry of the catalogue, with these splits along K\n"
    "  --generic      the kernels that run on every chip since Ampere, in an SM120's shared memory\n"
    "  --entry INDEX  this entry of the catalogue instead of the engine's choice\n"
    "  --joint        also both matmuls in one graph\n";

}  // namespace
}  // namespace tilefit_gpu

int main(int argc, char** argv) {
  using namespace tilefit_gpu;
  speed_options options;
  bool understood = true;
  for (int i = 1; i < argc && understood; ++i) {
    const std::string_view word = argv[i];
    const bool more = i + 1 < argc;
    if (word == "--sweep")
      options.sweep = true;
    else if (word == "--generic")
      options.generic = true;
    else if (word == "--joint")
      options.joint = true;
    else if (word == "--no-ceilings")
      options.ceilings = false;
    else if (word == "--flags" && more && std::string_view(argv[i + 1]) == "auto")
      ++i;
    else if (word == "--model" && more)
      options.model = argv[++i];
    else if (word == "--rows" && more)
      options.tokens = numbers_of<std::int64_t>(argv[++i]);
    else if (word == "--splits" && more)
      options.splits = numbers_of<int>(argv[++i]);
    else if (word == "--entry" && more)
      options.entry = std::atoi(argv[++i]);
    else if (word == "--repeats" && more)
      options.repeats = std::max(3, std::atoi(argv[++i]));
    else if (word == "--gemm-tflops" && more)
      options.gemm_tflops = std::atof(argv[++i]);
    else if (word == "--read-gbps" && more)
      options.read_gbps = std::atof(argv[++i]);
    else if (word == "--anchor" && more)
      options.anchor = argv[++i];
    else if (word == "--json" && more)
      options.json = argv[++i];
    else
      understood = false;
  }
  if (!understood || std::any_of(options.tokens.begin(), options.tokens.end(), [](auto t) { return t < 1; })) {
    std::fputs(usage, stderr);
    return 2;
  }
  std::setvbuf(stdout, nullptr, _IOLBF, 1 << 14);
  try {
    return run_speed(options);
  } catch (const std::exception& failure) {
    std::printf("FAILED: %s\n", failure.what());
    std::fflush(stdout);
    std::_Exit(1);  // destructors would wait for a device that is lost
  }
}
