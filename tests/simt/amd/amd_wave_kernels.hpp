// Small kernels for waves of 64 lanes, each with some of the functions of AMD kernels.
#pragma once

#include <cstdint>

namespace tilefit_simt {

struct wave_arguments {
  const void* a = nullptr;
  const void* b = nullptr;
  const std::uint8_t* scales_a = nullptr;
  const std::uint8_t* scales_b = nullptr;
  float* y = nullptr;
  std::int32_t* out = nullptr;
  int k = 0;
};
using wave_kernel = void (*)(wave_arguments);

/// y[16, 32] = a[16, k] * b[32, k]^T, BF16, k a multiple of 32. 128 lanes, 6,144 bytes of LDS: two stages, filled by
/// loads straight into LDS while the one before is multiplied; two waves share A.
extern const wave_kernel multiply_from_lds;
/// y[16, 16] = a[16, 32] * b[32, 16], BF16, through transposing reads of b. 64 lanes, 1,024 bytes.
extern const wave_kernel multiply_transposed;
/// y[16, 16] = a[16, 128] * b[16, 128]^T, a MXFP4, b MXFP8 or MXFP4, scales [16, 4]. 64 lanes.
extern const wave_kernel multiply_fp4_fp8;
extern const wave_kernel multiply_fp4_fp4;
/// y[32, 32] = a[32, 64] * b[32, 64]^T, a MXFP4, b MXFP8. 64 lanes.
extern const wave_kernel multiply_fp4_fp8_32;
/// out[64 * i + lane]: what lane gets from each way of looking at other lanes.
extern const wave_kernel look_at_lanes;
/// out[lane]: words of a [64 words] and what lies behind them, through a buffer.
extern const wave_kernel load_with_bounds;
extern const wave_kernel load_behind_by_scalar;  ///< where chips differ
extern const wave_kernel load_to_two_places;     ///< the wave disagrees about where in LDS
extern const wave_kernel three_arrays;           ///< of 1,024 bytes each
extern const wave_kernel half_of_a_wave;         ///< multiplies with half of its lanes

}  // namespace tilefit_simt
