// L6: what a launch of matmul_ogs enqueues, on any GPU: zeros, the kernel, the sum over topk.
// Knows: the order of these, and which of them arguments ask for. Must not know: which kernel it is, what it needs
// beside its parameter, how a workspace is laid out.
#pragma once

#include <cstddef>
#include <cstdint>

#include "detail/math.hpp"
#include "device/ops.cuh"
#include "kernels/answers.cuh"
#include "kernels/ogs_params.hpp"
#include "kernels/reduce_topk.cuh"
#include "launch_args.hpp"
#include "launch_status.hpp"
#include "matmul_args.hpp"
#include "opt_flags.hpp"

namespace tilefit::inline v0::detail {

/// A kernel's parameter, as far as arguments and flags say it.
inline kernels::ogs_params params_of(const matmul_args& args, const opt_flags& flags) noexcept {
  kernels::ogs_params params{.args = args};
  params.atoms = static_cast<std::int32_t>(ceil_div(args.n, weight_atom::rows));
  params.steps = static_cast<std::int32_t>(ceil_div(args.k, flags.block_k));
  params.split_k = flags.split_k;
  return params;
}

/// Where rows lie before the sum over topk; not looked at without one.
struct unsummed_rows {
  std::uint8_t* present = nullptr;  ///< [rows of Y * topk]
  float* parts = nullptr;           ///< [rows of Y * topk, columns]
};

/// Enqueues everything. enqueue_kernel(params, options) -> launch_status is about the kernel itself; `options` are the
/// caller's.
template <class EnqueueKernel>
gpu::launch_status enqueue_matmul(kernels::ogs_params params, const unsummed_rows& rows, device::stream_handle stream,
                                  const gpu::launch_options& options, EnqueueKernel enqueue_kernel) noexcept {
  const matmul_args args = params.args;
  const std::int64_t columns = output_columns(args);
  const bool reduced = args.topk > 1;
  if (reduced) {
    const std::int64_t slots = args.y.rows * args.topk;
    const gpu::launch_status zeroed =
        answer_of_native(device::enqueue_zeros(rows.present, static_cast<std::size_t>(slots), stream));
    if (zeroed.code != status_code::ok) return zeroed;
    params.present = rows.present;
    params.args.y = {.data = rows.parts, .type = dtype::fp32, .rows = slots, .row_stride = columns};
    params.args.accumulate = false;
  } else if (args.write_every_row && !args.accumulate) {
    const gpu::launch_status zeroed =
        bits_of(args.y.type) < 16 ? zero_narrow_rows(args.y, columns, stream) : gpu::zero_rows(args.y, columns, stream);
    if (!succeeded(zeroed.code)) return zeroed;
  }
  params.store = store_kind_of(params.args.y, params.args.accumulate);
  // A memset before the kernel cannot be overlapped with.
  const gpu::launch_status launched = enqueue_kernel(params, reduced ? gpu::launch_options{} : options);
  if (launched.code != status_code::ok || !reduced) return launched;
  return gpu::reduce_topk({.tokens = args.y.rows,
                           .topk = args.topk,
                           .columns = columns,
                           .parts = rows.parts,
                           .present = rows.present,
                           .y = args.y,
                           .accumulate = args.accumulate},
                          stream, options);
}

}  // namespace tilefit::inline v0::detail
