// The two matmuls of an expert layer timed on the GPU at hand, as plain data.
// Knows: what is asked for and what was measured. Must not know: any GPU toolkit (gpu_sweep.cu does), tables, files.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <tilefit/opt_flags.hpp>

#include "models.hpp"
#include "time_summary.hpp"

namespace tilefit::inline v0::bench {

struct gpu_facts {
  std::string device = {};
  std::string arch = {};  ///< name of its row
  int multiprocessors = 0;
  int driver = 0;   ///< the driver's CUDA version, 1000 * major + 10 * minor
  int toolkit = 0;  ///< the program's
  bool generic = false;
  std::vector<opt_flags> catalogue = {};
};

/// What the device does at best. 0 = not known.
struct rate_ceilings {
  double copy_gbps = 0;  ///< bytes read plus bytes written, 10^9 per second
  double read_gbps = 0;
  double gemm_tflops = 0;
  std::string gemm_source = {};  ///< where gemm_tflops is from
};

struct tile_time {
  opt_flags flags{};
  int entry = -1;  ///< of the catalogue
  bool chosen = false;
  bool in_full = false;  ///< not only in passing
  time_summary time{};
  double launch_host_us = 0;     ///< time the host spends in one launch()
  double sum_of_magnitudes = 0;  ///< of Y
  std::string fault = {};        ///< empty: times are valid
};

struct matmul_times {
  tile_time choice = {};
  std::vector<tile_time> all = {};  ///< with all_tiles

  /// The chosen flags as they were measured among all tiles, at the same time as those: what the device does meanwhile
  /// changes times. As they were measured before where they are not among them.
  const tile_time& choice_among_all() const {
    for (const tile_time& each : all)
      if (each.fault.empty() && each.in_full && each.flags == choice.flags) return each;
    return choice;
  }
  double time_of_choice() const { return choice_among_all().time.median; }

  /// The fastest, the choice included, of those that were timed in full; null without all_tiles.
  const tile_time* best() const {
    if (all.empty() || !choice.fault.empty()) return nullptr;
    const tile_time* found = &choice_among_all();
    for (const tile_time& each : all)
      if (each.fault.empty() && each.in_full && each.time.median < found->time.median) found = &each;
    return found;
  }
};

/// gate_up and down of one layer at one token count.
struct layer_times {
  model_shape model{};
  std::int64_t tokens = 0;
  int active_experts = 0;
  matmul_times parts[2] = {};
  double bytes[2] = {}, flops[2] = {};  ///< what has to be moved and multiplied
  time_summary joint{};                 ///< both in one graph

  double sum_us() const { return parts[0].choice.time.median + parts[1].choice.time.median; }
  /// A rate that is not known takes no part.
  double floor_us(const rate_ceilings& rates) const {
    const double moving = rates.read_gbps > 0 ? (bytes[0] + bytes[1]) / rates.read_gbps * 1e-3 : 0;
    const double multiplying = rates.gemm_tflops > 0 ? (flops[0] + flops[1]) / rates.gemm_tflops * 1e-6 : 0;
    return std::max(moving, multiplying);
  }
};

struct sweep_options {
  bool all_tiles = false;
  std::vector<int> splits = {1, 8};  ///< along K, tried with all_tiles
  bool joint = false;
  int repeats = 30;
  int entry = -1;  ///< this one of the catalogue instead of the engine's choice
};

class gpu_sweeper {
 public:
  virtual ~gpu_sweeper() = default;
  virtual const gpu_facts& facts() const = 0;
  virtual rate_ceilings ceilings() = 0;
  /// Makes the layer that `measure` is about, with room for so many tokens.
  virtual void take(const model_shape& model, std::int64_t most_tokens) = 0;
  /// With `active` > 0 the routing is one in which about so many experts have rows. Throws std::runtime_error when the
  /// device is lost.
  virtual layer_times measure(std::int64_t tokens, int active, const sweep_options& options) = 0;
};

/// The GPU at hand, with the kernels that are best for it, or the generic ones in an SM120's shared memory. Null, and
/// the reason: there is none, or the program was built without.
std::unique_ptr<gpu_sweeper> open_gpu(bool generic, std::string& why_not);

}  // namespace tilefit::inline v0::bench
