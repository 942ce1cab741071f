// L6: what launches on any GPU read off their arguments.
// Knows: formats, the engine's problem, which stores a kernel may use.
// Must not know: devices, streams, any GPU toolkit.
#pragma once

#include <cstdint>

#include "detail/math.hpp"
#include "dtype.hpp"
#include "kernels/ogs_params.hpp"
#include "matmul_args.hpp"
#include "matmul_problem.hpp"

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

}  // namespace tilefit::inline v0::detail
