// The executor's models of matrix instructions, against layouts written down a second time: the PTX ISA's formulas with
// groupID and threadID_in_group, and the loads and stores of AMD's own examples.
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "../support/catch.hpp"
#include "tilefit/device/simt/amd_models.hpp"
#include "tilefit/device/simt/cuda_models.hpp"
#include "tilefit/device/simt/cuda_scaled_models.hpp"

using namespace tilefit;

namespace {

using matrix = std::vector<std::vector<double>>;

std::uint32_t random_bits() {
  static std::mt19937 generator(7);
  return static_cast<std::uint32_t>(generator());
}

matrix zeros(int rows, int columns) {
  return matrix(static_cast<std::size_t>(rows), std::vector<double>(static_cast<std::size_t>(columns)));
}
double& at(matrix& m, int row, int column) {
  return m[static_cast<std::size_t>(row)][static_cast<std::size_t>(column)];
}

/// Small whole numbers: every product and sum is exact.
matrix whole_numbers(int rows, int columns) {
  matrix m = zeros(rows, columns);
  for (auto& row : m)
    for (double& value : row) value = static_cast<double>(static_cast<int>(random_bits() % 9) - 4);
  return m;
}

matrix product(matrix& a, matrix& b, matrix c) {
  for (std::size_t i = 0; i < c.size(); ++i)
    for (std::size_t j = 0; j < c[i].size(); ++j)
      for (std::size_t k = 0; k < b.size(); ++k) c[i][j] += a[i][k] * b[k][j];
  return c;
}

std::uint32_t half_bits(dtype type, double value) {
  return type == dtype::bf16 ? float_to_bf16(static_cast<float>(value)) : float_to_fp16(static_cast<float>(value));
}

}  // namespace

// --- NVIDIA ---------------------------------------------------------------------------------------------------------

TEMPLATE_TEST_CASE_SIG("models: mma.sync m16n8k16", "[simt]", ((dtype X), X), dtype::bf16, dtype::fp16) {
  matrix a = whole_numbers(16, 16), b = whole_numbers(16, 8), c = whole_numbers(16, 8);
  std::uint32_t registers_a[32][4] = {}, registers_b[32][2] = {};
  float sums[32][4];
  simt::mma_registers registers[32];
  const simt::mma_registers* lanes[32];
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane >> 2, in_group = lane % 4;
    // PTX ISA, m16n8k16, A: rows groupID for i in 0, 1, 4, 5; columns + 8 from i = 4 on.
    for (int i = 0; i < 8; ++i) {
      const int row = (i < 2 || (4 <= i && i < 6)) ? group : group + 8;
      const int column = in_group * 2 + (i & 1) + (i < 4 ? 0 : 8);
      registers_a[lane][i / 2] |= half_bits(X, at(a, row, column)) << (16 * (i & 1));
    }
    for (int i = 0; i < 4; ++i) {
      const int row = in_group * 2 + (i & 1) + (i < 2 ? 0 : 8);
      registers_b[lane][i / 2] |= half_bits(X, at(b, row, group)) << (16 * (i & 1));
      sums[lane][i] = static_cast<float>(at(c, i < 2 ? group : group + 8, in_group * 2 + (i & 1)));
    }
    registers[lane] = {.sum = sums[lane], .a = registers_a[lane], .b = {registers_b[lane][0], registers_b[lane][1]}};
    lanes[lane] = &registers[lane];
  }
  simt::model_mma_m16n8k16<X>(lanes);
  matrix expected = product(a, b, c);
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i)
      CHECK(double{sums[lane][i]} == at(expected, i < 2 ? lane >> 2 : (lane >> 2) + 8, lane % 4 * 2 + (i & 1)));
}

TEST_CASE("models: ldmatrix .x4", "[simt]") {
  std::uint16_t matrices[4][8][8];
  std::memset(matrices, 0, sizeof matrices);
  for (int m = 0; m < 4; ++m)
    for (int row = 0; row < 8; ++row)
      for (int i = 0; i < 8; ++i) matrices[m][row][i] = static_cast<std::uint16_t>(1000 * m + 10 * row + i);
  const std::byte* rows[32];
  std::uint32_t to[32][4];
  std::uint32_t(*targets[32])[4];
  // PTX ISA, ldmatrix: threads 0-7 name the rows of the first matrix, 8-15 of the second, and so on.
  for (int lane = 0; lane < 32; ++lane) {
    rows[lane] = reinterpret_cast<const std::byte*>(matrices[lane / 8][lane % 8]);
    targets[lane] = &to[lane];
  }
  simt::model_ldmatrix_x4(rows, targets);
  // Each row goes to four threads, two elements to each.
  for (int m = 0; m < 4; ++m)
    for (int row = 0; row < 8; ++row)
      for (int i = 0; i < 8; ++i)
        CHECK(static_cast<int>(to[4 * row + i / 2][m] >> (16 * (i % 2)) & 0xFFFF) == 1000 * m + 10 * row + i);
}

TEST_CASE("models: mma.sync m16n8k64 kind::mxf4", "[simt]") {
  matrix a = zeros(16, 64), b = zeros(64, 8), c = whole_numbers(16, 8);
  std::uint32_t registers_a[32][4] = {}, registers_b[32][2] = {}, scales_a[32], scales_b[32];
  float sums[32][4];
  const simt::scale_selectors selectors{.byte_a = 2, .thread_a = 1, .byte_b = 0, .thread_b = 1};
  for (int lane = 0; lane < 32; ++lane) {
    // Bytes that nobody asks for are far off.
    scales_a[lane] = (126 + random_bits() % 3) << 16 | (126 + random_bits() % 3) << 24 | 0xC8C8;
    scales_b[lane] = (126 + random_bits() % 3) | (126 + random_bits() % 3) << 8 | 0xC8C80000;
  }
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane >> 2, in_group = lane % 4;
    for (int i = 0; i < 32; ++i) {
      const int row = (i < 8 || (16 <= i && i < 24)) ? group : group + 8;
      const int column = in_group * 8 + (i & 7) + (i < 16 ? 0 : 32);
      const std::uint32_t code = random_bits() & 15;
      registers_a[lane][i / 8] |= code << (4 * (i & 7));
      // Rows 0-7: the third thread of the quad with thread-id 1; rows 8-15: the fourth.
      const std::uint32_t word = scales_a[4 * (row % 8) + (row < 8 ? 2 : 3)];
      at(a, row, column) = double{e2m1_to_float(static_cast<std::uint8_t>(code))} *
                           std::exp2(static_cast<int>(word >> (column < 32 ? 16 : 24) & 255) - 127);
    }
    for (int i = 0; i < 16; ++i) {
      const int row = in_group * 8 + (i & 7) + (i < 8 ? 0 : 32);
      const std::uint32_t code = random_bits() & 15;
      registers_b[lane][i / 8] |= code << (4 * (i & 7));
      at(b, row, group) = double{e2m1_to_float(static_cast<std::uint8_t>(code))} *
                          std::exp2(static_cast<int>(scales_b[4 * group + 1] >> (row < 32 ? 0 : 8) & 255) - 127);
    }
    for (int i = 0; i < 4; ++i)
      sums[lane][i] = static_cast<float>(at(c, i < 2 ? group : group + 8, in_group * 2 + (i & 1)));
  }
  simt::scaled_registers registers[32];
  const simt::scaled_registers* lanes[32];
  for (int lane = 0; lane < 32; ++lane) {
    registers[lane] = {.sum = sums[lane],
                       .a = registers_a[lane],
                       .b = registers_b[lane],
                       .scale_a = scales_a[lane],
                       .scale_b = scales_b[lane]};
    lanes[lane] = &registers[lane];
  }
  simt::model_mma_scaled<simt::scaled_element::e2m1, simt::scaled_element::e2m1>(lanes, selectors);
  matrix expected = product(a, b, c);
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i)
      CHECK(double{sums[lane][i]} == at(expected, i < 2 ? lane >> 2 : (lane >> 2) + 8, lane % 4 * 2 + (i & 1)));
}

TEST_CASE("models: mma.sync m16n8k32 kind::mxf8f6f4", "[simt]") {
  matrix a = zeros(16, 32), b = zeros(32, 8), c = whole_numbers(16, 8);
  std::uint32_t registers_a[32][4] = {}, registers_b[32][2] = {}, scales_a[32], scales_b[32];
  float sums[32][4];
  const simt::scale_selectors selectors{.byte_a = 3, .thread_a = 0, .byte_b = 1, .thread_b = 0};
  for (int lane = 0; lane < 32; ++lane) {
    scales_a[lane] = (126 + random_bits() % 3) << 24 | 0xC8C8C8;
    scales_b[lane] = (126 + random_bits() % 3) << 8 | 0xC8C800C8;
  }
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane >> 2, in_group = lane % 4;
    for (int i = 0; i < 16; ++i) {  // E4M3: whole numbers up to 4
      const int row = (i < 4 || (8 <= i && i < 12)) ? group : group + 8;
      const int column = in_group * 4 + (i & 3) + (i < 8 ? 0 : 16);
      const double value = static_cast<double>(random_bits() % 9) - 4;
      registers_a[lane][i / 4] |= static_cast<std::uint32_t>(float_to_e4m3(static_cast<float>(value))) << (8 * (i & 3));
      const std::uint32_t word = scales_a[4 * (row % 8) + (row < 8 ? 0 : 1)];
      at(a, row, column) = value * std::exp2(static_cast<int>(word >> 24) - 127);
    }
    for (int i = 0; i < 8; ++i) {  // E2M1 in the middle of a byte
      const int row = in_group * 4 + (i & 3) + (i < 4 ? 0 : 16);
      const std::uint32_t code = random_bits() & 15;
      registers_b[lane][i / 4] |= code << (8 * (i & 3) + 2);
      at(b, row, group) = double{e2m1_to_float(static_cast<std::uint8_t>(code))} *
                          std::exp2(static_cast<int>(scales_b[4 * group] >> 8 & 255) - 127);
    }
    for (int i = 0; i < 4; ++i)
      sums[lane][i] = static_cast<float>(at(c, i < 2 ? group : group + 8, in_group * 2 + (i & 1)));
  }
  simt::scaled_registers registers[32];
  const simt::scaled_registers* lanes[32];
  for (int lane = 0; lane < 32; ++lane) {
    registers[lane] = {.sum = sums[lane],
                       .a = registers_a[lane],
                       .b = registers_b[lane],
                       .scale_a = scales_a[lane],
                       .scale_b = scales_b[lane]};
    lanes[lane] = &registers[lane];
  }
  simt::model_mma_scaled<simt::scaled_element::contained_e4m3, simt::scaled_element::contained_e2m1>(lanes, selectors);
  matrix expected = product(a, b, c);
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i)
      CHECK(double{sums[lane][i]} == at(expected, i < 2 ? lane >> 2 : (lane >> 2) + 8, lane % 4 * 2 + (i & 1)));
}

// --- AMD ------------------------------------------------------------------------------------------------------------

namespace {

/// C as AMD's examples store it, row-major with `tile` columns.
int c_index_of_example(int tile, int lane, int i) {
  if (tile == 32) return lane % 32 + lane / 32 * 4 * 32 + (i % 4) * 32 + (i / 4) * 32 * 8;
  return i * 16 + lane % 16 + lane / 16 * 64;
}

template <int Tile>
struct mfma_wave {
  std::uint32_t a[64][8] = {}, b[64][8] = {}, scale_a[64] = {}, scale_b[64] = {};
  float sums[64][Tile * Tile / 64];
  simt::mfma_registers registers[64];
  const simt::mfma_registers* lanes[64];
  matrix c = whole_numbers(Tile, Tile);

  mfma_wave() {
    for (int lane = 0; lane < 64; ++lane) {
      for (int i = 0; i < Tile * Tile / 64; ++i) {
        const int index = c_index_of_example(Tile, lane, i);
        sums[lane][i] = static_cast<float>(at(c, index / Tile, index % Tile));
      }
      lanes[lane] = &registers[lane];
    }
  }
  void ready() {
    for (int lane = 0; lane < 64; ++lane)
      registers[lane] = {
          .sum = sums[lane], .a = a[lane], .b = b[lane], .scale_a = scale_a[lane], .scale_b = scale_b[lane]};
  }
  void check(matrix& left, matrix& right) {
    matrix expected = product(left, right, c);
    for (int lane = 0; lane < 64; ++lane)
      for (int i = 0; i < Tile * Tile / 64; ++i) {
        const int index = c_index_of_example(Tile, lane, i);
        CHECK(double{sums[lane][i]} == at(expected, index / Tile, index % Tile));
      }
  }
};

template <int Tile, dtype X, int Count>
void check_mfma_16bit() {
  constexpr int k_size = Count * 64 / Tile;
  matrix a = whole_numbers(Tile, k_size), b = whole_numbers(k_size, Tile);
  mfma_wave<Tile> wave;
  for (int lane = 0; lane < 64; ++lane)
    for (int i = 0; i < Count; ++i) {
      // A + Count * (lane / Tile) + K * (lane % Tile), row-major [Tile, K].
      const int a_index = Count * (lane / Tile) + k_size * (lane % Tile) + i;
      wave.a[lane][i / 2] |= half_bits(X, at(a, a_index / k_size, a_index % k_size)) << (16 * (i % 2));
      // B + i * Tile + lane % Tile + (lane / Tile) * Count * Tile, row-major [K, Tile].
      const int b_index = i * Tile + lane % Tile + lane / Tile * Count * Tile;
      wave.b[lane][i / 2] |= half_bits(X, at(b, b_index / Tile, b_index % Tile)) << (16 * (i % 2));
    }
  wave.ready();
  simt::model_mfma_16bit<Tile, X, Count>(wave.lanes);
  wave.check(a, b);
}

/// One operand as AMD's examples load it: row-major [Tile, K] seen from its row (A), or its column (B).
template <int Tile, int Bits>
void fill_scaled(matrix& numbers, bool is_a, std::uint32_t (&words)[64][8], const std::uint32_t (&scales)[64],
                 int byte) {
  constexpr int k_size = 2048 / Tile;
  for (int lane = 0; lane < 64; ++lane)
    for (int i = 0; i < 32; ++i) {
      const int row = lane % Tile;
      // E4M3: twice 16, the second time half of K further on. E2M1: 32 at once.
      const int k = Bits == 8 ? (lane / Tile) * 16 + (i / 16) * (k_size / 2) + i % 16 : (lane / Tile) * 32 + i;
      double value = 0;
      if constexpr (Bits == 8) {
        value = static_cast<double>(random_bits() % 9) - 4;
        words[lane][i / 4] |= static_cast<std::uint32_t>(float_to_e4m3(static_cast<float>(value))) << (8 * (i % 4));
      } else {
        const std::uint32_t code = random_bits() & 15;
        value = double{e2m1_to_float(static_cast<std::uint8_t>(code))};
        words[lane][i / 8] |= code << (4 * (i % 8));
      }
      // The scale of a row for K from 32 b on: lane row + Tile * b.
      const std::uint32_t scale = scales[row + Tile * (k / 32)] >> (8 * byte) & 255;
      (is_a ? at(numbers, row, k) : at(numbers, k, row)) = value * std::exp2(static_cast<int>(scale) - 127);
    }
}

template <int Tile, int BitsOfA, int BitsOfB>
void check_mfma_scaled(int byte_a, int byte_b) {
  constexpr int k_size = 2048 / Tile;
  matrix a = zeros(Tile, k_size), b = zeros(k_size, Tile);
  mfma_wave<Tile> wave;
  for (int lane = 0; lane < 64; ++lane) {
    wave.scale_a[lane] = 0xC8C8C8C8u;
    wave.scale_b[lane] = 0xC8C8C8C8u;
    const auto set = [](std::uint32_t& word, int byte) {
      word = (word & ~(255u << (8 * byte))) | (126 + random_bits() % 3) << (8 * byte);
    };
    set(wave.scale_a[lane], byte_a);
    set(wave.scale_b[lane], byte_b);
  }
  fill_scaled<Tile, BitsOfA>(a, true, wave.a, wave.scale_a, byte_a);
  fill_scaled<Tile, BitsOfB>(b, false, wave.b, wave.scale_b, byte_b);
  wave.ready();
  simt::model_mfma_scaled<Tile, BitsOfA, BitsOfB>(wave.lanes, byte_a, byte_b);
  wave.check(a, b);
}

}  // namespace

TEST_CASE("models: v_mfma with 16-bit operands", "[simt]") {
  check_mfma_16bit<16, dtype::bf16, 8>();
  check_mfma_16bit<32, dtype::bf16, 8>();
  check_mfma_16bit<16, dtype::fp16, 8>();
  check_mfma_16bit<32, dtype::fp16, 8>();
  check_mfma_16bit<16, dtype::bf16, 4>();
  check_mfma_16bit<32, dtype::bf16, 4>();
  check_mfma_16bit<16, dtype::fp16, 4>();
  check_mfma_16bit<32, dtype::fp16, 4>();
}

TEST_CASE("models: v_mfma_scale", "[simt]") {
  check_mfma_scaled<16, 4, 4>(0, 0);
  check_mfma_scaled<16, 4, 8>(1, 2);
  check_mfma_scaled<16, 8, 4>(3, 0);
  check_mfma_scaled<16, 8, 8>(2, 3);
  check_mfma_scaled<32, 4, 4>(0, 3);
  check_mfma_scaled<32, 4, 8>(2, 1);
  check_mfma_scaled<32, 8, 4>(0, 1);
  check_mfma_scaled<32, 8, 8>(0, 0);
}

TEMPLATE_TEST_CASE_SIG("models: transposing reads of LDS", "[simt]", ((int Bits), Bits), 16, 8, 4) {
  // A group of 16 lanes reads a row-major matrix of 16 columns, 8 bytes to a lane; lane i gets column i.
  constexpr int rows = 64 / Bits;
  std::uint64_t from[64] = {}, to[64];
  std::vector<std::uint64_t> element(64u * static_cast<unsigned>(rows));
  for (auto& value : element) value = random_bits() & ((std::uint64_t{1} << Bits) - 1);
  for (int group = 0; group < 4; ++group)
    for (int row = 0; row < rows; ++row)
      for (int column = 0; column < 16; ++column) {
        const int bit = Bits * (16 * row + column);  // of the group's 128 bytes
        from[16 * group + bit / 64] |= element[static_cast<std::size_t>((group * rows + row) * 16 + column)]
                                       << (bit % 64);
      }
  simt::model_read_transposed<Bits>(from, to);
  for (int group = 0; group < 4; ++group)
    for (int row = 0; row < rows; ++row)
      for (int column = 0; column < 16; ++column)
        CHECK((to[16 * group + column] >> (Bits * row) & ((std::uint64_t{1} << Bits) - 1)) ==
              element[static_cast<std::size_t>((group * rows + row) * 16 + column)]);
}

TEST_CASE("models: v_cvt_scalef32", "[simt]") {
  constexpr double magnitudes[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  for (std::uint32_t code = 0; code < 16; ++code)
    for (int exponent = -127; exponent <= 120; ++exponent) {
      // Only the exponent of the scale counts, whatever stands behind it.
      const float scale = detail::float_of_bits(static_cast<std::uint32_t>(exponent + 127) << 23 | 0x345678u);
      const double value = std::ldexp(code < 8 ? magnitudes[code] : -magnitudes[code - 8], exponent);
      const std::uint32_t pair = simt::model_cvt_pk_fp4<dtype::bf16>(code << 20, scale, 2);
      CHECK(double{bf16_to_float(static_cast<std::uint16_t>(pair >> 16))} == value);
      CHECK((pair & 0x7FFFu) == 0);
      const std::uint32_t half = simt::model_cvt_pk_fp4<dtype::fp16>(code, scale, 0);
      CHECK((half & 0xFFFF) == float_to_fp16(static_cast<float>(value)));
    }
  const float nan = detail::float_of_bits(0x7F800000u);  // scale 255
  CHECK((simt::model_cvt_pk_fp4<dtype::bf16>(0x22, nan, 0) & 0x7FFF) > 0x7F80);
  for (std::uint32_t code = 0; code < 256; ++code) {
    const std::uint32_t pair = simt::model_cvt_pk_fp8<dtype::bf16>(code << 24, 4.0f, 1);
    const float value = 4 * e4m3_to_float(static_cast<std::uint8_t>(code));
    CHECK(pair >> 16 == float_to_bf16(value));
    if (value == value) {
      CHECK(simt::model_cvt_pk_fp8_f32(0x11112222u, value, 0, 4.0f, 1) == (code << 16 | 0x2222u));
    }
  }
  for (std::uint32_t code = 0; code < 16; ++code) {
    const float value = 0.125f * e2m1_to_float(static_cast<std::uint8_t>(code));
    CHECK(simt::model_cvt_pk_fp4_f32(0x11223344u, 1.0f, value, 0.125f, 1) == (0x11220744u | code << 12));
  }
}
