// L1: the matmul to be done, as numbers.
// Knows: sizes, formats, epilogue, how rows spread over experts.
// Must not know: chips, tiles.
#pragma once

#include <cstdint>
#include <span>

#include "detail/config.hpp"
#include "dtype.hpp"

namespace tilefit::inline v0 {

/// Function fused behind the matmul. `swiglu` takes interleaved gate / up columns and halves n in the output.
enum class activation : std::uint8_t { none, swiglu };

/// Formats and epilogue: the part of a problem that a kernel is compiled for (structural: usable as a template
/// argument).
struct matmul_formats {
  dtype x = dtype::bf16;
  dtype w = dtype::mxfp4;
  dtype y = dtype::bf16;
  int scale_block = 32;  ///< elements of K that share one E8M0 scale
  activation act = activation::none;
  bool gather = false;        ///< row i of the matmul is X[src(i)]
  bool scatter = false;       ///< row i of the result goes to Y[dst(i)]
  bool bias = false;          ///< fp32 [experts, n]
  bool x_transposed = false;  ///< X is stored K-major ([k, rows])
  bool accumulate = false;    ///< Y is read and added to

  friend constexpr bool operator==(const matmul_formats&, const matmul_formats&) = default;
};

/// How the m rows spread over the experts.
struct row_distribution {
  /// What is known.
  enum class kind_id : std::uint8_t {
    unknown,   ///< only m and the number of experts are known: m / experts rows each
    expected,  ///< an expert that has rows has about `rows_per_expert` of them
    histogram  ///< rows of every expert
  };
  kind_id kind = kind_id::unknown;
  std::int64_t rows_per_expert = 0;
  std::span<const std::int32_t> histogram{};

  /// Experts that have rows have about so many.
  static constexpr row_distribution expected(std::int64_t rows) noexcept { return {kind_id::expected, rows, {}}; }
  /// Rows of every expert; the span must outlive the problem.
  static constexpr row_distribution counted(std::span<const std::int32_t> rows) noexcept {
    return {kind_id::histogram, 0, rows};
  }
};

/// Y[m, n] = epilogue(X[m, k] * W[expert][n, k]^T), ragged over experts.
/// m counts rows after the gather: tokens * topk in an MoE layer. n counts columns before the activation halves them.
struct matmul_problem {
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t k = 0;
  int experts = 1;  ///< weight matrices that the rows choose from; 1 = dense
  int topk = 1;     ///< rows that share one row of X (gather) or of the final output (scatter)
  int batch = 1;    ///< independent problems of this size; batch > 1 needs experts == 1
  matmul_formats formats{};
  row_distribution rows{};

  /// Whether rows choose among experts.
  constexpr bool is_ragged() const noexcept { return experts > 1; }
};

namespace detail {

/// Expected number of distinct experts when every token picks `topk` of `experts` evenly:
/// experts * (1 - (1 - topk / experts)^tokens), rounded up. 32-bit fixed point.
constexpr std::int64_t expected_active_experts(std::int64_t experts, std::int64_t topk, std::int64_t tokens) noexcept {
  if (topk >= experts || experts <= 1) return experts;
  std::uint64_t factor = (static_cast<std::uint64_t>(experts - topk) << 32) / static_cast<std::uint64_t>(experts);
  std::uint64_t missed = std::uint64_t{1} << 32;  // probability that no token picks a given expert
  for (std::int64_t power = tokens; power > 0 && missed > 0; power /= 2) {
    if (power % 2 != 0) missed = (missed * factor) >> 32;
    factor = (factor * factor) >> 32;
  }
  const std::uint64_t hit = (std::uint64_t{1} << 32) - missed;
  return static_cast<std::int64_t>((hit * static_cast<std::uint64_t>(experts) + 0xFFFF'FFFFu) >> 32);
}

}  // namespace detail

}  // namespace tilefit::inline v0
