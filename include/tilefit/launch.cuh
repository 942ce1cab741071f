// L6: matmul_ogs on a CUDA device: checks, workspace, launch.
// Knows: which kernel flags mean, what it needs, how work is enqueued. Must not know: how tiles are chosen or computed.
//
// Nothing here allocates or synchronises; everything can be captured in a CUDA graph, and calls on several streams need
// nothing but a workspace each. Pointers in matmul_args are device pointers.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "compiled_kernels.cuh"
#include "detail/math.hpp"
#include "device/ops.cuh"
#include "dispatch.hpp"
#include "kernels/answers.cuh"
#include "kernels/ogs_params.hpp"
#include "kernels/schedule.hpp"
#include "launch_args.hpp"
#include "launch_status.hpp"
#include "launch_steps.cuh"
#include "make_opt_flags.hpp"
#include "matmul_args.hpp"
#include "ogs_policy.hpp"
#include "runtime.cuh"

namespace tilefit::inline v0::detail {

/// What the CUDA kernels ask of arguments beyond check_args.
inline refusal refuse_args(const matmul_args& args) noexcept {
  using enum status_code;
  const auto misaligned = [](const void* pointer, std::uintptr_t to) {
    return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(pointer) % to);
  };
  if (args.x.type != dtype::bf16 && args.x.type != dtype::fp16)
    return {unsupported_dtype, "number of bits of X", bits_of(args.x.type), relation::exactly, 16, "X is bf16 or fp16"};
  if (args.w.type != dtype::mxfp4)
    return {unsupported_dtype, "number of bits of W", bits_of(args.w.type), relation::exactly, 4, "W is mxfp4"};
  if (args.w.layout != weight_layout::mma_m16k64)
    return {unsupported_feature,
            "layout of W",
            static_cast<int>(args.w.layout),
            relation::exactly,
            static_cast<int>(weight_layout::mma_m16k64),
            "shuffle_weights brings W into mma_m16k64"};
  if (args.x.transposed) return {unsupported_feature, "x.transposed", 1, relation::exactly, 0, "rows of X are copied"};
  if (const std::int64_t over = misaligned(args.x.data, 16); over != 0)
    return {invalid_argument, "address of X modulo 16", over, relation::exactly, 0, "it is copied in 16-byte chunks"};
  if (args.x.row_stride % 8 != 0)
    return {invalid_argument,
            "row stride of X",
            args.x.row_stride,
            relation::multiple_of,
            8,
            "it is copied in 16-byte chunks"};
  if (const std::int64_t chunks = args.x.rows * (args.x.row_stride / 8); chunks > UINT32_MAX)
    return {unsupported_feature, "16-byte chunks of X", chunks, relation::at_most, UINT32_MAX};
  if (const std::int64_t over = misaligned(args.w.data, 16); over != 0)
    return {invalid_argument, "address of W modulo 16", over, relation::exactly, 0, "it is copied in 16-byte chunks"};
  if (const refusal reason = refuse_narrow_y(args)) return reason;
  if (const std::int64_t over = misaligned(args.y.data, static_cast<std::uintptr_t>(max(bits_of(args.y.type) / 8, 1)));
      over != 0)
    return {invalid_argument, "address of Y modulo its element", over, relation::exactly, 0};
  if (args.y.row_stride > INT32_MAX / 4)
    return {unsupported_feature, "row stride of Y", args.y.row_stride, relation::at_most, INT32_MAX / 4};
  return {};
}

/// At the end of what is zeroed (ogs_params::tickets).
inline constexpr int ticket_bytes = 8;

/// Everything that is known before something is enqueued.
struct launch_plan {
  cuda::launch_status status{};
  arch_traits arch{};
  compiled_kernel kernel{};
  int blocks = 0;
  workspace_plan workspace{};
};

template <class Catalogue>
launch_plan plan_launch(const matmul_args& args, const opt_flags& flags) noexcept {
  launch_plan plan;
  const auto refuse = [&plan](const refusal& reason) {
    plan.status = answer(reason);
    return plan;
  };
  if (const refusal reason = refuse_call(args)) return refuse(reason);
  if (const refusal reason = refuse_args(args)) return refuse(reason);
  const cuda::device_facts device = cuda::current_device();
  if (device.native_error != 0) {
    plan.status = answer_of_native(device.native_error);
    return plan;
  }
  plan.arch = arch_for<Catalogue>(device);
  const std::span<const opt_flags> tiles_there = tiles_for<Catalogue>(plan.arch);
  const int index = find_kernel(tiles_there, flags);
  if (index < 0)
    return refuse({.status = status_code::unsupported_feature,
                   .subject = "block_m of a tile outside the catalogue",
                   .value = flags.block_m,
                   .must_be = relation::absent,
                   .limit = 0,
                   .why = "cuda::catalogue lists the tiles that are compiled"});
  const dtype y = formats_of(args).y;
  if (bits_of(y) < 16 && !stores_narrow_y(flags))
    return refuse({.status = status_code::unsupported_feature,
                   .subject = "block_m for a Y of less than 16 bits",
                   .value = flags.block_m,
                   .must_be = relation::at_most,
                   .limit = 64});
  const int most_split = tiles_there[static_cast<std::size_t>(index)].split_k;
  if (flags.split_k < 1 || flags.split_k > most_split)
    return refuse({.status = status_code::unsupported_feature,
                   .subject = "split_k",
                   .value = flags.split_k,
                   .must_be = relation::at_most,
                   .limit = most_split});
  const std::int64_t slabs = ceil_div(args.n, flags.block_n), steps = ceil_div(args.k, flags.block_k);
  const std::int64_t tiles = saturating_mul(kernels::most_row_tiles(args.m, args.experts, flags.block_m), slabs);
  if (tiles > INT32_MAX)
    return refuse({.status = status_code::unsupported_feature,
                   .subject = "tiles",
                   .value = tiles,
                   .must_be = relation::at_most,
                   .limit = INT32_MAX});
  if constexpr (Catalogue::bf16)
    if (args.x.type == dtype::bf16) plan.kernel = kernel_of<Catalogue, dtype::bf16>(plan.arch, index, y);
  if constexpr (Catalogue::fp16)
    if (args.x.type == dtype::fp16) plan.kernel = kernel_of<Catalogue, dtype::fp16>(plan.arch, index, y);
  if (plan.kernel.run == nullptr)
    return refuse({.status = status_code::unsupported_dtype,
                   .subject = "kernels for this format of X",
                   .value = 0,
                   .must_be = relation::at_least,
                   .limit = 1,
                   .why = "the program's catalogue leaves it out"});
  if (plan.kernel.smem_bytes > plan.arch.smem_block_bytes)
    return refuse({.status = status_code::no_fit,
                   .subject = "shared memory of a block",
                   .value = plan.kernel.smem_bytes,
                   .must_be = relation::at_most,
                   .limit = plan.arch.smem_block_bytes});
  const int sms = max(plan.arch.sm_count - max(flags.idle_sms, 0), 1);
  const std::int64_t resident = std::int64_t{sms} * plan.kernel.blocks_per_sm;
  // The Hopper kernels cut tiles into as many as four.
  const std::int64_t pieces = plan.arch.features.has(feature::wgmma) ? saturating_mul(tiles, 4) : tiles;
  const std::int64_t most = flags.split_k > 1 ? saturating_mul(tiles, steps) : pieces;
  plan.blocks = static_cast<int>(min<std::int64_t>(resident, max<std::int64_t>(most, 1)));
  plan.workspace = plan_workspace(args, flags, plan.blocks, plan.arch.features.has(feature::wgmma));
  constexpr std::int64_t zeroed = gpu::zeroed_workspace_bytes;
  if (std::int64_t{4} * plan.blocks * plan.kernel.groups + ticket_bytes > zeroed)
    return refuse({.status = status_code::unsupported_feature,
                   .subject = "blocks of the grid",
                   .value = plan.blocks,
                   .must_be = relation::at_most,
                   .limit = 4096});
  return plan;
}

/// Enqueues the kernel of a plan. The device function for this architecture may be missing from the program.
inline cuda::launch_status enqueue(const launch_plan& plan, const kernels::ogs_params& params, cudaStream_t stream,
                                   const cuda::launch_options& options) noexcept {
  cudaError_t error =
      cudaFuncSetAttribute(plan.kernel.run, cudaFuncAttributeMaxDynamicSharedMemorySize, plan.kernel.smem_bytes);
  if (error == cudaSuccess)
    error = cuda::launch_kernel(plan.kernel.run,
                                {.grid = dim3(static_cast<unsigned>(plan.blocks)),
                                 .block = dim3(static_cast<unsigned>(plan.kernel.threads)),
                                 .dynamic_smem_bytes = static_cast<std::size_t>(plan.kernel.smem_bytes)},
                                stream, options, params);
  if (error == cudaSuccess) return {};
  (void)cudaGetLastError();  // a refused launch is told by the answer alone
  cuda::launch_status status = answer_of_native(error);
  if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction ||
      error == cudaErrorInvalidKernelImage)
    status.reason.why = missing_code(plan.arch);
  return status;
}

}  // namespace tilefit::inline v0::detail

namespace tilefit::inline v0::cuda {

/// Tiles that are compiled for an architecture: flags that `launch` takes as they are. Code for sm_90, without its a,
/// has the generic ones.
template <class Catalogue = full_catalogue>
[[nodiscard]] constexpr std::span<const opt_flags> catalogue(const arch_traits& arch) noexcept {
  return detail::tiles_for<Catalogue>(arch);
}

/// Tiles for the current device and the code that the program has for it; none where the device cannot be asked.
template <class Catalogue = full_catalogue>
[[nodiscard]] std::span<const opt_flags> device_catalogue() noexcept {
  const device_facts device = current_device();
  if (device.native_error != 0) return {};
  return detail::tiles_for<Catalogue>(detail::arch_for<Catalogue>(device));
}

/// Tiles of the generic path (mma.sync, SM80 and later), which run on every device.
[[nodiscard]] constexpr std::span<const opt_flags> generic_catalogue() noexcept { return ogs_policy::generic_tiles; }

/// The problem that arguments describe, as far as the host can see it: rows of the experts are not known.
[[nodiscard]] constexpr matmul_problem problem_of(const matmul_args& args) noexcept { return detail::problem_of(args); }

/// The engine's choice for the current device among the tiles of a catalogue. `constraints` as for make_opt_flags.
template <class Catalogue = full_catalogue>
[[nodiscard]] selection choose(const matmul_args& args, const opt_flags_constraints& constraints = {}) noexcept {
  const device_facts device = current_device();
  if (device.native_error != 0) return detail::no_choice(detail::answer_of_native(device.native_error));
  return make_opt_flags(detail::arch_for<Catalogue>(device), problem_of(args), constraints,
                        detail::policy_of_catalogue<Catalogue>());
}

/// Whether `launch` would enqueue work: ok, empty, or why not. The workspace is not looked at.
template <class Catalogue = full_catalogue>
[[nodiscard]] launch_status can_launch(const matmul_args& args, const opt_flags& flags) noexcept {
  return detail::plan_launch<Catalogue>(args, flags).status;
}

/// Bytes of matmul_args::workspace that a launch makes use of, 0 when it needs none. Aligned to `workspace_alignment`.
/// Without sums over topk and splits along K a launch also runs without a workspace, and is slower on Hopper: blocks
/// then take tiles in a fixed turn.
template <class Catalogue = full_catalogue>
[[nodiscard]] std::size_t workspace_bytes(const matmul_args& args, const opt_flags& flags) noexcept {
  return static_cast<std::size_t>(detail::plan_launch<Catalogue>(args, flags).workspace.bytes);
}

/// Once for every new workspace, before its first launch: zeroes its first `zeroed_workspace_bytes`. Calls of any
/// shape may then share it, one after the other on a stream.
[[nodiscard]] inline launch_status prepare_workspace(void* workspace, std::size_t bytes, cudaStream_t stream) noexcept {
  if (bytes == 0) return {};
  if (workspace == nullptr) return detail::answer(detail::missing("workspace"));
  const std::size_t zeroed = bytes < zeroed_workspace_bytes ? bytes : zeroed_workspace_bytes;
  return detail::answer_of_native(cudaMemsetAsync(workspace, 0, zeroed, stream));
}

/// Enqueues Y = matmul_ogs(args) (matmul_args.hpp) on `stream`. ok; empty (m, n or experts is 0: nothing is written);
/// otherwise nothing is enqueued and `reason` says why. Results have the same bits from call to call; with
/// split_k == 1 a row's bits do not depend on the other rows.
/// FP16 X: W is rounded to FP16 (kernels/widen.cuh).
template <class Catalogue = full_catalogue>
[[nodiscard]] launch_status launch(const matmul_args& args, const opt_flags& flags, cudaStream_t stream,
                                   const launch_options& options = {}) noexcept {
  const detail::launch_plan plan = detail::plan_launch<Catalogue>(args, flags);
  if (plan.status.code != status_code::ok) return plan.status;
  const detail::workspace_plan& at = plan.workspace;
  if (at.required || args.workspace != nullptr)
    if (const refusal reason = detail::refuse_workspace(args, at.bytes)) return detail::answer(reason);
  auto* const workspace = static_cast<std::byte*>(args.workspace);
  kernels::ogs_params params = detail::params_of(args, flags);
  if (workspace != nullptr && at.bytes > 0)
    params.tickets = reinterpret_cast<std::uint32_t*>(workspace + zeroed_workspace_bytes - detail::ticket_bytes);
  params.arrivals = reinterpret_cast<std::uint32_t*>(workspace);
  params.partials = reinterpret_cast<float*>(workspace + at.partials_at);
  return detail::enqueue_matmul(params,
                                {.present = reinterpret_cast<std::uint8_t*>(workspace + at.present_at),
                                 .parts = reinterpret_cast<float*>(workspace + at.parts_at)},
                                stream, options, [&](const kernels::ogs_params& all, const launch_options& how) {
                                  return detail::enqueue(plan, all, stream, how);
                                });
}

/// The same with the engine's choice for the current device.
template <class Catalogue = full_catalogue>
[[nodiscard]] launch_status launch(const matmul_args& args, cudaStream_t stream,
                                   const launch_options& options = {}) noexcept {
  if (const refusal reason = detail::refuse_call(args)) return detail::answer(reason);
  const selection choice = choose<Catalogue>(args);
  if (!choice.has_tile()) return detail::answer_without_tile(choice);
  return launch<Catalogue>(args, choice.flags, stream, options);
}

}  // namespace tilefit::inline v0::cuda
