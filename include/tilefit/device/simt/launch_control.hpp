// L4: how launches that are written once for all GPUs come to the executor.
// Knows: what a launch asks for. Must not know: who runs it (whoever implements `stream`), kernels.
// The same functions for GPUs: ../cuda/launch_control.cuh, ../hip/launch_control.cuh.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <type_traits>

#include "../launch_options.hpp"
#include "language.hpp"

namespace tilefit::inline v0::simt {

/// Where work is enqueued. The answers are error numbers, 0 is success.
class stream {
 public:
  virtual int run(const dim3& grid, const dim3& block, const std::function<void()>& kernel) = 0;
  virtual int fill_with_zeros(void* to, std::size_t bytes) = 0;

 protected:
  ~stream() = default;
};

}  // namespace tilefit::inline v0::simt

namespace tilefit::inline v0::device {

inline void wait_for_previous_grid() noexcept {}
inline void let_next_grid_start() noexcept {}

using stream_handle = simt::stream*;
inline constexpr std::string_view runtime_error_subject = "error of the executor";
constexpr std::int64_t most_blocks(int threads) noexcept { return INT32_MAX / threads; }

struct launch_geometry {
  dim3 grid = dim3(1);
  dim3 block = dim3(1);
};

template <class... Parameters>
[[nodiscard]] int launch_kernel(void (*kernel)(Parameters...), const launch_geometry& geometry, stream_handle stream,
                                const gpu::launch_options&, const std::type_identity_t<Parameters>&... arguments) {
  return stream->run(geometry.grid, geometry.block, [&] { kernel(arguments...); });
}
[[nodiscard]] inline int enqueue_zeros(void* to, std::size_t bytes, stream_handle stream) {
  return stream->fill_with_zeros(to, bytes);
}

}  // namespace tilefit::inline v0::device
