// L3: what everything that enqueues work on a GPU answers.
// Knows: a kind of answer, the driver's error number, the numbers behind a refusal.
// Must not know: streams, kernels, any GPU toolkit: a host compiler reads it.
#pragma once

#include <cstdint>
#include <string_view>

#include "status.hpp"

/// What the layers for GPUs of different vendors share. `cuda` and `hip` have all of its names.
namespace tilefit::inline v0::gpu {}
namespace tilefit::inline v0::cuda {
using namespace gpu;
}
namespace tilefit::inline v0::hip {
using namespace gpu;
}

namespace tilefit::inline v0::gpu {

/// How a launch went.
///   * ok: the work is enqueued.
///   * empty: there was nothing to compute. What the call documents for that case is enqueued, mostly nothing.
///   * runtime_error: the runtime (CUDA, HIP) refused a call, with native_error. Work enqueued before it by the same
///   call may
///     run.
///   * anything else: refused, nothing is enqueued, `reason` says which number was wrong.
/// Errors of kernels that are running already never show here: ask the stream.
struct launch_status {
  status_code code = status_code::ok;
  int native_error = 0;  ///< with runtime_error: cudaError_t or hipError_t of the call that failed; 0 otherwise
  refusal reason = {};   ///< names the numbers; empty when ok
};

}  // namespace tilefit::inline v0::gpu

namespace tilefit::inline v0::detail {

/// The answer for a call that enqueues nothing for the sake of `reason`; ok when there is none.
constexpr gpu::launch_status answer(const refusal& reason) noexcept {
  return {.code = reason.status, .native_error = 0, .reason = reason};
}

/// The answer for a cudaError_t or hipError_t; 0 is success. `subject`: whose error it is.
constexpr gpu::launch_status answer_of_runtime(int native_error,
                                               std::string_view subject = "error of the CUDA runtime") noexcept {
  if (native_error == 0) return {};
  return {.code = status_code::runtime_error,
          .native_error = native_error,
          .reason = {.status = status_code::runtime_error,
                     .subject = subject,
                     .value = native_error,
                     .must_be = relation::exactly,
                     .limit = 0}};
}

/// A pointer that must not be null and is.
constexpr refusal missing(std::string_view subject) noexcept {
  return {.status = status_code::invalid_argument,
          .subject = subject,
          .value = 0,
          .must_be = relation::at_least,
          .limit = 1,
          .why = "it is an address, and null"};
}

/// A number that is not what it must be.
constexpr refusal bad_number(std::string_view subject, std::int64_t value, relation must_be,
                             std::int64_t limit) noexcept {
  return {
      .status = status_code::invalid_argument, .subject = subject, .value = value, .must_be = must_be, .limit = limit};
}

/// Nothing to do: not a failure.
constexpr refusal nothing_to_do(std::string_view subject) noexcept {
  return {.status = status_code::empty, .subject = subject, .value = 0, .must_be = relation::at_least, .limit = 1};
}

}  // namespace tilefit::inline v0::detail
