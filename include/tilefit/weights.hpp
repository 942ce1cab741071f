// L3: brings weights into the layout that a kernel reads, and back.
// Knows: the forms weights come in (GPT-OSS blocks, transposed, plain dense).
// Must not know: files, tiles, devices.
// Bytes in, bytes out: sources may have any alignment, nothing is allocated, and nothing is written when it refuses.
// Every function works on a run of experts, so a loader needs memory for one expert beside the result.
#pragma once

#include <cstdint>

#include "detail/config.hpp"
#include "mxfp4.hpp"
#include "status.hpp"
#include "weight_layout.hpp"

namespace tilefit::inline v0 {

/// Sizes of a run of experts, all alike.
struct weight_shape {
  std::int64_t experts = 1;
  std::int64_t n = 0;  ///< rows (outputs)
  std::int64_t k = 0;  ///< columns (inputs)
};

/// Where packed weights are written. row_major needs `scales`; in the other layouts scales travel inside `values`.
struct weight_storage {
  std::uint8_t* values = nullptr;  ///< experts * bytes_per_expert
  std::uint8_t* scales = nullptr;  ///< experts * scale_bytes_per_expert; null unless row_major
};

/// Where packed weights are read.
struct weight_source {
  const std::uint8_t* values = nullptr;
  const std::uint8_t* scales = nullptr;
};

namespace detail {

/// 32 weights along K and their scale, in the published byte order (low nibble = even k).
struct weight_block {
  std::uint8_t bytes[16] = {};
  std::uint8_t scale = 127;
};

TILEFIT_HD constexpr std::uint32_t load_word(const std::uint8_t* p) noexcept {
  return std::uint32_t{p[0]} | std::uint32_t{p[1]} << 8 | std::uint32_t{p[2]} << 16 | std::uint32_t{p[3]} << 24;
}

TILEFIT_HD constexpr void store_word(std::uint8_t* p, std::uint32_t word) noexcept {
  for (int b = 0; b < 4; ++b) p[b] = static_cast<std::uint8_t>(word >> (8 * b));
}

/// The two words of mma_m16k64 that hold a lane's codes of 32 K.
struct mma_words {
  std::uint32_t first = 0;
  std::uint32_t second = 0;
};

TILEFIT_HD constexpr std::uint32_t rotate_left(std::uint32_t word, int bits) noexcept {
  return bits == 0 ? word : word << bits | word >> (32 - bits);
}

/// Two neighbouring codes (a byte) to their bits of the words, as `mma_bit` describes them, and back.
TILEFIT_HD constexpr mma_words spread_pair(std::uint32_t byte, int step, int pair) noexcept {
  const std::uint32_t codes = (byte & 15u) | (byte & 0xF0u) << 12;
  const std::uint32_t wanted = (codes & 0x00080008u) << 12 | (codes & 0x00070007u) << 6;
  const std::uint32_t bits = rotate_left(wanted, (32 - mma_pair_rotation(step, pair)) % 32);
  if (pair == 3) return {bits & mma_free_mask, (bits & mma_free_mask << 2) >> 2};
  return step == 0 ? mma_words{bits, 0} : mma_words{0, bits};
}

TILEFIT_HD constexpr std::uint32_t gather_pair(mma_words words, int step, int pair) noexcept {
  std::uint32_t bits = step == 0 ? words.first : words.second;
  if (pair == 3) bits = (words.first & mma_free_mask) | (words.second << 2 & mma_free_mask << 2);
  bits = rotate_left(bits, mma_pair_rotation(step, pair)) & mma_pair_mask;
  const std::uint32_t codes = (bits & 0x80008000u) >> 12 | (bits & 0x01C001C0u) >> 6;
  return (codes & 15u) | (codes >> 12 & 0xF0u);
}

/// Writes block `kb` (32 K) of row `row` of an expert. mma_m16k64 shares its words between two rows: there the
/// expert's values must be zero before the first block is put.
TILEFIT_HD constexpr void put_block(weight_layout layout, std::int64_t n, std::int64_t k, std::int64_t row,
                                    std::int64_t kb, const weight_block& block, weight_storage to) noexcept {
  if (layout == weight_layout::mma_m16k64) {
    std::uint8_t* atom = to.values + atom_offset(layout, k, row, kb * 32);
    for (int i = 0; i < 16; ++i) {
      const mma_slot slot = mma_slot_of(static_cast<int>(row % 16), 2 * i % 16);
      std::uint8_t* words = atom + 16 * slot.lane + 8 * (kb % 2);
      const mma_words bits = spread_pair(block.bytes[i], i / 8, slot.element / 2);
      store_word(words, load_word(words) | bits.first);
      store_word(words + 4, load_word(words + 4) | bits.second);
    }
  } else {
    std::uint8_t* start = to.values + value_position(layout, n, k, row, kb * 32).byte;
    for (int i = 0; i < 16; ++i) start[i] = block.bytes[i];
  }
  (layout == weight_layout::row_major ? to.scales : to.values)[scale_offset(layout, n, k, row, kb * 32)] = block.scale;
}

/// Reads what put_block wrote.
TILEFIT_HD constexpr weight_block get_block(weight_layout layout, std::int64_t n, std::int64_t k, std::int64_t row,
                                            std::int64_t kb, weight_source from) noexcept {
  weight_block block;
  if (layout == weight_layout::mma_m16k64) {
    const std::uint8_t* atom = from.values + atom_offset(layout, k, row, kb * 32);
    for (int i = 0; i < 16; ++i) {
      const mma_slot slot = mma_slot_of(static_cast<int>(row % 16), 2 * i % 16);
      const std::uint8_t* words = atom + 16 * slot.lane + 8 * (kb % 2);
      const mma_words both{load_word(words), load_word(words + 4)};
      block.bytes[i] = static_cast<std::uint8_t>(gather_pair(both, i / 8, slot.element / 2));
    }
  } else {
    const std::uint8_t* start = from.values + value_position(layout, n, k, row, kb * 32).byte;
    for (int i = 0; i < 16; ++i) block.bytes[i] = start[i];
  }
  block.scale =
      (layout == weight_layout::row_major ? from.scales : from.values)[scale_offset(layout, n, k, row, kb * 32)];
  return block;
}

TILEFIT_HD constexpr status_code check_weights(weight_layout layout, const weight_shape& shape,
                                               weight_source packed) noexcept {
  if (shape.experts < 0) return status_code::invalid_argument;
  if (shape.experts == 0) return status_code::empty;
  if (!valid_weight_size(shape.n, shape.k)) return status_code::invalid_argument;
  const std::int64_t bytes = saturating_mul(shape.experts, bytes_per_expert(layout, shape.n, shape.k));
  if (bytes == INT64_MAX) return status_code::invalid_argument;
  if (packed.values == nullptr || (layout == weight_layout::row_major) != (packed.scales != nullptr))
    return status_code::invalid_argument;
  return status_code::ok;
}

/// Fills every expert of `to` from source(expert, row, kb) -> weight_block, padding included.
template <class Source>
TILEFIT_HD constexpr status_code write_weights(weight_layout layout, const weight_shape& shape, weight_storage to,
                                               Source source) noexcept {
  const status_code status = check_weights(layout, shape, {to.values, to.scales});
  if (status != status_code::ok) return status;
  const std::int64_t bytes = bytes_per_expert(layout, shape.n, shape.k);
  const bool atoms = layout != weight_layout::row_major;
  const std::int64_t rows = atoms ? align_up(shape.n, weight_atom::group_rows) : shape.n;
  const std::int64_t blocks = (atoms ? align_up(shape.k, atom_of(layout).k) : shape.k) / 32;
  for (std::int64_t e = 0; e < shape.experts; ++e) {
    for (std::int64_t i = 0; atoms && i < bytes; ++i) to.values[i] = 0;
    for (std::int64_t row = 0; row < rows; ++row)
      for (std::int64_t kb = 0; kb < blocks; ++kb) {
        const bool inside = row < shape.n && kb < shape.k / 32;
        put_block(layout, shape.n, shape.k, row, kb, inside ? source(e, row, kb) : weight_block{}, to);
      }
    to.values += bytes;
    if (!atoms) to.scales += scale_bytes_per_expert(layout, shape.n, shape.k);
  }
  return status;
}

}  // namespace detail

/// Packs row-major weights (GPT-OSS: *_blocks [experts, n, k / 32, 16], *_scales [experts, n, k / 32]) into `layout`.
/// `from` and `to` must not overlap. ok, empty (no experts) or invalid_argument (n or k no multiple of 32, a pointer
/// missing or one too many).
[[nodiscard]] TILEFIT_HD constexpr status_code shuffle_weights(weight_layout layout, const weight_shape& shape,
                                                               weight_source from, weight_storage to) noexcept {
  const status_code status = detail::check_weights(weight_layout::row_major, shape, from);
  if (status != status_code::ok) return status;
  return detail::write_weights(layout, shape, to, [&](std::int64_t e, std::int64_t row, std::int64_t kb) {
    return detail::get_block(weight_layout::row_major, shape.n, shape.k, e * shape.n + row, kb, from);
  });
}

/// The inverse of shuffle_weights, bit for bit; `to` is row-major.
[[nodiscard]] TILEFIT_HD constexpr status_code unshuffle_weights(weight_layout layout, const weight_shape& shape,
                                                                 weight_source from, weight_storage to) noexcept {
  const status_code status = detail::check_weights(layout, shape, from);
  if (status != status_code::ok) return status;
  const std::int64_t bytes = bytes_per_expert(layout, shape.n, shape.k);
  const std::int64_t scale_bytes = scale_bytes_per_expert(layout, shape.n, shape.k);
  return detail::write_weights(
      weight_layout::row_major, shape, to, [&](std::int64_t e, std::int64_t row, std::int64_t kb) {
        const weight_source expert{from.values + e * bytes,
                                   from.scales == nullptr ? nullptr : from.scales + e * scale_bytes};
        return detail::get_block(layout, shape.n, shape.k, row, kb, expert);
      });
}

/// Packs K-major MXFP4: values [experts, k / 2, n] (low nibble = even k), scales [experts, k / 32, n].
[[nodiscard]] TILEFIT_HD constexpr status_code shuffle_transposed_weights(weight_layout layout,
                                                                          const weight_shape& shape, weight_source from,
                                                                          weight_storage to) noexcept {
  const status_code status = detail::check_weights(weight_layout::row_major, shape, from);
  if (status != status_code::ok) return status;
  return detail::write_weights(layout, shape, to, [&](std::int64_t e, std::int64_t row, std::int64_t kb) {
    detail::weight_block block;
    const std::uint8_t* values = from.values + (e * (shape.k / 2) + kb * 16) * shape.n + row;
    for (int i = 0; i < 16; ++i) block.bytes[i] = values[i * shape.n];
    block.scale = from.scales[(e * (shape.k / 32) + kb) * shape.n + row];
    return block;
  });
}

/// Quantises dense weights (OCP MX v1.0, `quantize_mxfp4`) and packs them. value(expert, row, col) -> float, so any
/// format, stride or order of dimensions serves: [experts, n, k], or transposed [experts, k, n].
template <class Value>
[[nodiscard]] TILEFIT_HD constexpr status_code quantize_weights(weight_layout layout, const weight_shape& shape,
                                                                Value value, weight_storage to) noexcept {
  return detail::write_weights(layout, shape, to, [&](std::int64_t e, std::int64_t row, std::int64_t kb) {
    float in[32] = {};
    for (int i = 0; i < 32; ++i) in[i] = value(e, row, kb * 32 + i);
    detail::weight_block block;
    block.scale = quantize_mxfp4_block(in, block.bytes);
    return block;
  });
}

}  // namespace tilefit::inline v0
