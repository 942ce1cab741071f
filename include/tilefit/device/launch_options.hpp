// L4: what a caller may say about how kernels are enqueued, on every GPU.
// Knows: names for it.
// Must not know: runtimes, streams, kernels.
#pragma once

namespace tilefit::inline v0::gpu {

struct launch_options {
  /// The kernels may start while the one before them on the stream is still running (cudaGraph: a programmatic edge).
  /// For kernels that call `wait_for_previous_grid`, as all of this library do. Ignored below compute capability 9.0,
  /// and on AMD GPUs.
  bool overlap = false;
};

}  // namespace tilefit::inline v0::gpu
