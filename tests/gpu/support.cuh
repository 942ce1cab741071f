// What the GPU test programs share: guarded device memory, checks that are counted, graphs, times.
// Knows: the CUDA runtime. Must not know: what is tested.
// A program ends with 0 (all checks hold), 1 (one does not) or 77 (no CUDA device).
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "tilefit/device/cuda/launch_control.cuh"

namespace gpu_test {

inline constexpr int exit_without_device = 77;
inline constexpr std::size_t guard_bytes = 256;
inline constexpr std::uint8_t poison = 0xA5;

/// Ends the program when a CUDA call has failed.
inline void require(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("FAILED %s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

inline bool has_device() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

inline bool has_option(int argc, char** argv, std::string_view option) {
  for (int i = 1; i < argc; ++i)
    if (option == argv[i]) return true;
  return false;
}

/// Counts checks and prints those that fail, the first ones of them.
class report {
 public:
  explicit report(const char* name) : name_(name) {}

  __attribute__((format(printf, 3, 4))) bool check(bool holds, const char* text, ...) {
    ++checks_;
    if (holds) return true;
    if (++failures_ <= most_printed) {
      std::printf("FAILED ");
      va_list arguments;
      va_start(arguments, text);
      std::vprintf(text, arguments);
      va_end(arguments);
      std::printf("\n");
    }
    return false;
  }

  /// One line for a case or a group of them: failures since the last line.
  __attribute__((format(printf, 2, 3))) void line(const char* text, ...) {
    std::printf("%s ", failures_ == failures_before_ ? "ok    " : "FAILED");
    failures_before_ = failures_;
    va_list arguments;
    va_start(arguments, text);
    std::vprintf(text, arguments);
    va_end(arguments);
    std::printf("\n");
    std::fflush(stdout);
  }

  /// The last line, and the exit code of the program.
  int finish() const {
    std::printf("%s: %lld checks, %lld failed\n", name_, checks_, failures_);
    return failures_ == 0 ? 0 : 1;
  }

 private:
  static constexpr long long most_printed = 40;
  const char* name_;
  long long checks_ = 0;
  long long failures_ = 0;
  long long failures_before_ = 0;
};

/// Device memory with a guard on both sides, poisoned at first. `offset` shifts the data away from its alignment.
template <class Element>
class device_buffer {
 public:
  explicit device_buffer(std::size_t count, std::size_t offset = 0)
      : count_(count), before_(guard_bytes + offset), total_(before_ + count * sizeof(Element) + guard_bytes) {
    require(cudaMalloc(reinterpret_cast<void**>(&base_), total_), "cudaMalloc");
    fill_with_poison();
  }
  explicit device_buffer(const std::vector<Element>& values, std::size_t offset = 0)
      : device_buffer(values.size(), offset) {
    upload(values);
  }
  device_buffer(const device_buffer&) = delete;
  device_buffer& operator=(const device_buffer&) = delete;
  ~device_buffer() { static_cast<void>(cudaFree(base_)); }

  Element* data() const { return reinterpret_cast<Element*>(base_ + before_); }
  std::size_t size() const { return count_; }
  std::size_t bytes() const { return count_ * sizeof(Element); }

  void fill_with_poison() { require(cudaMemset(base_, poison, total_), "cudaMemset"); }
  void upload(const std::vector<Element>& values) {
    if (!values.empty())
      require(cudaMemcpy(data(), values.data(), values.size() * sizeof(Element), cudaMemcpyHostToDevice), "upload");
  }
  /// The content; fails a check when a guard has changed.
  std::vector<Element> download(report& to, const char* name) const {
    std::vector<std::uint8_t> all(total_);
    require(cudaMemcpy(all.data(), base_, total_, cudaMemcpyDeviceToHost), "download");
    const std::uint8_t* const end = all.data() + before_ + bytes();
    const bool intact = std::all_of(all.data(), all.data() + before_, [](std::uint8_t b) { return b == poison; }) &&
                        std::all_of(end, end + guard_bytes, [](std::uint8_t b) { return b == poison; });
    to.check(intact, "%s: written outside of the buffer", name);
    std::vector<Element> values(count_);
    if (count_ > 0) std::memcpy(static_cast<void*>(values.data()), all.data() + before_, bytes());
    return values;
  }

 private:
  std::size_t count_;
  std::size_t before_;
  std::size_t total_;
  std::uint8_t* base_ = nullptr;
};

template <class Element>
bool same_bytes(const std::vector<Element>& a, const std::vector<Element>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(Element)) == 0);
}

/// A stream that is in order with the copies and memsets above, which go to the legacy default stream.
class stream_owner {
 public:
  stream_owner() { require(cudaStreamCreate(&stream_), "cudaStreamCreate"); }
  stream_owner(const stream_owner&) = delete;
  stream_owner& operator=(const stream_owner&) = delete;
  ~stream_owner() { static_cast<void>(cudaStreamDestroy(stream_)); }
  operator cudaStream_t() const { return stream_; }
  void wait() const { require(cudaStreamSynchronize(stream_), "cudaStreamSynchronize"); }

 private:
  cudaStream_t stream_ = nullptr;
};

/// What `enqueue(stream)` enqueues, captured once.
class captured_graph {
 public:
  template <class Enqueue>
  captured_graph(cudaStream_t stream, Enqueue enqueue) {
    cudaGraph_t graph = nullptr;
    require(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    enqueue(stream);
    require(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
    require(cudaGraphInstantiate(&graph_, graph, 0), "cudaGraphInstantiate");
    require(cudaGraphDestroy(graph), "cudaGraphDestroy");
  }
  captured_graph(const captured_graph&) = delete;
  captured_graph& operator=(const captured_graph&) = delete;
  ~captured_graph() { static_cast<void>(cudaGraphExecDestroy(graph_)); }
  void replay(cudaStream_t stream) const { require(cudaGraphLaunch(graph_, stream), "cudaGraphLaunch"); }

 private:
  cudaGraphExec_t graph_ = nullptr;
};

/// Median time of one `enqueue(stream)`, in microseconds: `in_graph` of them in a graph that is replayed.
template <class Enqueue>
double median_us(const stream_owner& stream, Enqueue enqueue, int in_graph = 20, int replays = 15) {
  const captured_graph graph(stream, [&](cudaStream_t s) {
    for (int i = 0; i < in_graph; ++i) enqueue(s);
  });
  cudaEvent_t start = nullptr, stop = nullptr;
  require(cudaEventCreate(&start), "cudaEventCreate");
  require(cudaEventCreate(&stop), "cudaEventCreate");
  std::vector<double> times;
  for (int i = -2; i < replays; ++i) {  // two to warm up
    require(cudaEventRecord(start, stream), "cudaEventRecord");
    graph.replay(stream);
    require(cudaEventRecord(stop, stream), "cudaEventRecord");
    require(cudaEventSynchronize(stop), "cudaEventSynchronize");
    float milliseconds = 0.0f;
    require(cudaEventElapsedTime(&milliseconds, start, stop), "cudaEventElapsedTime");
    if (i >= 0) times.push_back(1000.0 * static_cast<double>(milliseconds) / in_graph);
  }
  require(cudaEventDestroy(start), "cudaEventDestroy");
  require(cudaEventDestroy(stop), "cudaEventDestroy");
  std::nth_element(times.begin(), times.begin() + replays / 2, times.end());
  return times[static_cast<std::size_t>(replays / 2)];
}

template <int Unused>
__global__ void do_nothing() {}

/// What the shortest kernel takes under median_us.
inline double empty_kernel_us(const stream_owner& stream) {
  return median_us(stream, [](cudaStream_t s) {
    require(tilefit::cuda::launch_kernel(do_nothing<0>, {.block = dim3(32)}, s, {}), "empty kernel");
  });
}

}  // namespace gpu_test
