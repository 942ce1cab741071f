// L6: the path of 1 to 4 rows with BF16 activations for AVX-512 with BF16 dot products; the rest is
// kernels_avx512.hpp's. Knows: the instructions and the layouts of kernel_table.hpp. Must not know: whether this
// processor has them (dispatch.hpp); only functions marked with a target use them.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "../float_formats.hpp"
#include "kernel_table.hpp"
#include "kernels_avx512.hpp"

#define TILEFIT_AVX512_BF16 \
  __attribute__((always_inline, target("avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma"))) static inline

namespace tilefit::inline v0::detail {

/// E2M1 and BF16 values multiply exactly in fp32; vdpbf16ps adds two products a step and takes subnormal operands and
/// sums as zero (Intel intrinsics guide, _mm512_dpbf16_ps). Like dot_mxfp4, sums of 32 get their scale afterwards.
struct avx512_bf16_kernels {
  using base = avx512_kernels;

  /// BF16 patterns of the 16 values, twice: the permute looks at the low five bits of each word, of which the fifth
  /// belongs to the next nibble.
  TILEFIT_AVX512_BF16 __m512i e2m1_values() {
    alignas(64) std::uint16_t codes[32];
    for (unsigned i = 0; i < 32; ++i) codes[i] = float_to_bf16(e2m1_to_float(static_cast<std::uint8_t>(i & 15)));
    return _mm512_load_si512(codes);
  }

  /// One chunk (128 elements of K; `blocks` of its four blocks exist) of `Columns` weight rows.
  template <int Rows, int Columns>
  struct chunk_sums {
    __m512 sum[Rows][Columns];
    __m512 scales[Columns];
    const std::uint8_t* values[Columns];

    TILEFIT_AVX512_BF16 void add(chunk_sums& s, const x_rows_bf16& x, __m512i e2m1, std::int64_t block,
                                 __m512i scale_index, __mmask16 words) {
      __m512i word[Columns];
      __m512 part[Rows][Columns];
#pragma GCC unroll 8
      for (int c = 0; c < Columns; ++c) {
        word[c] = _mm512_maskz_loadu_epi32(words, s.values[c] + block * 16);
        _mm_prefetch(reinterpret_cast<const char*>(s.values[c]) + block * 16 + base::prefetch_bytes, _MM_HINT_T1);
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) part[r][c] = _mm512_setzero_ps();
      }
#pragma GCC unroll 8
      for (int j = 0; j < 4; ++j) {
        __m512i x_words[Rows];
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) x_words[r] = _mm512_load_si512(x.data + r * x.stride + block * 32 + 32 * j);
#pragma GCC unroll 8
        for (int c = 0; c < Columns; ++c) {
          const __m512i w = _mm512_permutexvar_epi16(word[c], e2m1);
          word[c] = _mm512_srli_epi16(word[c], 4);
#pragma GCC unroll 8
          for (int r = 0; r < Rows; ++r)
            part[r][c] =
                _mm512_dpbf16_ps(part[r][c], reinterpret_cast<__m512bh>(w), reinterpret_cast<__m512bh>(x_words[r]));
        }
      }
#pragma GCC unroll 8
      for (int c = 0; c < Columns; ++c) {
        const __m512 scale = _mm512_maskz_permutexvar_ps(base::all, scale_index, s.scales[c]);
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) s.sum[r][c] = _mm512_fmadd_ps(part[r][c], scale, s.sum[r][c]);
      }
    }
  };

  template <int Rows, int Columns>
  TILEFIT_AVX512_BF16 void dot_columns(const x_rows_bf16& x, const packed_rows& w, std::int64_t column, int blocks,
                                       const accumulators& acc) {
    const __m512i e2m1 = e2m1_values();
    const __m512i first_scales = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    chunk_sums<Rows, Columns> s;
    const std::uint8_t* scale_bytes[Columns];
#pragma GCC unroll 8
    for (int c = 0; c < Columns; ++c) {
      s.values[c] = w.values + (column + c) * w.value_stride;
      scale_bytes[c] = w.scales + (column + c) * w.scale_stride;
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) s.sum[r][c] = _mm512_setzero_ps();
    }
    for (int b0 = 0; b0 < blocks; b0 += 16) {
      const int here = blocks - b0 < 16 ? blocks - b0 : 16;
      const auto present = static_cast<__mmask16>((1u << here) - 1);
#pragma GCC unroll 8
      for (int c = 0; c < Columns; ++c)
        s.scales[c] = base::scales_of(_mm_maskz_loadu_epi8(present, scale_bytes[c] + b0));
      __m512i index = first_scales;
      int b = 0;
      for (; b + 4 <= here; b += 4, index = _mm512_add_epi32(index, _mm512_set1_epi32(4)))
        chunk_sums<Rows, Columns>::add(s, x, e2m1, b0 + b, index, base::all);
      if (b < here)
        chunk_sums<Rows, Columns>::add(s, x, e2m1, b0 + b, index, static_cast<__mmask16>((1u << 4 * (here - b)) - 1));
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int c = 0; c < Columns; ++c) acc.data[r * acc.stride + column + c] = base::sum_of_lanes(s.sum[r][c]);
  }

  template <int Rows>
  __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma"))) static void dot_rows(
      const x_rows_bf16& x, const packed_rows& w, int columns, int blocks, const accumulators& acc) {
    constexpr int together = Rows <= 2 ? 4 : 2;
    int c = 0;
    for (; c + together <= columns; c += together) dot_columns<Rows, together>(x, w, c, blocks, acc);
    for (; c < columns; ++c) dot_columns<Rows, 1>(x, w, c, blocks, acc);
  }

  static void dot_mxfp4_bf16(const x_rows_bf16& x, const packed_rows& w, int columns, int blocks,
                             const accumulators& acc) {
    switch (x.rows) {
      case 1: return dot_rows<1>(x, w, columns, blocks, acc);
      case 2: return dot_rows<2>(x, w, columns, blocks, acc);
      case 3: return dot_rows<3>(x, w, columns, blocks, acc);
      default: return dot_rows<4>(x, w, columns, blocks, acc);
    }
  }

  static constexpr kernel_table table{host::isa::avx512_bf16, base::strip,     base::widen_mxfp4,
                                      base::multiply,         base::dot_mxfp4, dot_mxfp4_bf16};
};

}  // namespace tilefit::inline v0::detail

#undef TILEFIT_AVX512_BF16
