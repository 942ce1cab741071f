// L6: the CPU backend's inner functions for AVX-512 (F, BW, VL).
// Knows: the instructions and the layouts of kernel_table.hpp.
// Must not know: whether this processor has them (dispatch.hpp); only functions marked with a target use them.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernel_table.hpp"

#define TILEFIT_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx2,fma")))

namespace tilefit::inline v0::detail {

struct avx512_kernels {
  static constexpr int strip = 32;
  static constexpr int max_rows = 8;  ///< 8 x 2 accumulators, two panel vectors and a broadcast: 19 of 32 registers

  /// GCC 12 warns about its own unmasked intrinsics (undefined pass-through operands, GCC bug 105593); the masked forms
  /// with all lanes on give the same instructions.
  static constexpr __mmask16 all = 0xFFFF;
  static constexpr __mmask8 all_wide = 0xFF;

  /// The 16 values of E2M1. A vector permute looks at the low four bits of each lane alone, so no mask is needed.
  TILEFIT_AVX512 static __m512 e2m1_values() {
    return _mm512_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f, -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f,
                          -4.0f, -6.0f);
  }

  /// 16 E8M0 bytes to floats: 0 is 2^-127, 255 is NaN.
  TILEFIT_AVX512 static __m512 scales_of(__m128i bytes) {
    const __m512i code = _mm512_maskz_cvtepu8_epi32(all, bytes);
    const __m512i bits =
        _mm512_maskz_max_epi32(all, _mm512_maskz_slli_epi32(all, code, 23), _mm512_set1_epi32(0x0040'0000));
    const __mmask16 nan = _mm512_cmpeq_epi32_mask(code, _mm512_set1_epi32(255));
    return _mm512_castsi512_ps(_mm512_mask_mov_epi32(bits, nan, _mm512_set1_epi32(0x7FC0'0000)));
  }

  TILEFIT_AVX512 static __m128i load_16(const std::uint8_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }

  /// 16-byte blocks of rows first, first + 4, first + 8, first + 12.
  TILEFIT_AVX512 static __m512i load_rows(const std::uint8_t* const* row, std::int64_t offset, int first) {
    __m512i v = _mm512_castsi128_si512(load_16(row[first] + offset));
    v = _mm512_maskz_inserti32x4(all, v, load_16(row[first + 4] + offset), 1);
    v = _mm512_maskz_inserti32x4(all, v, load_16(row[first + 8] + offset), 2);
    return _mm512_maskz_inserti32x4(all, v, load_16(row[first + 12] + offset), 3);
  }

  /// The eight nibbles of each lane, times `scale`, to eight rows of a panel.
  TILEFIT_AVX512 static void store_nibbles(__m512i word, __m512 scale, float* panel) {
    const __m512 values = e2m1_values();
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      _mm512_store_ps(panel + j * strip, _mm512_mul_ps(_mm512_maskz_permutexvar_ps(all, word, values), scale));
      word = _mm512_maskz_srli_epi32(all, word, 4);
    }
  }

  TILEFIT_AVX512 static void widen_mxfp4(const packed_rows& w, int columns, int blocks, float* panel) {
    for (int half = 0; half < strip; half += 16) {
      const std::uint8_t* values[16];
      const std::uint8_t* scales[16];
      for (int i = 0; i < 16; ++i) {
        const std::int64_t row = half + i < columns ? half + i : columns - 1;
        values[i] = w.values + row * w.value_stride;
        scales[i] = w.scales + row * w.scale_stride;
        // The next slice of K of the same rows is wanted soon. Its last byte: the line of its first one is in use now.
        _mm_prefetch(reinterpret_cast<const char*>(values[i]) + 32 * blocks - 1, _MM_HINT_T1);
      }
      for (int b = 0; b < blocks; ++b) {
        alignas(16) std::uint8_t bytes[16];
        for (int i = 0; i < 16; ++i) bytes[i] = scales[i][b];
        const __m512 scale = scales_of(load_16(bytes));
        // Four 4 x 4 transposes of words, one per 128-bit lane: lane order comes out as row order.
        const __m512i r0 = load_rows(values, b * 16, 0);
        const __m512i r1 = load_rows(values, b * 16, 1);
        const __m512i r2 = load_rows(values, b * 16, 2);
        const __m512i r3 = load_rows(values, b * 16, 3);
        const __m512i low01 = _mm512_maskz_unpacklo_epi32(all, r0, r1);
        const __m512i low23 = _mm512_maskz_unpacklo_epi32(all, r2, r3);
        const __m512i high01 = _mm512_maskz_unpackhi_epi32(all, r0, r1);
        const __m512i high23 = _mm512_maskz_unpackhi_epi32(all, r2, r3);
        float* out = panel + b * 32 * strip + half;
        store_nibbles(_mm512_maskz_unpacklo_epi64(all_wide, low01, low23), scale, out);
        store_nibbles(_mm512_maskz_unpackhi_epi64(all_wide, low01, low23), scale, out + 8 * strip);
        store_nibbles(_mm512_maskz_unpacklo_epi64(all_wide, high01, high23), scale, out + 16 * strip);
        store_nibbles(_mm512_maskz_unpackhi_epi64(all_wide, high01, high23), scale, out + 24 * strip);
      }
    }
  }

  TILEFIT_AVX512 static float sum_of_lanes(__m512 lanes) {
    alignas(64) float sum[16];
    _mm512_store_ps(sum, lanes);
    for (int width = 8; width > 0; width /= 2)
      for (int i = 0; i < width; ++i) sum[i] += sum[i + width];
    return sum[0];
  }

  template <int Rows>
  TILEFIT_AVX512 static void multiply_rows(const float* x, std::int64_t x_stride, const float* panel, int depth,
                                           float* acc, std::int64_t acc_stride) {
    __m512 sum[Rows][2];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int h = 0; h < 2; ++h) sum[r][h] = _mm512_load_ps(acc + r * acc_stride + 16 * h);
    for (int k = 0; k < depth; ++k) {
      const __m512 w0 = _mm512_load_ps(panel + k * strip);
      const __m512 w1 = _mm512_load_ps(panel + k * strip + 16);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        const __m512 value = _mm512_set1_ps(x[r * x_stride + k]);
        sum[r][0] = _mm512_fmadd_ps(value, w0, sum[r][0]);
        sum[r][1] = _mm512_fmadd_ps(value, w1, sum[r][1]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int h = 0; h < 2; ++h) _mm512_store_ps(acc + r * acc_stride + 16 * h, sum[r][h]);
  }

  TILEFIT_AVX512 static void multiply(const x_rows& x, const float* panel, int depth, const accumulators& acc) {
    using function = void (*)(const float*, std::int64_t, const float*, int, float*, std::int64_t);
    constexpr function of_rows[max_rows + 1] = {nullptr,          multiply_rows<1>, multiply_rows<2>,
                                                multiply_rows<3>, multiply_rows<4>, multiply_rows<5>,
                                                multiply_rows<6>, multiply_rows<7>, multiply_rows<8>};
    // Blocks of equal height: 9 rows are 5 + 4, not 8 + 1.
    for (int r = 0, blocks = (x.rows + max_rows - 1) / max_rows; blocks > 0; --blocks) {
      const int rows = (x.rows - r + blocks - 1) / blocks;
      of_rows[rows](x.data + r * x.stride, x.stride, panel, depth, acc.data + r * acc.stride, acc.stride);
      r += rows;
    }
  }

  /// Lane l of a chunk's word vector holds the eight nibbles 8 l ... 8 l + 7; a 128-bit lane is one scale block. The
  /// products of a chunk are summed without their scale, which then goes in with one FMA.
  template <int Rows, int Columns>
  TILEFIT_AVX512 static void dot_columns(const x_rows& x, const packed_rows& w, std::int64_t column, int blocks,
                                         const accumulators& acc) {
    const __m512 values = e2m1_values();
    const __m512i spread = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    const std::uint8_t* w_row[Columns];
    const std::uint8_t* s_row[Columns];
    __m512 sum[Rows][Columns];
#pragma GCC unroll 8
    for (int c = 0; c < Columns; ++c) {
      w_row[c] = w.values + (column + c) * w.value_stride;
      s_row[c] = w.scales + (column + c) * w.scale_stride;
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) sum[r][c] = _mm512_setzero_ps();
    }
    for (int b0 = 0; b0 < blocks; b0 += 16) {
      const int here = blocks - b0 < 16 ? blocks - b0 : 16;
      __m512 scales[Columns];
#pragma GCC unroll 8
      for (int c = 0; c < Columns; ++c)
        scales[c] = scales_of(_mm_maskz_loadu_epi8(static_cast<__mmask16>((1u << here) - 1), s_row[c] + b0));
      __m512i index = spread;
      for (int b = 0; b < here; b += 4, index = _mm512_add_epi32(index, _mm512_set1_epi32(4))) {
        const int left = here - b < 4 ? here - b : 4;
        const __mmask16 mask = static_cast<__mmask16>((1u << (4 * left)) - 1);
        const float* x_chunk = x.data + (b0 + b) * 32;
        __m512i word[Columns];
        __m512 part[Rows][Columns];
#pragma GCC unroll 8
        for (int c = 0; c < Columns; ++c) {
          word[c] = _mm512_maskz_loadu_epi32(mask, w_row[c] + (b0 + b) * 16);
          _mm_prefetch(reinterpret_cast<const char*>(w_row[c]) + (b0 + b) * 16 + prefetch_bytes, _MM_HINT_T1);
#pragma GCC unroll 8
          for (int r = 0; r < Rows; ++r) part[r][c] = _mm512_setzero_ps();
        }
#pragma GCC unroll 8
        for (int j = 0; j < 8; ++j)
#pragma GCC unroll 8
          for (int c = 0; c < Columns; ++c) {
            const __m512 value = _mm512_maskz_permutexvar_ps(all, word[c], values);
            word[c] = _mm512_maskz_srli_epi32(all, word[c], 4);
#pragma GCC unroll 8
            for (int r = 0; r < Rows; ++r)
              part[r][c] = _mm512_fmadd_ps(value, _mm512_load_ps(x_chunk + r * x.stride + 16 * j), part[r][c]);
          }
#pragma GCC unroll 8
        for (int c = 0; c < Columns; ++c) {
          const __m512 scale = _mm512_maskz_permutexvar_ps(all, index, scales[c]);
#pragma GCC unroll 8
          for (int r = 0; r < Rows; ++r) sum[r][c] = _mm512_fmadd_ps(part[r][c], scale, sum[r][c]);
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int c = 0; c < Columns; ++c) acc.data[r * acc.stride + column + c] = sum_of_lanes(sum[r][c]);
  }

  template <int Rows>
  TILEFIT_AVX512 static void dot_rows(const x_rows& x, const packed_rows& w, int columns, int blocks,
                                      const accumulators& acc) {
    int c = 0;
    for (; c + 2 <= columns; c += 2) dot_columns<Rows, 2>(x, w, c, blocks, acc);
    if (c < columns) dot_columns<Rows, 1>(x, w, c, blocks, acc);
  }

  TILEFIT_AVX512 static void dot_mxfp4(const x_rows& x, const packed_rows& w, int columns, int blocks,
                                       const accumulators& acc) {
    switch (x.rows) {
      case 1: return dot_rows<1>(x, w, columns, blocks, acc);
      case 2: return dot_rows<2>(x, w, columns, blocks, acc);
      case 3: return dot_rows<3>(x, w, columns, blocks, acc);
      default: return dot_rows<4>(x, w, columns, blocks, acc);
    }
  }

  /// How far ahead dot_mxfp4 fetches, into L2. Measured on Zen 4, one core, BF16 dot products on weights in memory:
  /// 21 GB/s so, 12 GB/s at 4096 or into L1, whose few miss buffers then are the limit.
  static constexpr int prefetch_bytes = 8192;
  static constexpr kernel_table table{host::isa::avx512, strip, widen_mxfp4, multiply, dot_mxfp4, nullptr};
};

}  // namespace tilefit::inline v0::detail

#undef TILEFIT_AVX512
