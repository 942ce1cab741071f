// gpu_sweep.hpp on CUDA devices.
// Knows: the protocol (each matmul in a CUDA graph, the L2 emptied before each replay, medians).
// Must not know: how tiles are chosen; whether results are right (tilefit-bench verify says that), beyond a check that
// they are there and those of all tiles alike.
#include "gpu_sweep.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gpu_matmul_timer.cuh"

namespace tilefit_gpu {
namespace {

using bench::layer_times;
using bench::matmul_times;
using bench::sweep_options;
using bench::tile_time;

bool same_tile(const opt_flags& a, opt_flags b) {
  b.split_k = a.split_k;
  b.num_stages = a.num_stages;
  b.group_m = a.group_m;
  b.idle_sms = a.idle_sms;
  b.w_cache = a.w_cache;
  return a == b;
}

class cuda_sweeper final : public bench::gpu_sweeper {
 public:
  explicit cuda_sweeper(bool generic) {
    ogs::generic = generic;
    cudaDeviceProp device{};
    check(cudaGetDeviceProperties(&device, 0), "device");
    memory_bytes_ = device.totalGlobalMem;
    facts_.device = device.name;
    facts_.arch = std::string(cuda::current_device().arch.name);
    facts_.multiprocessors = device.multiProcessorCount;
    check(cudaDriverGetVersion(&facts_.driver), "driver");
    check(cudaRuntimeGetVersion(&facts_.toolkit), "runtime");
    facts_.generic = generic;
    const std::span<const opt_flags> known = ogs::catalogue();
    facts_.catalogue.assign(known.begin(), known.end());
  }

  const bench::gpu_facts& facts() const override { return facts_; }

  bench::rate_ceilings ceilings() override {
    bench::rate_ceilings rates;
    measure_bandwidth(on_.main(), on_.watch(), std::min(memory_bytes_ / 8, std::size_t{4} << 30) / 4096 * 4096, rates);
    measure_gemm(on_.main(), on_.watch(), 8192, rates);
    return rates;
  }

  void take(const bench::model_shape& model, std::int64_t most_tokens) override {
    layer_.reset();
    layer_.emplace(on_.main(), model, most_tokens);
  }

  layer_times measure(std::int64_t tokens, int active, const sweep_options& options) override {
    layer_times times{.model = layer_->model, .tokens = tokens};
    times.active_experts = layer_->route(tokens, active);
    count_work(times);
    for (int which = 0; which < 2; ++which) times.parts[which] = matmul(which, options);
    const tile_time &gate_up = times.parts[0].choice, &down = times.parts[1].choice;
    if (options.joint && gate_up.fault.empty() && down.fault.empty())
      times.joint = on_.measure_joint(*layer_, {gate_up.flags, down.flags}, options.repeats);
    return times;
  }

 private:
  matmul_times matmul(int which, const sweep_options& options) {
    matmul_times row;
    const bool given = options.entry >= 0 && options.entry < static_cast<int>(facts_.catalogue.size());
    const opt_flags flags =
        given ? facts_.catalogue[static_cast<std::size_t>(options.entry)] : ogs::choose(layer_->args(which)).flags;
    row.choice = on_.measure(*layer_, which, flags, options.repeats, 0, false);
    row.choice.chosen = true;
    for (std::size_t e = 0; e < facts_.catalogue.size(); ++e)
      if (same_tile(flags, facts_.catalogue[e])) row.choice.entry = static_cast<int>(e);
    if (row.choice.fault.empty()) row.choice.launch_host_us = on_.host_time_of_launch(*layer_, which, flags);
    if (options.all_tiles) {
      all_tiles(which, options, row);
      // The other matmul reads the choice's result again.
      static_cast<void>(on_.measure(*layer_, which, flags, 3, 0, false));
    }
    return row;
  }

  /// Every entry with every split, quickly; then the fastest few again, as long as the choice, because the fastest of
  /// many short measurements is partly luck.
  void all_tiles(int which, const sweep_options& options, matmul_times& row) {
    const bool compare = row.choice.fault.empty();
    layer_->keep_y(which);
    double best = compare ? row.choice.time.median : 1e9;
    std::vector<opt_flags> done;
    for (std::size_t e = 0; e < facts_.catalogue.size(); ++e) {
      std::vector<int> splits = {facts_.catalogue[e].split_k};
      splits.insert(splits.end(), options.splits.begin(), options.splits.end());
      for (const int split : splits) {
        opt_flags candidate = facts_.catalogue[e];
        candidate.split_k = split;
        if (std::find(done.begin(), done.end(), candidate) != done.end()) continue;
        done.push_back(candidate);
        tile_time found = on_.measure(*layer_, which, candidate, 9, 1.5 * best, compare);
        if (found.fault == "refused") continue;
        found.entry = static_cast<int>(e);
        if (found.fault.empty()) best = std::min(best, found.time.median);
        row.all.push_back(std::move(found));
      }
    }
    std::vector<tile_time*> order;
    for (tile_time& each : row.all)
      if (each.fault.empty()) order.push_back(&each);
    std::sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->time.median < b->time.median; });
    constexpr std::size_t in_full = 4;
    for (std::size_t i = 0; i < std::min(in_full, order.size()); ++i) {
      const tile_time again = on_.measure(*layer_, which, order[i]->flags, options.repeats, 0, false);
      if (!again.fault.empty()) continue;
      order[i]->time = again.time;
      order[i]->in_full = true;
    }
  }

  bench::gpu_facts facts_;
  std::size_t memory_bytes_ = 0;
  matmul_timer on_;
  std::optional<layer> layer_;
};

}  // namespace
}  // namespace tilefit_gpu

namespace tilefit::inline v0::bench {

std::unique_ptr<gpu_sweeper> open_gpu(bool generic, std::string& why_not) {
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error != cudaSuccess || devices == 0) {
    why_not = std::string("no CUDA device: ") + (error != cudaSuccess ? cudaGetErrorString(error) : "none is there");
    return nullptr;
  }
  const tilefit::cuda::device_facts device = tilefit::cuda::current_device();
  if (device.native_error != 0) {
    why_not = "the CUDA device cannot be used: " +
              std::string(cudaGetErrorString(static_cast<cudaError_t>(device.native_error)));
    return nullptr;
  }
  return std::make_unique<tilefit_gpu::cuda_sweeper>(generic);
}

}  // namespace tilefit::inline v0::bench
