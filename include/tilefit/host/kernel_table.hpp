// L6: what the CPU backend asks of a vector instruction set.
// Knows: the inner functions and the layouts they hand each other.
// Must not know: experts, rows of X and Y, threads, tiles.
#pragma once

#include <cstdint>
#include <string_view>

#include "../detail/config.hpp"

namespace tilefit::inline v0::host {

/// Vector instruction sets the backend has functions for. `automatic` is the best one of this processor.
enum class isa : std::uint8_t { automatic, portable, avx2, avx512, avx512_bf16 };

constexpr std::string_view name_of(isa level) noexcept {
  switch (level) {
    case isa::automatic: return "automatic";
    case isa::portable: return "portable";
    case isa::avx2: return "avx2";
    case isa::avx512: return "avx512";
    case isa::avx512_bf16: return "avx512_bf16";
  }
  return "?";
}

}  // namespace tilefit::inline v0::host

namespace tilefit::inline v0::detail {

/// Row-major MXFP4 weights from one row and one 32-block of K on.
struct packed_rows {
  const std::uint8_t* values = nullptr;
  const std::uint8_t* scales = nullptr;
  std::int64_t value_stride = 0;  ///< bytes from one row to the next
  std::int64_t scale_stride = 0;
};

/// A block of accumulators, row-major.
struct accumulators {
  float* data = nullptr;
  std::int64_t stride = 0;  ///< floats from one row to the next; a multiple of 64 bytes
};

/// X of a tile as fp32.
struct x_rows {
  const float* data = nullptr;
  std::int64_t stride = 0;
  int rows = 0;
};

/// X of a tile as BF16 codes.
struct x_rows_bf16 {
  const std::uint16_t* data = nullptr;
  std::int64_t stride = 0;
  int rows = 0;
};

/// The inner functions of one instruction set. A panel is W widened to fp32 and transposed: panel[k][strip], 64-byte
/// aligned; columns that do not exist repeat the last one and their sums are never read.
struct kernel_table {
  host::isa level;
  int strip;  ///< columns of a panel

  /// 32 * blocks elements of K of `columns` (1 .. strip) weight rows, scales applied, into a panel.
  void (*widen_mxfp4)(const packed_rows& w, int columns, int blocks, float* panel);

  /// acc[r][c] += sum over `depth` of x[r][k] * panel[k][c], k ascending, one rounding per step where the set has FMA.
  void (*multiply)(const x_rows& x, const float* panel, int depth, const accumulators& acc);

  /// acc[r][c] = x[r] . w[c] over 32 * blocks elements of K for 1 .. 4 rows, straight from packed weights. X is
  /// stored in `dot_order`, padded with zeros to whole chunks. Null: use panels.
  void (*dot_mxfp4)(const x_rows& x, const packed_rows& w, int columns, int blocks, const accumulators& acc);

  /// The same for X in BF16 codes, in `dot_order_bf16`. Null: use dot_mxfp4.
  void (*dot_mxfp4_bf16)(const x_rows_bf16& x, const packed_rows& w, int columns, int blocks, const accumulators& acc);
};

inline constexpr int dot_chunk = 128;  ///< elements of K that dot_mxfp4 takes at once: 16 words of 8 nibbles
inline constexpr int dot_max_rows = 4;

/// Place of element k of a row in the order that dot_mxfp4 wants: nibble j of word l is at 16 j + l of its chunk.
constexpr std::int64_t dot_order(std::int64_t k) noexcept {
  return k / dot_chunk * dot_chunk + k % 8 * 16 + k % dot_chunk / 8;
}

/// The same for dot_mxfp4_bf16: nibble j of 16-bit word l is at 32 j + l of its chunk.
constexpr std::int64_t dot_order_bf16(std::int64_t k) noexcept {
  return k / dot_chunk * dot_chunk + k % 4 * 32 + k % dot_chunk / 4;
}

}  // namespace tilefit::inline v0::detail
