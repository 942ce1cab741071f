// Launches recorded into a graph, and how long its replays take.
// Knows: CUDA graphs, events, a way to empty the L2 cache. Must not know: what is launched.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../../bench/time_summary.hpp"
#include "device_support.cuh"

namespace tilefit_gpu {

/// Launches recorded into a graph.
class captured {
 public:
  template <class Record>
  captured(cudaStream_t stream, Record record) {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "begin of a capture");
    record();
    check(cudaStreamEndCapture(stream, &graph_), "end of a capture");
    check(cudaGraphInstantiate(&executable_, graph_, 0), "instantiation of a graph");
  }
  ~captured() {
    static_cast<void>(cudaGraphExecDestroy(executable_));
    static_cast<void>(cudaGraphDestroy(graph_));
  }
  captured(const captured&) = delete;
  captured& operator=(const captured&) = delete;
  void replay(cudaStream_t stream) const { check(cudaGraphLaunch(executable_, stream), "replay of a graph"); }

 private:
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t executable_ = nullptr;
};

using tilefit::bench::summarise;
using tilefit::bench::time_summary;

/// Times work on a stream. Before each replay a buffer of several times the L2 is written on the same stream, so that
/// nothing is in the cache; the writing also hides the time that the host needs to enqueue what follows.
class stopwatch {
 public:
  explicit stopwatch(cudaStream_t stream) : stream_(stream) {
    int l2_bytes = 0;
    check(cudaDeviceGetAttribute(&l2_bytes, cudaDevAttrL2CacheSize, 0), "size of the L2");
    bytes_ = std::max(std::size_t{256} << 20, std::size_t{3} * static_cast<std::size_t>(l2_bytes));
    check(cudaMalloc(&buffer_, bytes_), "buffer to empty the L2 with");
  }
  ~stopwatch() {
    for (const cudaEvent_t event : events_) static_cast<void>(cudaEventDestroy(event));
    static_cast<void>(cudaFree(buffer_));
  }
  stopwatch(const stopwatch&) = delete;
  stopwatch& operator=(const stopwatch&) = delete;

  /// Microseconds of each of `repeats` calls of enqueue(), which puts work on the stream.
  template <class Enqueue>
  std::vector<double> times(int repeats, bool clear_l2, Enqueue enqueue_work) {
    while (events_.size() < static_cast<std::size_t>(2 * repeats)) {
      events_.emplace_back();
      check(cudaEventCreate(&events_.back()), "event");
    }
    for (int i = 0; i < repeats; ++i) {
      if (clear_l2) check(cudaMemsetAsync(buffer_, i, bytes_, stream_), "emptying the L2");
      check(cudaEventRecord(events_[static_cast<std::size_t>(2 * i)], stream_), "event");
      enqueue_work();
      check(cudaEventRecord(events_[static_cast<std::size_t>(2 * i + 1)], stream_), "event");
    }
    wait_for(stream_);
    std::vector<double> found;
    for (int i = 0; i < repeats; ++i) {
      float milliseconds = 0;
      check(cudaEventElapsedTime(&milliseconds, events_[static_cast<std::size_t>(2 * i)],
                                 events_[static_cast<std::size_t>(2 * i + 1)]),
            "elapsed time");
      found.push_back(1e3 * static_cast<double>(milliseconds));
    }
    return found;
  }
  std::vector<double> times(int repeats, const captured& graph) {
    return times(repeats, true, [&] { graph.replay(stream_); });
  }

 private:
  cudaStream_t stream_;
  void* buffer_ = nullptr;
  std::size_t bytes_ = 0;
  std::vector<cudaEvent_t> events_;
};

}  // namespace tilefit_gpu
