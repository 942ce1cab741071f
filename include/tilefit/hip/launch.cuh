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
#include "../kernels/mfma_reduce.cuh"
#include "../kernels/ogs_params.hpp"
#include "../kernels/schedule.hpp"
#include "../launch_args.hpp"
#include "../launch_status.hpp"
#include "../make_opt_flags.hpp"
#include "../matmul_args.hpp"
#include "../ogs_policy.hpp"
#include "compiled_kernels.cuh"
#include "runtime.cuh"

namespace tilefit::inline v0::hip {

using cuda::launch_status;  ///< native_error is a hipError_t here

inline constexpr std::size_t workspace_alignment = 256;

}  // namespace tilefit::inline v0::hip

namespace tilefit::inline v0::detail {

/// The answer for a hipError_t.
constexpr hip::launch_status answer_of_hip(int native_error) noexcept {
  hip::launch_status status = answer_of_runtime(native_error);
  if (native_error != 0) status.reason.subject = "error of the HIP runtime";
  return status;
}

/// What the AMD kernels ask of Y beyond check_args.
inline refusal refuse_hip_y(const matmul_args& args) noexcept {
  using enum status_code;
  const y_operand& y = args.y;
  if (bits_of(y.type) < 16) {
    constexpr std::string_view why = "an element of 8 or 4 bits is written once: quantise_rows makes them of a sum";
    if (args.topk > 1) return {unsupported_feature, "topk", args.topk, relation::exactly, 1, why};
    if (args.accumulate) return {unsupported_feature, "accumulate", 1, relation::exactly, 0, why};
    if (y.type != dtype::mxfp4 && y.row_stride % 2 != 0)
      return {
          invalid_argument, "row stride of Y", y.row_stride, relation::multiple_of, 2, "two codes are stored at once"};
  }
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
  std::int64_t present_at = 0;  ///< bytes from the start of a workspace: a byte for each row before the sum over topk
  std::int64_t parts_at = 0;    ///< fp32 rows before the sum over topk
  std::int64_t workspace_bytes = 0;
};

template <class Catalogue>
hip_plan plan_hip_launch(const matmul_args& args, const opt_flags& flags) noexcept {
  hip_plan plan;
  const auto refuse = [&plan](const refusal& reason) {
    plan.status = answer(reason);
    return plan;
  };
  const status_code checked = check_args(args);
  if (checked == status_code::empty) return refuse(nothing_to_do("rows, columns or experts"));
  if (checked != status_code::ok)
    return refuse({.status = checked,
                   .subject = "matmul_args",
                   .value = static_cast<int>(checked),
                   .must_be = relation::exactly,
                   .limit = 0,
                   .why = "see check_args"});
  if (const refusal reason = refuse_hip_args(args)) return refuse(reason);
  const hip::device_facts device = hip::current_device();
  if (device.native_error != 0) {
    plan.status = answer_of_hip(device.native_error);
    return plan;
  }
  const std::span<const opt_flags> tiles = ogs_policy::mfma_tiles(device.arch, args.x.type);
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
  if (flags.split_k != 1)
    return refuse({.status = status_code::unsupported_feature,
                   .subject = "split_k",
                   .value = flags.split_k,
                   .must_be = relation::exactly,
                   .limit = 1,
                   .why = "waves of a block share K"});
  plan.kernel = hip_kernel_for<Catalogue>(device.arch, args.x.type, index);
  if (plan.kernel.run == nullptr)
    return refuse(
        {.status = status_code::unsupported_dtype,
         .subject = "kernels for this format of X on this architecture",
         .value = 0,
         .must_be = relation::at_least,
         .limit = 1,
         .why = "gfx950 has all formats, gfx942 bf16 and fp16, unless the program's catalogue leaves them out"});
  plan.blocks =
      saturating_mul(kernels::most_row_tiles(args.m, args.experts, flags.block_m), ceil_div(args.n, flags.block_n));
  const std::int64_t most_blocks = INT32_MAX / plan.kernel.threads;  // HIP counts threads of a grid in 32 bits
  if (plan.blocks > most_blocks)
    return refuse({.status = status_code::unsupported_feature,
                   .subject = "tiles",
                   .value = plan.blocks,
                   .must_be = relation::at_most,
                   .limit = most_blocks});
  if (args.topk > 1) {
    constexpr std::int64_t alignment = hip::workspace_alignment;
    const std::int64_t slots = args.y.rows * args.topk;
    plan.parts_at = align_up(slots, alignment);
    plan.workspace_bytes = saturating_add(plan.parts_at, saturating_mul(slots, 4 * output_columns(args)));
  }
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
  hip::launch_status status = answer_of_hip(error);
  if (error == hipErrorNoBinaryForGpu || error == hipErrorInvalidDeviceFunction ||
      error == hipErrorSharedObjectInitFailed)
    status.reason.why = "compile with --offload-arch of this device";
  return status;
}

/// Sums over topk, or zeros in all rows of Y when there are no parts.
inline hip::launch_status enqueue_reduce(kernels::mfma_reduce_params params, hipStream_t stream) noexcept {
  if (params.y.rows == 0 || params.columns == 0) return {};
  const std::int64_t blocks = ceil_div(params.columns, kernels::reduce_block);
  if (saturating_mul(params.y.rows, blocks) > INT32_MAX / kernels::reduce_block)
    return answer(
        bad_number("rows of y", params.y.rows, relation::at_most, INT32_MAX / kernels::reduce_block / blocks));
  params.blocks_per_row = static_cast<unsigned>(blocks);
  return enqueue_hip(reinterpret_cast<const void*>(&kernels::mfma_reduce<>), params.y.rows * blocks,
                     kernels::reduce_block, params, stream);
}

/// Zeros into all rows of Y, whose codes and scales of zero are bytes of zero.
inline hip::launch_status enqueue_narrow_zeros(const y_operand& y, std::int64_t columns, hipStream_t stream) noexcept {
  if (y.rows == 0) return {};
  const auto fill = [&](void* rows, std::int64_t stride, std::int64_t bytes) {
    return hipMemset2DAsync(rows, static_cast<std::size_t>(stride), 0, static_cast<std::size_t>(bytes),
                            static_cast<std::size_t>(y.rows), stream);
  };
  const int bits = bits_of(y.type);
  hipError_t error = fill(y.data, y.row_stride * bits / 8, columns * bits / 8);
  if (error == hipSuccess && has_block_scales(y.type)) error = fill(y.block_scales, y.block_scale_stride, columns / 32);
  return answer_of_hip(error);
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
  if (device.native_error != 0) {
    selection none;
    none.status = status_code::unsupported_feature;
    none.refused = detail::answer_of_hip(device.native_error).reason;
    return none;
  }
  return make_opt_flags(device.arch, detail::problem_of(args), constraints);
}

/// Whether `launch` would enqueue work: ok, empty, or why not. The workspace is not looked at.
template <class Catalogue = full_catalogue>
[[nodiscard]] launch_status can_launch(const matmul_args& args, const opt_flags& flags) noexcept {
  return detail::plan_hip_launch<Catalogue>(args, flags).status;
}

/// Bytes of matmul_args::workspace that a launch needs, aligned to `workspace_alignment`: 0 unless rows are summed over
/// topk.
template <class Catalogue = full_catalogue>
[[nodiscard]] std::size_t workspace_bytes(const matmul_args& args, const opt_flags& flags) noexcept {
  return static_cast<std::size_t>(detail::plan_hip_launch<Catalogue>(args, flags).workspace_bytes);
}

/// Nothing has to be zero in a workspace here; called once for every new one, as on CUDA, it finds null pointers.
[[nodiscard]] inline launch_status prepare_workspace(void* workspace, std::size_t bytes, hipStream_t) noexcept {
  return bytes > 0 && workspace == nullptr ? detail::answer(detail::missing("workspace")) : launch_status{};
}

/// Enqueues Y = matmul_ogs(args) (matmul_args.hpp) on `stream`. ok; empty (m, n or experts is 0: nothing is written);
/// otherwise nothing is enqueued and `reason` says why. Results have the same bits from call to call, and a row's do
/// not depend on the other rows. FP16 X: W is rounded to FP16. Y in FP8, MXFP8 and MXFP4 is refused with topk > 1 and
/// with `accumulate`; the bytes are those that quantise_rows makes of Y in FP32.
template <class Catalogue = full_catalogue>
[[nodiscard]] launch_status launch(const matmul_args& args, const opt_flags& flags, hipStream_t stream) noexcept {
  const detail::hip_plan plan = detail::plan_hip_launch<Catalogue>(args, flags);
  if (plan.status.code != status_code::ok) return plan.status;
  auto* const workspace = static_cast<std::byte*>(args.workspace);
  if (plan.workspace_bytes > 0) {
    if (workspace == nullptr) return detail::answer(detail::missing("workspace"));
    if (args.workspace_bytes < static_cast<std::size_t>(plan.workspace_bytes))
      return detail::answer(detail::bad_number("workspace_bytes", static_cast<std::int64_t>(args.workspace_bytes),
                                               relation::at_least, plan.workspace_bytes));
    if (reinterpret_cast<std::uintptr_t>(workspace) % workspace_alignment != 0)
      return detail::answer(detail::bad_number("address of the workspace",
                                               static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(workspace)),
                                               relation::multiple_of, workspace_alignment));
  }
  kernels::ogs_params params{.args = args};
  params.atoms = static_cast<std::int32_t>(detail::ceil_div(args.n, weight_atom::rows));
  params.steps = static_cast<std::int32_t>(detail::ceil_div(args.k, flags.block_k));
  const std::int64_t columns = output_columns(args);
  const bool reduced = args.topk > 1;
  if (reduced) {
    params.present = reinterpret_cast<std::uint8_t*>(workspace + plan.present_at);
    const auto slots = static_cast<std::size_t>(args.y.rows * args.topk);
    if (const hipError_t error = hipMemsetAsync(params.present, 0, slots, stream); error != hipSuccess)
      return detail::answer_of_hip(error);
    params.args.y = {
        .data = workspace + plan.parts_at, .type = dtype::fp32, .rows = args.y.rows * args.topk, .row_stride = columns};
    params.args.accumulate = false;
  } else if (args.write_every_row && !args.accumulate) {
    const launch_status zeroed = bits_of(args.y.type) < 16
                                     ? detail::enqueue_narrow_zeros(args.y, columns, stream)
                                     : detail::enqueue_reduce({.y = args.y, .columns = columns}, stream);
    if (zeroed.code != status_code::ok) return zeroed;
  }
  params.store = detail::store_kind_of(params.args.y, params.args.accumulate);
  const launch_status launched = detail::enqueue_hip(plan.kernel.run, plan.blocks, plan.kernel.threads, params, stream);
  if (launched.code != status_code::ok || !reduced) return launched;
  return detail::enqueue_reduce({.y = args.y,
                                 .parts = reinterpret_cast<const float*>(workspace + plan.parts_at),
                                 .present = params.present,
                                 .topk = args.topk,
                                 .columns = columns,
                                 .accumulate = args.accumulate},
                                stream);
}

/// The same with the engine's choice for the current device.
template <class Catalogue = full_catalogue>
[[nodiscard]] launch_status launch(const matmul_args& args, hipStream_t stream) noexcept {
  const selection choice = choose(args);
  if (!choice.has_tile()) return {.code = choice.status, .reason = choice.refused};
  return launch<Catalogue>(args, choice.flags, stream);
}

}  // namespace tilefit::inline v0::hip
