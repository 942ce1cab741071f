// A stream whose work the executor does at once.
// Knows: the waves of this program, watched memory, faults that have come up.
// Must not know: kernels.
#pragma once

#include <cstring>
#include <functional>
#include <string>

#include "tilefit/device/simt/executor.hpp"
#include "tilefit/device/simt/launch_control.hpp"

namespace tilefit_simt {

using namespace tilefit;

class executor_stream final : public simt::stream {
 public:
  explicit executor_stream(simt::memory& memory, simt::grid_options how = {.seed = 1}) : memory_(memory), options(how) {
    options.warp_size = TILEFIT_SIMT_LANES;
  }

  int run(const dim3& grid, const dim3& block, const std::function<void()>& kernel) override {
    ++kernels;
    simt::executor executor(memory_);
    last = executor.run_lanes(
        {.grid = grid.x, .block = block.x, .shared_bytes = shared_bytes, .grid_y = grid.y, .grid_z = grid.z}, options,
        kernel);
    faults += last.faults.text();
    return 0;
  }
  int fill_with_zeros(void* to, std::size_t bytes) override {
    ++memsets;
    std::memset(to, 0, bytes);
    const auto at = reinterpret_cast<std::uintptr_t>(to);
    if (simt::memory_zone* const zone = memory_.zone_at(at); zone != nullptr && !zone->states.empty())
      for (std::size_t i = 0; i < bytes; ++i) zone->states[at - zone->begin + i].written = true;
    return 0;
  }

 private:
  simt::memory& memory_;

 public:
  simt::grid_options options;
  std::size_t shared_bytes = 65'536;  ///< of a block: at least what any of the kernels has
  int kernels = 0, memsets = 0;
  std::string faults;
  simt::grid_result last;  ///< of the newest kernel
};

}  // namespace tilefit_simt
