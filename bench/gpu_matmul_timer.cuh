// Times matmuls of a layer: each in a CUDA graph, the L2 emptied before each replay, the result looked at afterwards.
// Knows: the launch interface, workspaces, graphs. Must not know: which flags are worth timing.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <vector>

#include "../tests/gpu/matmul_calls.cuh"
#include "gpu_layer.cuh"
#include "gpu_sweep.hpp"

namespace tilefit_gpu {

namespace cuda = tilefit::cuda;  // not the toolkit's ::cuda

using measurement = bench::tile_time;

class matmul_timer {
 public:
  matmul_timer() : watch_(stream_) {}
  ~matmul_timer() { static_cast<void>(cudaFree(workspace_)); }
  matmul_timer(const matmul_timer&) = delete;
  matmul_timer& operator=(const matmul_timer&) = delete;

  cudaStream_t main() const { return stream_; }
  stopwatch& watch() { return watch_; }

  /// A workspace for any of the calls: one for all, prepared when it is made.
  void lend_workspace(matmul_args& args, const opt_flags& flags) {
    const std::size_t bytes = ogs::workspace_bytes(args, flags);
    if (bytes > workspace_bytes_) {
      wait_for(stream_);
      check(cudaFree(workspace_), "workspace");
      workspace_bytes_ = bytes + bytes / 2;
      check(cudaMalloc(&workspace_, workspace_bytes_), "workspace");
      poison(stream_, workspace_, workspace_bytes_);
      const cuda::launch_status ready = cuda::prepare_workspace(workspace_, workspace_bytes_, stream_);
      if (ready.code != status_code::ok) throw gpu_failure("prepare_workspace refuses");
      wait_for(stream_);
    }
    args.workspace = bytes > 0 ? workspace_ : nullptr;
    args.workspace_bytes = bytes > 0 ? workspace_bytes_ : 0;
  }

  /// Times one matmul. With `give_up_us` > 0 it is dropped after a few replays that all took longer than that.
  /// What the runtime refuses is a fault of these flags; only a lost device is thrown on.
  measurement measure(layer& on, int which, const opt_flags& flags, int repeats, double give_up_us, bool compare) {
    measurement found;
    found.flags = flags;
    try {
      time_one(on, which, repeats, give_up_us, compare, found);
    } catch (const gpu_failure& failure) {
      found.fault = failure.what();
      if (is_lost(failure)) throw gpu_failure((which == 0 ? "gate_up: " : "down: ") + found.fault);
    }
    return found;
  }

  double host_time_of_launch(layer& on, int which, const opt_flags& flags) {
    matmul_args args = on.args(which);
    lend_workspace(args, flags);
    constexpr int launches = 20;
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < launches; ++i)
      if (ogs::launch(args, flags, stream_).code != status_code::ok) return 0;
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
    wait_for(stream_);
    return took.count() / launches;
  }

  /// Both matmuls in one graph.
  time_summary measure_joint(layer& on, const opt_flags (&flags)[2], int repeats) {
    matmul_args args[2] = {on.args(0), on.args(1)};
    for (int pass = 0; pass < 2; ++pass)  // the second time the workspace stays where it is
      for (int i = 0; i < 2; ++i) lend_workspace(args[i], flags[i]);
    bool right = true;
    const captured graph(stream_, [&] {
      for (int i = 0; i < 2; ++i) right = right && ogs::launch(args[i], flags[i], stream_).code == status_code::ok;
    });
    if (!right) return {};
    static_cast<void>(watch_.times(3, graph));
    return summarise(watch_.times(repeats, graph));
  }

 private:
  void time_one(layer& on, int which, int repeats, double give_up_us, bool compare, measurement& found) {
    matmul_args args = on.args(which);
    const cuda::launch_status possible = ogs::can_launch(args, found.flags);
    if (possible.code != status_code::ok) {
      found.fault = "refused";
      return;
    }
    lend_workspace(args, found.flags);
    on.poison_y(which);
    cuda::launch_status status = ogs::launch(args, found.flags, stream_);
    wait_for(stream_);
    check(cudaGetLastError(), "after a launch");
    const captured graph(stream_, [&] {
      if (status.code == status_code::ok) status = ogs::launch(args, found.flags, stream_);
    });
    if (status.code != status_code::ok) {
      found.fault =
          "launch answers " + std::string(name_of(status.code)) + ", CUDA error " + std::to_string(status.native_error);
      return;
    }
    std::vector<double> times = watch_.times(3, graph);  // also warms up
    const double quick = *std::min_element(times.begin(), times.end());
    if (give_up_us <= 0 || quick <= give_up_us) times = watch_.times(quick > 1000 ? (repeats + 1) / 2 : repeats, graph);
    found.in_full = give_up_us <= 0;
    found.time = summarise(times);
    const contents result = on.look(which, compare);
    found.sum_of_magnitudes = result.sum;
    if (result.not_written > 0)
      found.fault = std::to_string(result.not_written) + " elements are not written";
    else if (result.not_finite > 0 || !(result.sum > 0))
      found.fault = std::to_string(result.not_finite) + " elements are not finite, magnitudes sum up to " +
                    std::to_string(result.sum);
    else if (result.difference2 > 1e-4 * result.norm2)
      found.fault =
          "differs from the choice's result by " + std::to_string(std::sqrt(result.difference2 / result.norm2));
  }

  stream stream_;
  stopwatch watch_;
  void* workspace_ = nullptr;
  std::size_t workspace_bytes_ = 0;
};

}  // namespace tilefit_gpu
