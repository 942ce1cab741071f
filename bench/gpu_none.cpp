// For builds without a GPU compiler.
#include "gpu_sweep.hpp"

namespace tilefit::inline v0::bench {

std::unique_ptr<gpu_sweeper> open_gpu(bool, std::string& why_not) {
  why_not = "this tilefit-bench was built without nvcc: configure with -DTILEFIT_CUDA=ON";
  return nullptr;
}

}  // namespace tilefit::inline v0::bench
