// L6: the CPU backend's inner functions for AVX2 with FMA.
// Knows: the instructions and the layouts of kernel_table.hpp.
// Must not know: whether this processor has them (dispatch.hpp); only functions marked with a target use them.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "../float_formats.hpp"
#include "kernel_table.hpp"

#define TILEFIT_AVX2 __attribute__((target("avx2,fma")))

namespace tilefit::inline v0::detail {

struct avx2_kernels {
  static constexpr int strip = 16;
  static constexpr int max_rows = 6;  ///< 6 x 2 accumulators, two panel vectors and a broadcast: 15 of 16 registers

  TILEFIT_AVX2 static __m128i load_16(const std::uint8_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }

  /// 16-byte blocks of rows first and first + 4.
  TILEFIT_AVX2 static __m256i load_rows(const std::uint8_t* const* row, std::int64_t offset, int first) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load_16(row[first] + offset)),
                                   load_16(row[first + 4] + offset), 1);
  }

  /// The eight nibbles of each lane, times `scale`, to eight rows of a panel.
  TILEFIT_AVX2 static void store_nibbles(__m256i word, __m256 scale, float* panel) {
    const __m256 magnitudes = _mm256_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f);
    const __m256i sign = _mm256_set1_epi32(static_cast<int>(0x8000'0000u));
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      // The permute looks at the low three bits; the fourth becomes the sign.
      const __m256 magnitude = _mm256_permutevar8x32_ps(magnitudes, word);
      const __m256i minus = _mm256_and_si256(_mm256_slli_epi32(word, 28), sign);
      _mm256_store_ps(panel + j * strip, _mm256_mul_ps(_mm256_or_ps(magnitude, _mm256_castsi256_ps(minus)), scale));
      word = _mm256_srli_epi32(word, 4);
    }
  }

  TILEFIT_AVX2 static void widen_mxfp4(const packed_rows& w, int columns, int blocks, float* panel) {
    for (int half = 0; half < strip; half += 8) {
      const std::uint8_t* values[8];
      const std::uint8_t* scales[8];
      for (int i = 0; i < 8; ++i) {
        const std::int64_t row = half + i < columns ? half + i : columns - 1;
        values[i] = w.values + row * w.value_stride;
        scales[i] = w.scales + row * w.scale_stride;
        _mm_prefetch(reinterpret_cast<const char*>(values[i]) + 32 * blocks - 1, _MM_HINT_T1);
      }
      for (int b = 0; b < blocks; ++b) {
        alignas(32) float factors[8];
        for (int i = 0; i < 8; ++i) factors[i] = e8m0_to_float(scales[i][b]);
        const __m256 scale = _mm256_load_ps(factors);
        const __m256i r0 = load_rows(values, b * 16, 0);
        const __m256i r1 = load_rows(values, b * 16, 1);
        const __m256i r2 = load_rows(values, b * 16, 2);
        const __m256i r3 = load_rows(values, b * 16, 3);
        const __m256i low01 = _mm256_unpacklo_epi32(r0, r1);
        const __m256i low23 = _mm256_unpacklo_epi32(r2, r3);
        const __m256i high01 = _mm256_unpackhi_epi32(r0, r1);
        const __m256i high23 = _mm256_unpackhi_epi32(r2, r3);
        float* out = panel + b * 32 * strip + half;
        store_nibbles(_mm256_unpacklo_epi64(low01, low23), scale, out);
        store_nibbles(_mm256_unpackhi_epi64(low01, low23), scale, out + 8 * strip);
        store_nibbles(_mm256_unpacklo_epi64(high01, high23), scale, out + 16 * strip);
        store_nibbles(_mm256_unpackhi_epi64(high01, high23), scale, out + 24 * strip);
      }
    }
  }

  template <int Rows>
  TILEFIT_AVX2 static void multiply_rows(const float* x, std::int64_t x_stride, const float* panel, int depth,
                                         float* acc, std::int64_t acc_stride) {
    __m256 sum[Rows][2];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int h = 0; h < 2; ++h) sum[r][h] = _mm256_load_ps(acc + r * acc_stride + 8 * h);
    for (int k = 0; k < depth; ++k) {
      const __m256 w0 = _mm256_load_ps(panel + k * strip);
      const __m256 w1 = _mm256_load_ps(panel + k * strip + 8);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        const __m256 value = _mm256_broadcast_ss(x + r * x_stride + k);
        sum[r][0] = _mm256_fmadd_ps(value, w0, sum[r][0]);
        sum[r][1] = _mm256_fmadd_ps(value, w1, sum[r][1]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int h = 0; h < 2; ++h) _mm256_store_ps(acc + r * acc_stride + 8 * h, sum[r][h]);
  }

  TILEFIT_AVX2 static void multiply(const x_rows& x, const float* panel, int depth, const accumulators& acc) {
    using function = void (*)(const float*, std::int64_t, const float*, int, float*, std::int64_t);
    constexpr function of_rows[max_rows + 1] = {nullptr,          multiply_rows<1>, multiply_rows<2>, multiply_rows<3>,
                                                multiply_rows<4>, multiply_rows<5>, multiply_rows<6>};
    for (int r = 0, blocks = (x.rows + max_rows - 1) / max_rows; blocks > 0; --blocks) {
      const int rows = (x.rows - r + blocks - 1) / blocks;
      of_rows[rows](x.data + r * x.stride, x.stride, panel, depth, acc.data + r * acc.stride, acc.stride);
      r += rows;
    }
  }

  static constexpr kernel_table table{host::isa::avx2, strip, widen_mxfp4, multiply, nullptr, nullptr};
};

}  // namespace tilefit::inline v0::detail

#undef TILEFIT_AVX2
