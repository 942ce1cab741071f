// L6: what launches on any GPU read off their arguments.
// Knows: formats, the engine's problem, which stores a kernel may use, where what lies in a workspace, answers that
// come before any device is asked. Must not know: devices, streams, any GPU toolkit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "detail/math.hpp"
#include "dtype.hpp"
#include "kernels/ogs_params.hpp"
#include "launch_status.hpp"
#include "make_opt_flags.hpp"
#include "matmul_args.hpp"
#include "matmul_problem.hpp"
#include "opt_flags.hpp"

namespace tilefit::inline v0::gpu {

/// Of a workspace and of its parts.
inline constexpr std::size_t workspace_alignment = 256;
/// Bytes at the start of a workspace that must be zero before its first use (`prepare_workspace`). Every launch leaves
/// them so.
inline constexpr std::size_t zeroed_workspace_bytes = 65'536;

}  // namespace tilefit::inline v0::gpu

namespace tilefit::inline v0::detail {

/// Formats and epilogue of arguments.
constexpr matmul_formats formats_of(const matmul_args& args) noexcept {
  return {.x = args.x.type,
          .w = args.w.type,
          .y = args.topk > 1 ? dtype::fp32 : args.y.type,
          .act = args.act,
          .gather = args.gather_indx != nullptr,
          .scatter = args.scatter_indx != nullptr,
          .bias = args.bias != nullptr,
          .x_transposed = args.x.transposed,
          .accumulate = args.accumulate && args.topk == 1};
}

/// The problem that arguments describe, as far as the host can see it: rows of the experts are not known.
constexpr matmul_problem problem_of(const matmul_args& args) noexcept {
  return {.m = args.m,
          .n = args.n,
          .k = args.k,
          .experts = args.experts,
          .topk = args.gather_indx != nullptr && args.x.rows > 0
                      ? static_cast<int>(max<std::int64_t>(args.m / args.x.rows, 1))
                      : args.topk,
          .formats = formats_of(args)};
}

/// Where the parts of a workspace lie, in bytes from its start.
struct workspace_plan {
  std::int64_t present_at = 0;  ///< a byte for each row before the sum over topk
  std::int64_t parts_at = 0;    ///< fp32 rows before the sum over topk
  std::int64_t partials_at = 0;
  bool required = false;  ///< else a launch does without, when it is given none
  std::int64_t bytes = 0;
};

/// For a grid of `blocks`.
constexpr workspace_plan plan_workspace(const matmul_args& args, const opt_flags& flags, std::int64_t blocks,
                                        bool draws_tickets) noexcept {
  constexpr auto alignment = static_cast<std::int64_t>(gpu::workspace_alignment);
  constexpr auto zeroed = static_cast<std::int64_t>(gpu::zeroed_workspace_bytes);
  workspace_plan plan;
  std::int64_t at = zeroed;
  const auto place = [&at](std::int64_t bytes) {
    const std::int64_t start = at;
    at = saturating_add(at, align_up(bytes, alignment));
    return start;
  };
  const std::int64_t slots = args.topk > 1 ? args.y.rows * args.topk : 0;
  plan.present_at = place(slots);
  plan.parts_at = place(saturating_mul(slots, 4 * output_columns(args)));
  plan.partials_at = place(flags.split_k > 1 ? 8 * blocks * flags.block_m * flags.block_n : 0);
  plan.required = flags.split_k > 1 || slots > 0;
  plan.bytes = plan.required ? at : draws_tickets ? zeroed : 0;
  return plan;
}

/// How a kernel may store to Y.
inline kernels::store_kind store_kind_of(const y_operand& y, bool accumulate) noexcept {
  using enum kernels::store_kind;
  if (bits_of(y.type) < 16) return quantised;
  const int bytes = bits_of(y.type) / 8;
  const bool pairs =
      reinterpret_cast<std::uintptr_t>(y.data) % (2 * static_cast<unsigned>(bytes)) == 0 && y.row_stride % 2 == 0;
  if (accumulate || !pairs) return generally;
  return y.type == dtype::bf16 ? bf16 : y.type == dtype::fp16 ? fp16 : fp32;
}

/// What check_args finds, as a refusal: `empty` too.
constexpr refusal refuse_call(const matmul_args& args) noexcept {
  const status_code checked = check_args(args);
  if (checked == status_code::ok) return {};
  if (checked == status_code::empty) return nothing_to_do("rows, columns or experts");
  return {.status = checked,
          .subject = "matmul_args",
          .value = static_cast<int>(checked),
          .must_be = relation::exactly,
          .limit = 0,
          .why = "see check_args"};
}

/// What is wrong with a Y of less than 16 bits.
inline refusal refuse_narrow_y(const matmul_args& args) noexcept {
  using enum status_code;
  const y_operand& y = args.y;
  if (bits_of(y.type) >= 16) return {};
  constexpr std::string_view why = "an element of 8 or 4 bits is written once: quantise_rows makes them of a sum";
  if (args.topk > 1) return {unsupported_feature, "topk", args.topk, relation::exactly, 1, why};
  if (args.accumulate) return {unsupported_feature, "accumulate", 1, relation::exactly, 0, why};
  if (y.type == dtype::mxfp4) return {};
  constexpr std::string_view pairs = "two codes are stored at once";
  if (y.row_stride % 2 != 0)
    return {invalid_argument, "row stride of Y", y.row_stride, relation::multiple_of, 2, pairs};
  const auto over = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(y.data) % 2);
  if (over != 0) return {invalid_argument, "address of Y modulo 2", over, relation::exactly, 0, pairs};
  return {};
}

/// What is wrong with the workspace of arguments that need `bytes` of it.
inline refusal refuse_workspace(const matmul_args& args, std::int64_t bytes) noexcept {
  if (args.workspace == nullptr) return missing("workspace");
  if (args.workspace_bytes < static_cast<std::size_t>(bytes))
    return bad_number("workspace_bytes", static_cast<std::int64_t>(args.workspace_bytes), relation::at_least, bytes);
  const auto address = reinterpret_cast<std::uintptr_t>(args.workspace);
  if (address % gpu::workspace_alignment != 0)
    return bad_number("address of the workspace", static_cast<std::int64_t>(address), relation::multiple_of,
                      gpu::workspace_alignment);
  return {};
}

/// What `choose` answers when the device cannot be asked.
constexpr selection no_choice(const gpu::launch_status& status) noexcept {
  selection none;
  none.status = status.code;
  none.refused = status.reason;
  return none;
}

/// What a launch answers when there is no tile: the native error is in the choice's reason.
constexpr gpu::launch_status answer_without_tile(const selection& choice) noexcept {
  gpu::launch_status status{.code = choice.status, .reason = choice.refused};
  if (choice.status == status_code::runtime_error) status.native_error = static_cast<int>(choice.refused.value);
  return status;
}

}  // namespace tilefit::inline v0::detail
