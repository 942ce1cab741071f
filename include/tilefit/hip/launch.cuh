// L6: matmul_ogs on an AMD GPU: checks, workspace, launch. The contract of ../launch.cuh, through the HIP runtime.
// Knows: which kernel flags mean, what it needs, how work is enqueued. Must not know: how tiles are chosen or computed.
//
// Nothing here allocates or synchronises; everything can be captured in a graph, and calls on several streams need
// nothing but a workspace each. Pointers in matmul_args are device pointers. A grid is never empty.
#pragma once

#include <hip/hip_runtime.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "../detail/math.hpp"
#include "../dispatch.hpp"
#include "../kernels/answers.cuh"
#include "../kernels/ogs_params.hpp"
#include "../kernels/reduce_args.hpp"
#include "../kernels/schedule.hpp"
#include "../launch_args.hpp"
#include "../launch_status.hpp"
#include "../launch_steps.cuh"
#include "../make_opt_flags.hpp"
#include "../matmul_args.hpp"
#include "../ogs_policy.hpp"
#include "compiled_kernels.cuh"
#include "runtime.cuh"

namespace tilefit::inline v0::detail {

/// What the AMD kernels ask of Y beyond check_args.
inline refusal refuse_hip_y(const matmul_args& args) noexcept {
  using enum status_code;
  const y_operand& y = args.y;
  if (const refusal reason = refuse_narrow_y(args)) return reason;
  const std::int64_t alignment = y.type == dtype::mxfp4 ? 1 : max(bits_of(y.type) / 8, 2);
  const auto over =
      static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(y.data) % static_cast<std::uintptr_t>(alignment));
  if (over != 0) return {invalid_argument, "address of Y modulo what is stored at once", over, relation::exactly, 0};
  return {};
}

/// What the AMD kernels ask of arguments beyond check_args.
inline refusal refuse_hip_args(const matmul_args& args) noexcept {
  using enum status_code;
  const auto misaligned = [](const void* pointer, std::uintptr_t to) {
    return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(pointer) % to);
  };
  if (args.w.type != dtype::mxfp4)
    return {unsupported_dtype, "number of bits of W", bits_of(args.w.type), relation::exactly, 4, "W is mxfp4"};
  if (args.w.layout != weight_layout::mfma_m16k128)
    return {unsupported_feature,
            "layout of W",
            static_cast<int>(args.w.layout),
            relation::exactly,
            static_cast<int>(weight_layout::mfma_m16k128),
            "weights.hpp brings W into mfma_m16k128"};
  if (args.x.transposed) return {unsupported_feature, "x.transposed", 1, relation::exactly, 0, "rows of X are copied"};
  const std::int64_t row_bits = args.x.row_stride * bits_of(args.x.type);
  if (const std::int64_t over = misaligned(args.x.data, 16); over != 0)
    return {invalid_argument, "address of X modulo 16", over, relation::exactly, 0, "it is copied in 16-byte chunks"};
  if (row_bits % 128 != 0)
    return {
        invalid_argument, "bits of a row of X", row_bits, relation::multiple_of, 128, "it is copied in 16-byte chunks"};
  if (args.k % 32 != 0) return {unsupported_feature, "k", args.k, relation::multiple_of, 32};
  constexpr std::int64_t most = 0x7FFF'FFFF;  // device::buffer::most_bytes
  if (const std::int64_t bytes = saturating_mul(args.x.rows, row_bits / 8); bytes > most)
    return {unsupported_feature, "bytes of X", bytes, relation::at_most, most, "offsets in X have 31 bits"};
  constexpr std::int64_t most_k = std::int64_t{1} << 24;  // 64 rows of W, and rows of X, within 31 bits
  if (args.k > most_k) return {unsupported_feature, "k", args.k, relation::at_most, most_k};
  if (const std::int64_t over = misaligned(args.w.data, 16); over != 0)
    return {invalid_argument, "address of W modulo 16", over, relation::exactly, 0, "it is read in 16-byte chunks"};
  return refuse_hip_y(args);
}

/// Everything that is known before something is enqueued.
struct hip_plan {
  hip::launch_status status{};
  hip_kernel kernel{};
  std::int64_t blocks = 0;
  workspace_plan workspace{};
};

template <class Catalogue>
hip_plan plan_hip_launch(const matmul_args& args, const opt_flags& flags) noexcept {
  hip_plan plan;
  const auto refuse = [&plan](const refusal& reason) {
    plan.status = answer(reason);
    return plan;
  };
  if (const refusal reason = refuse_call(args)) return refuse(reason);
  if (const refusal reason = refuse_hip_args(args)) return refuse(reason);
  const hip::device_facts facts = hip::current_device();
  if (facts.native_error != 0) {
    plan.status = answer_of_native(facts.native_error);
    return plan;
  }
  const std::span<const opt_flags> tiles = ogs_policy::mfma_tiles(facts.arch, args.x.type, formats_of(args).y);
  const int index = find_kernel(tiles, flags);
  if (index < 0)
    return refuse({.status = status_code::unsupported_feature,
                   .subject = "block_m of a tile outside the catalogue",
                   .value = flags.block_m,
                   .must_be = relation::absent,
                   .limit = 0,
                   .why = "hip::catalogue lists the tiles that are compiled"});
  if (const int least = ogs_policy::least_block_n(formats_of(args)); flags.block_n < least)
    return refuse({.status = status_code::unsupported_feature,
                   .subject = "block_n",
                   .value = flags.block_n,
                   .must_be = relation::at_least,
                   .limit = least,
                   .why = "a scale of Y is for 32 columns of a tile, half of W's behind SwiGLU"});
  const int most_split = tiles[static_cast<std::size_t>(index)].split_k;
  if (flags.split_k < 1 || flags.split_k > most_split)
    return refuse({.status = status_code::unsupported_feature,
                   .subject = "split_k",
                   .value = flags.split_k,
                   .must_be = relation::at_most,
                   .limit = most_split});
  plan.kernel = hip_kernel_for<Catalogue>(facts.arch, args.x.type, index);
  if (plan.kernel.run == nullptr)
    return refuse(
        {.status = status_code::unsupported_dtype,
         .subject = "kernels for this format of X on this architecture",
         .value = 0,
         .must_be = relation::at_least,
         .limit = 1,
         .why = "gfx950 has all formats, gfx942 bf16 and fp16, unless the program's catalogue leaves them out"});
  const std::int64_t slabs = ceil_div(args.n, flags.block_n);
  const std::int64_t pieces = min<std::int64_t>(flags.split_k, ceil_div(args.k, flags.block_k));
  plan.blocks =
      saturating_mul(saturating_mul(kernels::most_row_tiles(args.m, args.experts, flags.block_m), slabs), pieces);
  const std::int64_t most_blocks = INT32_MAX / plan.kernel.threads;  // HIP counts threads of a grid in 32 bits
  if (plan.blocks > most_blocks)
    return refuse({.status = status_code::unsupported_feature,
                   .subject = "tiles",
                   .value = plan.blocks,
                   .must_be = relation::at_most,
                   .limit = most_blocks});
  if (pieces > 1) {
    // Blocks count themselves, once for each of their parts, in the zeroed bytes.
    const std::int64_t most = static_cast<std::int64_t>(gpu::zeroed_workspace_bytes) / 4 / plan.kernel.parts;
    if (plan.blocks > most)
      return refuse({.status = status_code::unsupported_feature,
                     .subject = "blocks that share tiles",
                     .value = plan.blocks,
                     .must_be = relation::at_most,
                     .limit = most});
  }
  if (args.topk > 1 || (args.write_every_row && !args.accumulate))
    if (const refusal reason = refuse_grid(args.y.rows, output_columns(args), device::most_blocks(reduce_threads)))
      return refuse(reason);
  plan.workspace = plan_workspace(args, flags, plan.blocks, false);
  return plan;
}

/// Enqueues a kernel with one parameter.
template <class Parameter>
hip::launch_status enqueue_hip(const void* kernel, std::int64_t blocks, int threads, Parameter parameter,
                               hipStream_t stream) noexcept {
  void* parameters[] = {&parameter};
  const hipError_t error = hipLaunchKernel(kernel, dim3(static_cast<unsigned>(blocks)),
                                           dim3(static_cast<unsigned>(threads)), parameters, 0, stream);
  if (error == hipSuccess) return {};
  (void)hipGetLastError();  // a refused launch is told by the answer alone
  hip::launch_status status = answer_of_native(error);
  if (error == hipErrorNoBinaryForGpu || error == hipErrorInvalidDeviceFunction ||
      error == hipErrorSharedObjectInitFailed)
    status.reason.why = "compile with --offload-arch of this device";
  return status;
}

}  // namespace tilefit::inline v0::detail

namespace tilefit::inline v0::hip {

/// Tiles that are compiled for an architecture and a format of X: flags that `launch` takes as they are.
[[nodiscard]] constexpr std::span<const opt_flags> catalogue(const arch_traits& arch, dtype x) noexcept {
  return kernels::has_mfma_kernels(arch.id, x) ? ogs_policy::mfma_tiles(arch, x) : std::span<const opt_flags>{};
}

/// The engine's choice for the current device. `constraints` as for make_opt_flags.
[[nodiscard]] inline selection choose(const matmul_args& args, const opt_flags_constraints& constraints = {}) noexcept {
  const device_facts device = current_device();
  if (device.native_error != 0) return detail::no_choice(detail::answer_of_native(device.native_error));
  return make_opt_flags(device.arch, detail::problem_of(args), constraints);
}

/// Whether `launch` would enqueue work: ok, empty, or why not. The workspace is not looked at.
template <class Catalogue = full_catalogue>
[[nodiscard]] launch_status can_launch(const matmul_args& args, const opt_flags& flags) noexcept {
  return detail::plan_hip_launch<Catalogue>(args, flags).status;
}

/// Bytes of matmul_args::workspace that a launch needs, aligned to `workspace_alignment`: 0 unless rows are summed over
/// topk, or blocks share tiles (split_k > 1).
template <class Catalogue = full_catalogue>
[[nodiscard]] std::size_t workspace_bytes(const matmul_args& args, const opt_flags& flags) noexcept {
  return static_cast<std::size_t>(detail::plan_hip_launch<Catalogue>(args, flags).workspace.bytes);
}

/// Once for every new workspace, before its first launch: zeroes its first `zeroed_workspace_bytes`. Calls of any
/// shape may then share it, one after the other on a stream.
[[nodiscard]] inline launch_status prepare_workspace(void* workspace, std::size_t bytes, hipStream_t stream) noexcept {
  if (bytes == 0) return {};
  if (workspace == nullptr) return detail::answer(detail::missing("workspace"));
  const std::size_t zeroed = bytes < zeroed_workspace_bytes ? bytes : zeroed_workspace_bytes;
  return detail::answer_of_native(hipMemsetAsync(workspace, 0, zeroed, stream));
}

/// Enqueues Y = matmul_ogs(args) (matmul_args.hpp) on `stream`. ok; empty (m, n or experts is 0: nothing is written);
/// otherwise nothing is enqueued and `reason` says why. With the same flags results have the same bits from call to
/// call, and a row's do not depend on the other rows. FP16 X: W is rounded to FP16. Y in FP8, MXFP8 and MXFP4 is
/// refused with topk > 1, with `accumulate` and with split_k > 1; the bytes are those that quantise_rows makes of Y in
/// FP32.
template <class Catalogue = full_catalogue>
[[nodiscard]] launch_status launch(const matmul_args& args, const opt_flags& flags, hipStream_t stream) noexcept {
  const detail::hip_plan plan = detail::plan_hip_launch<Catalogue>(args, flags);
  if (plan.status.code != status_code::ok) return plan.status;
  const detail::workspace_plan& at = plan.workspace;
  if (at.required)
    if (const refusal reason = detail::refuse_workspace(args, at.bytes)) return detail::answer(reason);
  std::byte* const workspace = at.required ? static_cast<std::byte*>(args.workspace) : nullptr;
  kernels::ogs_params params = detail::params_of(args, flags);
  if (flags.split_k > 1) {
    params.arrivals = reinterpret_cast<std::uint32_t*>(workspace);
    params.partials = reinterpret_cast<float*>(workspace + at.partials_at);
  }
  return detail::enqueue_matmul(params,
                                {.present = reinterpret_cast<std::uint8_t*>(workspace + at.present_at),
                                 .parts = reinterpret_cast<float*>(workspace + at.parts_at)},
                                stream, {}, [&](const kernels::ogs_params& own, const launch_options&) {
                                  return detail::enqueue_hip(plan.kernel.run, plan.blocks, plan.kernel.threads, own,
                                                             stream);
                                });
}

/// The same with the engine's choice for the current device.
template <class Catalogue = full_catalogue>
[[nodiscard]] launch_status launch(const matmul_args& args, hipStream_t stream) noexcept {
  if (const refusal reason = detail::refuse_call(args)) return detail::answer(reason);
  const selection choice = choose(args);
  if (!choice.has_tile()) return detail::answer_without_tile(choice);
  return launch<Catalogue>(args, choice.flags, stream);
}

}  // namespace tilefit::inline v0::hip
