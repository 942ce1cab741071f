#include "tilefit/weights.hpp"

#include <bit>
#include <cstdint>
#include <random>
#include <set>
#include <vector>

#include "catch.hpp"
#include "tilefit/mxfp4.hpp"

using namespace tilefit;

namespace {

using bytes = std::vector<std::uint8_t>;
constexpr weight_layout packed_layouts[] = {weight_layout::mma_m16k64, weight_layout::mfma_m16k128};
constexpr weight_layout all_layouts[] = {weight_layout::row_major, weight_layout::mma_m16k64,
                                         weight_layout::mfma_m16k128};

std::size_t size(std::int64_t count) { return static_cast<std::size_t>(count); }

struct matrix {
  weight_shape shape;
  bytes values, scales;
  explicit matrix(weight_shape s, unsigned seed = 1)
      : shape(s), values(size(s.experts * s.n * s.k / 2)), scales(size(s.experts * s.n * s.k / 32)) {
    std::mt19937 random(seed);
    for (std::uint8_t& b : values) b = static_cast<std::uint8_t>(random());
    for (std::uint8_t& b : scales) b = static_cast<std::uint8_t>(random());
  }
  std::uint8_t code(std::int64_t e, std::int64_t row, std::int64_t col) const {
    const std::uint8_t byte = values[size(((e * shape.n + row) * shape.k + col) / 2)];
    return col % 2 == 0 ? byte & 15 : byte >> 4;
  }
};

bytes shuffled(weight_layout layout, const matrix& m) {
  bytes out(size(m.shape.experts * bytes_per_expert(layout, m.shape.n, m.shape.k)), 0xEE);
  REQUIRE(shuffle_weights(layout, m.shape, {m.values.data(), m.scales.data()}, {out.data(), nullptr}) ==
          status_code::ok);
  return out;
}

/// The four bits at a position, read bit by bit.
std::uint8_t read_code(const std::uint8_t* expert, const weight_position& at) {
  unsigned code = 0;
  for (int b = 0; b < 4; ++b) code |= (expert[at.byte + at.bit[b] / 8] >> (at.bit[b] % 8) & 1u) << b;
  return static_cast<std::uint8_t>(code);
}

// The A fragment of mma.sync.m16n8k16 as the PTX ISA states it: row and column of element i of a lane.
int fragment_row(int lane, int i) { return lane / 4 + ((i / 2) % 2 == 0 ? 0 : 8); }
// Row of W that fragment row r holds: rows 2 i and 2 i + 1 of W lie at i and i + 8.
int row_of_fragment(int r) { return 2 * (r % 8) + r / 8; }
int fragment_column(int lane, int i) { return lane % 4 * 2 + i % 2 + (i < 4 ? 0 : 8); }

}  // namespace

TEST_CASE("weights: shuffle and back, bit for bit, exactly inside the buffers", "[weights]") {
  for (const weight_layout layout : packed_layouts)
    for (const std::int64_t n : {32, 64, 96, 320})
      for (const std::int64_t k : {32, 64, 96, 128, 288}) {
        const matrix m({3, n, k});
        const bytes packed = shuffled(layout, m);
        bytes values(m.values.size() + 1), scales(m.scales.size() + 1);
        REQUIRE(unshuffle_weights(layout, m.shape, {packed.data(), nullptr}, {values.data() + 1, scales.data() + 1}) ==
                status_code::ok);
        CHECK(bytes(values.begin() + 1, values.end()) == m.values);
        CHECK(bytes(scales.begin() + 1, scales.end()) == m.scales);
      }
}

TEST_CASE("weights: positions are where shuffling puts things, and no two share a bit", "[weights]") {
  for (const weight_layout layout : packed_layouts) {
    const matrix m({2, 96, 160});
    const bytes packed = shuffled(layout, m);
    const std::int64_t per_expert = bytes_per_expert(layout, 96, 160);
    std::set<std::int64_t> used;
    for (std::int64_t e = 0; e < 2; ++e)
      for (std::int64_t row = 0; row < 96; ++row)
        for (std::int64_t col = 0; col < 160; ++col) {
          const std::uint8_t* expert = packed.data() + e * per_expert;
          const weight_position at = value_position(layout, 96, 160, row, col);
          if (read_code(expert, at) != m.code(e, row, col)) FAIL_CHECK("wrong value at " << row << ", " << col);
          const std::int64_t scale = scale_offset(layout, 96, 160, row, col);
          if (expert[scale] != m.scales[size(((e * 96 + row) * 160 + col) / 32)])
            FAIL_CHECK("wrong scale at " << row << ", " << col);
          for (int b = 0; b < 4 && e == 0; ++b) used.insert(8 * at.byte + at.bit[b]);
          for (int b = 0; b < 8 && e == 0 && col % 32 == 0; ++b) used.insert(8 * scale + b);
        }
    CHECK(used.size() == 96 * 160 * 4 + 96 * 160 / 32 * 8);
    // Padding: zero values under the neutral scale. Counted through the whole expert.
    std::int64_t neutral = 0, ones = 0;
    for (std::int64_t byte = 0; byte < per_expert; ++byte)
      for (int b = 0; b < 8; ++b) {
        const bool set = (packed[size(byte)] >> b & 1) != 0;
        if (used.contains(8 * byte + b)) continue;
        neutral += b == 0 && set ? 1 : 0;
        ones += set ? 1 : 0;
      }
    const std::int64_t padded = 128 * detail::align_up(160, atom_of(layout).k) - 96 * 160;
    CHECK(neutral >= padded / 32);
    CHECK(ones == 7 * (padded / 32));
  }
}

TEST_CASE("weights: mma_m16k64 gives each lane its fragment by rotation and mask", "[weights]") {
  const matrix m({1, 128, 192});
  const bytes packed = shuffled(weight_layout::mma_m16k64, m);
  REQUIRE(packed.size() == 8 * 3 * 544);
  for (std::int64_t row0 = 0; row0 < 128; row0 += 16)
    for (std::int64_t k0 = 0; k0 < 192; k0 += 64) {
      // Group of 64 rows, then K atom, then 16-row atom.
      const std::int64_t atom = (row0 / 64 * 3 + k0 / 64) * 4 + row0 % 64 / 16;
      const std::uint8_t* start = packed.data() + 544 * atom;
      for (int lane = 0; lane < 32; ++lane) {
        const auto word_at = [&](int index) {
          std::uint32_t word = 0;
          for (int b = 0; b < 4; ++b) word |= std::uint32_t{start[16 * lane + 4 * index + b]} << (8 * b);
          return word;
        };
        for (int step = 0; step < 4; ++step) {
          const std::uint32_t word = word_at(step);
          const std::uint32_t free =
              (word_at(step / 2 * 2) & 0x06030603u) | (word_at(step / 2 * 2 + 1) << 2 & 0x180C180Cu);
          const std::uint32_t pairs[4] = {word & 0x81C081C0u, std::rotl(word, 4) & 0x81C081C0u,
                                          std::rotl(word, 10) & 0x81C081C0u,
                                          std::rotl(free, step % 2 == 0 ? 6 : 12) & 0x81C081C0u};
          for (int i = 0; i < 8; ++i) {
            const std::uint32_t half = i % 2 == 0 ? pairs[i / 2] & 0xFFFF : pairs[i / 2] >> 16;
            const std::uint32_t code = half >> 12 | (half >> 6 & 7);
            const std::uint8_t expected =
                m.code(0, row0 + row_of_fragment(fragment_row(lane, i)), k0 + 16 * step + fragment_column(lane, i));
            if (code != expected) FAIL_CHECK("lane " << lane << " step " << step << " element " << i);
          }
        }
        // One 32-bit load: fragment row g of both blocks, fragment row g + 8 of both blocks.
        const std::uint8_t* scales = start + 512 + 4 * (lane / 4);
        for (int s = 0; s < 4; ++s)
          if (scales[s] !=
              m.scales[size(((row0 + row_of_fragment(lane / 4 + 8 * (s / 2))) * 192 + k0 + 32 * (s % 2)) / 32)])
            FAIL_CHECK("scale " << s << " of lane " << lane);
      }
    }
}

TEST_CASE("weights: mfma_m16k128 gives each lane 32 consecutive values of its row", "[weights]") {
  const matrix m({1, 64, 256});
  const bytes packed = shuffled(weight_layout::mfma_m16k128, m);
  REQUIRE(packed.size() == 4 * 2 * 1088);
  for (int atom = 0; atom < 8; ++atom)
    for (int lane = 0; lane < 64; ++lane) {
      const std::int64_t row = 16 * (atom % 4) + lane % 16;
      const std::int64_t k0 = 128 * (atom / 4) + 32 * (lane / 16);
      for (int i = 0; i < 16; ++i)
        CHECK(packed[size(1088 * atom + 16 * lane + i)] == m.values[size((row * 256 + k0) / 2 + i)]);
      CHECK(packed[size(1088 * atom + 1024 + lane)] == m.scales[size((row * 256 + k0) / 32)]);
    }
}

TEST_CASE("weights: transposed, unaligned and dense sources", "[weights]") {
  const matrix m({2, 96, 64});
  bytes turned(m.values.size() + 1), turned_scales(m.scales.size() + 1);
  for (std::int64_t e = 0; e < 2; ++e)
    for (std::int64_t row = 0; row < 96; ++row) {
      for (std::int64_t b = 0; b < 32; ++b)
        turned[size(1 + (e * 32 + b) * 96 + row)] = m.values[size((e * 96 + row) * 32 + b)];
      for (std::int64_t b = 0; b < 2; ++b)
        turned_scales[size(1 + (e * 2 + b) * 96 + row)] = m.scales[size((e * 96 + row) * 2 + b)];
    }
  // Weights that dequantise exactly and quantise back to themselves.
  bytes values(m.values.size()), scales(m.scales.size());
  std::vector<float> dense(m.values.size() * 2);
  std::mt19937 random(9);
  std::normal_distribution<float> normal;
  for (std::size_t b = 0; b < scales.size(); ++b) {
    for (std::size_t i = 0; i < 32; ++i) dense[32 * b + i] = normal(random);
    scales[b] = quantize_mxfp4_block(dense.data() + 32 * b, values.data() + 16 * b);
  }
  for (const weight_layout layout : all_layouts) {
    const bool apart = layout == weight_layout::row_major;
    const std::int64_t total = 2 * bytes_per_expert(layout, 96, 64);
    bytes expected(size(total)), got(size(total)), expected_scales(m.scales.size()), got_scales(m.scales.size());
    const weight_storage to{got.data(), apart ? got_scales.data() : nullptr};
    const weight_storage reference{expected.data(), apart ? expected_scales.data() : nullptr};
    REQUIRE(shuffle_weights(layout, m.shape, {m.values.data(), m.scales.data()}, reference) == status_code::ok);
    REQUIRE(shuffle_transposed_weights(layout, m.shape, {turned.data() + 1, turned_scales.data() + 1}, to) ==
            status_code::ok);
    CHECK(got == expected);
    CHECK(got_scales == expected_scales);

    REQUIRE(shuffle_weights(layout, m.shape, {values.data(), scales.data()}, reference) == status_code::ok);
    const auto value = [&](std::int64_t e, std::int64_t row, std::int64_t col) {
      return dense[size((e * 96 + row) * 64 + col)];
    };
    REQUIRE(quantize_weights(layout, m.shape, value, to) == status_code::ok);
    CHECK(got == expected);
    CHECK(got_scales == expected_scales);
  }
}

TEST_CASE("weights: one expert at a time is the same as all at once", "[weights]") {
  const matrix m({3, 32, 96});
  for (const weight_layout layout : packed_layouts) {
    const bytes all = shuffled(layout, m);
    bytes one(size(bytes_per_expert(layout, 32, 96)));
    for (std::int64_t e = 0; e < 3; ++e) {
      REQUIRE(shuffle_weights(layout, {1, 32, 96}, {m.values.data() + e * 32 * 48, m.scales.data() + e * 32 * 3},
                              {one.data(), nullptr}) == status_code::ok);
      CHECK(std::equal(one.begin(), one.end(), all.begin() + static_cast<std::ptrdiff_t>(one.size()) * e));
    }
  }
}

TEST_CASE("weights: refused sizes and pointers write nothing", "[weights]") {
  const matrix m({1, 32, 64});
  for (const weight_layout layout : all_layouts) {
    bytes out(4096, 0xEE), out_scales(4096, 0xEE);
    std::uint8_t* apart = layout == weight_layout::row_major ? out_scales.data() : nullptr;
    const weight_source from{m.values.data(), m.scales.data()};
    const status_code bad = status_code::invalid_argument;
    CHECK(shuffle_weights(layout, {1, 16, 64}, from, {out.data(), apart}) == bad);
    CHECK(shuffle_weights(layout, {1, 32, 48}, from, {out.data(), apart}) == bad);
    CHECK(shuffle_weights(layout, {1, 0, 64}, from, {out.data(), apart}) == bad);
    CHECK(shuffle_weights(layout, {1, 32, -64}, from, {out.data(), apart}) == bad);
    CHECK(shuffle_weights(layout, {-1, 32, 64}, from, {out.data(), apart}) == bad);
    CHECK(shuffle_weights(layout, {0, 32, 64}, from, {out.data(), apart}) == status_code::empty);
    CHECK(shuffle_weights(layout, {1, 32, 64}, from, {nullptr, apart}) == bad);
    CHECK(shuffle_weights(layout, {1, 32, 64}, {m.values.data(), nullptr}, {out.data(), apart}) == bad);
    CHECK(shuffle_weights(layout, {1, 32, 64}, {nullptr, m.scales.data()}, {out.data(), apart}) == bad);
    CHECK(shuffle_weights(layout, {1, 32, 64}, from, {out.data(), apart != nullptr ? nullptr : out_scales.data()}) ==
          bad);
    CHECK(out == bytes(4096, 0xEE));
    CHECK(out_scales == bytes(4096, 0xEE));
  }
}

// The same code at compile time.
constexpr bool round_trip(weight_layout layout) {
  std::uint8_t values[16 * 32] = {}, scales[32] = {}, packed[4352] = {}, values_again[16 * 32] = {},
                           scales_again[32] = {};
  for (int i = 0; i < 16 * 32; ++i) values[i] = static_cast<std::uint8_t>(37 * i + i / 16);
  for (int i = 0; i < 32; ++i) scales[i] = static_cast<std::uint8_t>(100 + i);
  if (shuffle_weights(layout, {1, 32, 32}, {values, scales}, {packed, nullptr}) != status_code::ok) return false;
  if (unshuffle_weights(layout, {1, 32, 32}, {packed, nullptr}, {values_again, scales_again}) != status_code::ok)
    return false;
  for (int i = 0; i < 16 * 32; ++i)
    if (values[i] != values_again[i]) return false;
  for (int i = 0; i < 32; ++i)
    if (scales[i] != scales_again[i]) return false;
  return true;
}
static_assert(bytes_per_expert(weight_layout::mma_m16k64, 5760, 2880) == 90 * 45 * 4 * 544);
static_assert(bytes_per_expert(weight_layout::mfma_m16k128, 2880, 2880) == 45 * 23 * 4 * 1088);
static_assert(round_trip(weight_layout::mma_m16k64));
static_assert(round_trip(weight_layout::mfma_m16k128));
