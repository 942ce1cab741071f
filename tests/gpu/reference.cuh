// The matmul in float64, one thread per element of Y, and the comparison of a result with it.
// Knows: what matmul_args.hpp promises, element by element, and row-major MXFP4.
// Must not know: tiles, packed layouts, or anything of the library's kernels.
#pragma once

#include <cfloat>
#include <cmath>

#include "device_support.cuh"
#include "tilefit/matmul_args.hpp"

namespace tilefit_gpu {

/// Device pointers. Row lists are worked out by the caller, so that this follows no index of the library's.
struct reference_args {
  std::int64_t y_rows = 0;
  std::int64_t columns = 0;
  std::int64_t n = 0;
  std::int64_t k = 0;
  int topk = 1;            ///< rows summed into one row of Y
  bool every_row = false;  ///< all rows of Y are written
  activation act = activation::none;
  swiglu_params swiglu = {};
  const void* x = nullptr;
  dtype x_type = dtype::bf16;
  std::int64_t x_stride = 0;
  const std::uint8_t* w_values = nullptr;  ///< row-major [experts, n, k / 32, 16]
  const std::uint8_t* w_scales = nullptr;  ///< [experts, n, k / 32]
  const float* bias = nullptr;
  const float* gammas = nullptr;
  const std::int32_t* slot_row = nullptr;    ///< [y_rows * topk] row of the matmul that is summed there, or -1
  const std::int32_t* row_source = nullptr;  ///< [m] row of X
  const std::int32_t* row_expert = nullptr;  ///< [m]
  bool accumulate = false;
  const void* y_before = nullptr;  ///< what Y held
  dtype y_type = dtype::bf16;
  std::int64_t y_stride = 0;
  double* value = nullptr;  ///< [y_rows, columns], written
  double* slack = nullptr;  ///< [y_rows, columns], written: sum of the magnitudes that went into `value`
};

inline constexpr int reference_threads = 128;
inline constexpr int reference_depth = 512;

/// A weight as the library's format rules read it: a product above the largest float is infinity, scale 255 is NaN.
__device__ inline double weight_value(double element, int scale) {
  if (scale == 255) return __builtin_nan("");
  const double value = ldexp(element, scale - 127);
  if (value > static_cast<double>(FLT_MAX)) return __builtin_huge_val();
  if (value < -static_cast<double>(FLT_MAX)) return -__builtin_huge_val();
  return value;
}

/// Blocks: (row of Y) * chunks + chunk of 128 columns.
__global__ void reference_kernel(reference_args args, std::int64_t chunks) {
  __shared__ double x_piece[reference_depth];
  __shared__ double elements[16];  // 16 doubles cover the 32 banks once: no conflicts whatever the codes are
  if (threadIdx.x < 16)
    elements[threadIdx.x] = static_cast<double>(e2m1_to_float(static_cast<std::uint8_t>(threadIdx.x)));
  const std::int64_t y_row = blockIdx.x / chunks;
  const std::int64_t column = blockIdx.x % chunks * reference_threads + threadIdx.x;
  const bool active = column < args.columns;
  const bool halves = args.act == activation::swiglu;
  const std::int64_t k_blocks = args.k / 32;
  double total = 0, slack = 0;
  for (int s = 0; s < args.topk; ++s) {
    const std::int32_t row = args.slot_row[y_row * args.topk + s];
    if (row < 0) continue;
    const std::int64_t source = args.row_source[row];
    const std::int64_t w_first = static_cast<std::int64_t>(args.row_expert[row]) * args.n;
    double sums[2] = {0, 0}, magnitudes[2] = {0, 0};
    for (std::int64_t k0 = 0; k0 < args.k; k0 += reference_depth) {
      const int depth = static_cast<int>(args.k - k0 < reference_depth ? args.k - k0 : reference_depth);
      __syncthreads();
      for (int i = static_cast<int>(threadIdx.x); i < depth; i += reference_threads)
        x_piece[i] = static_cast<double>(load_element(args.x_type, args.x, source * args.x_stride + k0 + i));
      __syncthreads();
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if (!active || (half == 1 && !halves)) continue;
        const std::int64_t w_row = w_first + (halves ? 2 * column + half : column);
        for (int b = 0; b < depth / 32; ++b) {
          const std::int64_t block = w_row * k_blocks + k0 / 32 + b;
          const int scale = args.w_scales[block];
          const std::uint64_t* codes = reinterpret_cast<const std::uint64_t*>(args.w_values + 16 * block);
          double sum = 0, magnitude = 0;
          if (scale < 253) {
            for (int word = 0; word < 2; ++word) {
              std::uint64_t bits = codes[word];
              for (int i = 0; i < 16; ++i, bits >>= 4) {
                const double product = x_piece[32 * b + 16 * word + i] * elements[bits & 15];
                sum += product;
                magnitude += fabs(product);
              }
            }
            const double factor = ldexp(1.0, scale - 127);
            sum *= factor;
            magnitude *= factor;
          } else {
            for (int i = 0; i < 32; ++i) {
              const double element = elements[codes[i / 16] >> (4 * (i % 16)) & 15];
              const double product = x_piece[32 * b + i] * weight_value(element, scale);
              sum += product;
              magnitude += fabs(product);
            }
          }
          sums[half] += sum;
          magnitudes[half] += magnitude;
        }
      }
    }
    if (!active) continue;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (args.bias == nullptr || (half == 1 && !halves)) continue;
      const double bias = static_cast<double>(args.bias[w_first + (halves ? 2 * column + half : column)]);
      sums[half] += bias;
      magnitudes[half] += fabs(bias);
    }
    const double gamma = args.gammas != nullptr ? static_cast<double>(args.gammas[row]) : 1.0;
    if (!halves) {
      total += sums[0] * gamma;
      slack += magnitudes[0] * fabs(gamma);
      continue;
    }
    const double limit = static_cast<double>(args.swiglu.limit);
    double gate = sums[0], up = sums[1];
    if (gate > limit) gate = limit;
    if (up > limit) up = limit;
    if (up < -limit) up = -limit;
    up += static_cast<double>(args.swiglu.up_offset);
    const double silu = gate / (1.0 + exp(-static_cast<double>(args.swiglu.alpha) * gate));
    total += up * silu * gamma;
    // The derivative of g * sigmoid(alpha * g) along g is below 1.2 for every alpha.
    slack += (fabs(up) * 1.2 * magnitudes[0] + fabs(silu) * magnitudes[1]) * fabs(gamma);
  }
  if (!active) return;
  if (args.accumulate) {
    const double old = static_cast<double>(load_element(args.y_type, args.y_before, y_row * args.y_stride + column));
    total += old;
    slack += fabs(old);
  }
  args.value[y_row * args.columns + column] = total;
  args.slack[y_row * args.columns + column] = slack;
}

inline void compute_reference(cudaStream_t stream, const reference_args& args) {
  const std::int64_t chunks = (args.columns + reference_threads - 1) / reference_threads;
  enqueue(stream, {args.y_rows * chunks, reference_threads}, reference_kernel, args, chunks);
}

// --- comparison -----------------------------------------------------------------------------------------------------

/// How far an element may be off: relative * |ref| + absolute + of_slack * slack.
struct element_bound {
  double relative = 0;
  double absolute = 0;
  double of_slack = 0;
};

/// Largest ||y - ref|| / ||ref|| of a right result.
///   * 16-bit Y: rounding alone is at most 2^-9 of an element in bf16, 2^-12 in fp16; the bounds are about twice and
///     four times that.
///   * fp32 Y: X and W are exact, so what is left is the sum over K. Tensor cores cut sums off after every step of 16
///     instead of rounding them, which takes up to 2^-23 of the sum each time, always towards zero: on average a
///     quarter of that over the K / 16 steps that a term lives through, 3e-8 each. Three times that, and 2e-6 for the
///     rest. The sigmoid goes through the hardware's exp2 (relative error about 1e-6 at the arguments met here).
inline double error_limit(dtype y, activation act, std::int64_t k) {
  if (y == dtype::bf16) return 4e-3;
  if (y == dtype::fp16) return 1e-3;
  return 2e-6 + 1e-7 * static_cast<double>(k) / 16 + (act == activation::swiglu ? 1e-5 : 0.0);
}

/// The same for one element, whose terms may cancel: a share of the sum of their magnitudes comes in, four times the
/// worst case of what error_limit describes.
inline element_bound bound_of_element(dtype y, activation act, std::int64_t k) {
  element_bound bound{.relative = 0x1p-20, .absolute = 1e-37, .of_slack = 0x1p-21 * (static_cast<double>(k) / 16 + 16)};
  if (act == activation::swiglu) bound.relative = 1e-5;
  if (y == dtype::bf16) bound.relative = 0x1p-8;
  if (y == dtype::fp16) bound = {.relative = 0x1p-11, .absolute = 0x1p-24, .of_slack = bound.of_slack};
  return bound;
}

inline double largest_of(dtype y) {
  return y == dtype::fp16 ? 65504.0 : y == dtype::bf16 ? 0x1.FEp127 : 0x1.FFFFFEp127;
}

struct comparison_counts {
  unsigned long long wrong_class = 0;      ///< finite where it must not be, NaN or infinity where it must not be
  unsigned long long not_written = 0;      ///< still what Y held before
  unsigned long long written_outside = 0;  ///< bytes changed in rows or columns that nobody may write
  unsigned long long beyond_bound = 0;     ///< elements
  unsigned long long first_bad = ~0ull;    ///< row * row_stride + column of the first of them all
};

struct compare_args {
  reference_args reference;
  const void* y = nullptr;
  element_bound bound;
  double largest = 0;            ///< finite number of the format of Y
  double* row_error2 = nullptr;  ///< [y_rows], written: sum of squares over the finite elements
  double* row_norm2 = nullptr;   ///< [y_rows], written
  comparison_counts* counts = nullptr;
};

__device__ inline unsigned element_bits(dtype type, const void* data, std::int64_t i) {
  return type == dtype::fp32 ? static_cast<const unsigned*>(data)[i] : static_cast<const std::uint16_t*>(data)[i];
}

__device__ inline void note(unsigned long long& counter, comparison_counts* counts, std::int64_t at) {
  atomicAdd(&counter, 1ull);
  atomicMin(&counts->first_bad, static_cast<unsigned long long>(at));
}

/// A block has one row of Y, with what lies behind its columns.
__global__ void compare_kernel(compare_args args) {
  __shared__ double sums[2][reference_threads];
  const reference_args& ref = args.reference;
  const std::int64_t row = blockIdx.x;
  bool written = ref.every_row;
  for (int s = 0; s < ref.topk; ++s) written = written || ref.slot_row[row * ref.topk + s] >= 0;
  double error2 = 0, norm2 = 0;
  for (std::int64_t column = threadIdx.x; column < ref.y_stride; column += reference_threads) {
    const std::int64_t at = row * ref.y_stride + column;
    const bool same = element_bits(ref.y_type, args.y, at) == element_bits(ref.y_type, ref.y_before, at);
    if (!written || column >= ref.columns) {
      if (!same) note(args.counts->written_outside, args.counts, at);
      continue;
    }
    const double value = static_cast<double>(load_element(ref.y_type, args.y, at));
    const double expected = ref.value[row * ref.columns + column];
    const double slack = ref.slack[row * ref.columns + column];
    const double magnitude = fabs(expected);
    if (same && !ref.accumulate) {
      note(args.counts->not_written, args.counts, at);
    } else if (expected != expected) {
      if (value == value) note(args.counts->wrong_class, args.counts, at);
    } else if (magnitude >= 1.01 * args.largest) {
      const double infinity = expected > 0 ? __builtin_huge_val() : -__builtin_huge_val();
      if (value != infinity) note(args.counts->wrong_class, args.counts, at);
    } else if (magnitude <= 0.99 * args.largest) {
      const double error = fabs(value - expected);
      if (!(error < __builtin_huge_val())) {
        note(args.counts->wrong_class, args.counts, at);
        continue;
      }
      if (error > args.bound.relative * magnitude + args.bound.absolute + args.bound.of_slack * slack)
        note(args.counts->beyond_bound, args.counts, at);
      error2 += error * error;
      norm2 += expected * expected;
    }
  }
  sums[0][threadIdx.x] = error2;
  sums[1][threadIdx.x] = norm2;
  for (int width = reference_threads / 2; width > 0; width /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < width)
      for (int i = 0; i < 2; ++i) sums[i][threadIdx.x] += sums[i][static_cast<int>(threadIdx.x) + width];
  }
  if (threadIdx.x == 0) {
    args.row_error2[row] = sums[0][0];
    args.row_norm2[row] = sums[1][0];
  }
}

}  // namespace tilefit_gpu
