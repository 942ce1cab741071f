// L5: weights between rows and the atoms of weight_layout::mma_m16k64, on a device.
// Knows: which lane reads and writes which bytes. Must not know: how a launch is checked (shuffle_weights.cuh).
// A warp has a row of atoms (16 rows of W), a block the four of a group of 64 rows, up to eight atoms along K. Every
// row is read (or written) in whole 32-byte sectors, every atom in whole 544-byte pieces.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../../detail/math.hpp"
#include "../../device/cuda/launch_control.cuh"
#include "../../weight_layout.hpp"
#include "../../weights.hpp"
#include "mma_words.hpp"

namespace tilefit::inline v0::detail {

/// The widest loads and stores that the addresses of a launch allow.
enum class access_width : std::uint8_t {
  vector,  ///< 8 bytes in rows (their pointer is a multiple of 8), 16 bytes in atoms (a multiple of 16)
  word,    ///< 4 bytes (both are multiples of 4)
  byte,
};

inline constexpr int shuffle_threads = 128;      ///< four warps: the row atoms of a group
inline constexpr int shuffle_atoms = 8;          ///< along K, of a block; 16 scales of each row
inline constexpr int shuffle_atoms_at_once = 4;  ///< in registers: this many loads are in flight
inline constexpr weight_atom mma_atom = atom_of(weight_layout::mma_m16k64);
inline constexpr int next_mma_atom = mma_atom.bytes * (weight_atom::group_rows / weight_atom::rows);  ///< along K
inline constexpr std::uint8_t neutral_scale = 127;

template <access_width Width, int Words>
__device__ inline void load_words(const std::uint8_t* from, std::uint32_t (&words)[Words]) noexcept {
  static_assert(Words == 2 || Words == 4);
  if constexpr (Width == access_width::vector && Words == 2) {
    const uint2 pair = *reinterpret_cast<const uint2*>(from);
    words[0] = pair.x, words[1] = pair.y;
  } else if constexpr (Width == access_width::vector) {
    const uint4 all = *reinterpret_cast<const uint4*>(from);
    words[0] = all.x, words[1] = all.y, words[2] = all.z, words[3] = all.w;
  } else {
#pragma unroll
    for (int i = 0; i < Words; ++i)
      words[i] =
          Width == access_width::word ? reinterpret_cast<const std::uint32_t*>(from)[i] : load_word(from + 4 * i);
  }
}

template <access_width Width, int Words>
__device__ inline void store_words(std::uint8_t* to, const std::uint32_t (&words)[Words]) noexcept {
  static_assert(Words == 2 || Words == 4);
  if constexpr (Width == access_width::vector && Words == 2) {
    *reinterpret_cast<uint2*>(to) = make_uint2(words[0], words[1]);
  } else if constexpr (Width == access_width::vector) {
    *reinterpret_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
  } else {
#pragma unroll
    for (int i = 0; i < Words; ++i) {
      if constexpr (Width == access_width::word)
        reinterpret_cast<std::uint32_t*>(to)[i] = words[i];
      else
        store_word(to + 4 * i, words[i]);
    }
  }
}

/// Among the lanes 4 i .. 4 i + 3: words[j] of lane 4 i + b becomes words[b] of lane 4 i + j. All lanes take part.
__device__ inline void transpose_quad(std::uint32_t (&words)[4], int lane) noexcept {
#pragma unroll
  for (int distance = 1; distance <= 2; distance *= 2) {
    const bool upper = (lane & distance) != 0;
#pragma unroll
    for (int low = 0; low < 4; ++low) {
      if ((low & distance) != 0) continue;
      const int high = low + distance;
      const std::uint32_t other = __shfl_xor_sync(0xFFFF'FFFFu, upper ? words[low] : words[high], distance);
      if (upper)
        words[low] = other;
      else
        words[high] = other;
    }
  }
}

/// Between the codes of a lane, a word of plain order for each of the four steps of an atom, and its words of the atom.
__device__ inline void mma_words_of_steps(std::uint32_t (&steps)[4]) noexcept {
#pragma unroll
  for (int step = 0; step < 4; step += 2) {
    const mma_words words = mma_words_of_codes({steps[step], steps[step + 1]});
    steps[step] = words.first, steps[step + 1] = words.second;
  }
}
__device__ inline void steps_of_mma_words(std::uint32_t (&words)[4]) noexcept {
#pragma unroll
  for (int step = 0; step < 4; step += 2) {
    const mma_codes codes = codes_of_mma_words({words[step], words[step + 1]});
    words[step] = codes.first, words[step + 1] = codes.second;
  }
}

/// What a warp works on.
struct atom_run {
  std::int64_t row = 0;     ///< first row of its expert's matrix
  std::int64_t source = 0;  ///< that row, counted over all experts
  std::int64_t packed = 0;  ///< byte of its first atom, over all experts; the next along K: + next_mma_atom
  std::int64_t first_atom = 0;
  int atoms = 0;
};
__device__ inline atom_run run_of_warp(std::int64_t n, std::int64_t k) noexcept {
  atom_run run;
  run.row = std::int64_t{blockIdx.y} * weight_atom::group_rows + threadIdx.x / 32 * weight_atom::rows;
  run.source = blockIdx.z * n + run.row;
  run.first_atom = std::int64_t{blockIdx.x} * shuffle_atoms;
  run.packed = blockIdx.z * bytes_per_expert(weight_layout::mma_m16k64, n, k) +
               atom_offset(weight_layout::mma_m16k64, k, run.row, run.first_atom * mma_atom.k);
  run.atoms = static_cast<int>(min<std::int64_t>(shuffle_atoms, ceil_div(k, mma_atom.k) - run.first_atom));
  return run;
}

/// values [experts, n, k / 2], scales [experts, n, k / 32] -> atoms.
template <access_width Width>
__global__ void __launch_bounds__(shuffle_threads)
    pack_rows(weight_source from, weight_storage to, std::int64_t n, std::int64_t k) {
  __shared__ std::uint8_t scales[shuffle_threads / 32][weight_atom::rows][2 * shuffle_atoms + 4];  // + 4: other banks
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const atom_run run = run_of_warp(n, k);
  const bool inside = run.row < n;
  const std::int64_t blocks = k / 32;
  device::let_next_grid_start();
  device::wait_for_previous_grid();

  // Half a warp per row: 16 scales, all that the block needs of it.
  const std::int64_t block = 2 * run.first_atom + lane % 16;
  std::uint8_t some[weight_atom::rows / 2];
#pragma unroll
  for (int i = 0; i < weight_atom::rows / 2; ++i)
    some[i] = inside && block < blocks ? from.scales[(run.source + 2 * i + lane / 16) * blocks + block] : neutral_scale;
#pragma unroll
  for (int i = 0; i < weight_atom::rows / 2; ++i) scales[warp][2 * i + lane / 16][lane % 16] = some[i];
  __syncwarp();

  // Lane 4 i + j has step j of an atom in rows 2 i and 2 i + 1, and gives the four lanes their codes of it.
  const std::int64_t first_column = run.first_atom * mma_atom.k + 16 * (lane % 4);
  const std::uint8_t* const even_row = from.values + (run.source + 2 * (lane / 4)) * (k / 2) + first_column / 2;
  const std::uint8_t* const odd_row = even_row + k / 2;
  for (int first = 0; first < run.atoms; first += shuffle_atoms_at_once) {
    std::uint32_t even[shuffle_atoms_at_once][2] = {}, odd[shuffle_atoms_at_once][2] = {};
#pragma unroll
    for (int u = 0; u < shuffle_atoms_at_once; ++u)
      if (inside && first_column + (first + u) * mma_atom.k < k) {
        load_words<Width>(even_row + (first + u) * (mma_atom.k / 2), even[u]);
        load_words<Width>(odd_row + (first + u) * (mma_atom.k / 2), odd[u]);
      }
#pragma unroll
    for (int u = 0; u < shuffle_atoms_at_once; ++u) {
      if (first + u >= run.atoms) break;
      step_codes codes = codes_of_rows({even[u][0], odd[u][0], even[u][1], odd[u][1]});
      transpose_quad(codes.lane, lane);
      mma_words_of_steps(codes.lane);
      std::uint8_t* const atom = to.values + run.packed + (first + u) * next_mma_atom;
      store_words<Width>(atom + 16 * lane, codes.lane);
      atom[mma_atom.value_bytes + lane] = scales[warp][lane / 2][2 * (first + u) + lane % 2];
    }
  }
}

/// Atoms -> values [experts, n, k / 2], scales [experts, n, k / 32].
template <access_width Width>
__global__ void __launch_bounds__(shuffle_threads)
    unpack_rows(weight_source from, weight_storage to, std::int64_t n, std::int64_t k) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const atom_run run = run_of_warp(n, k);
  const std::int64_t blocks = k / 32;
  device::let_next_grid_start();
  device::wait_for_previous_grid();
  if (run.row >= n) return;

  const std::uint8_t* const atoms = from.values + run.packed;
  const std::int64_t first_column = run.first_atom * mma_atom.k + 16 * (lane % 4);
  std::uint8_t* const even_row = to.values + (run.source + 2 * (lane / 4)) * (k / 2) + first_column / 2;
  std::uint8_t* const odd_row = even_row + k / 2;
  for (int first = 0; first < run.atoms; first += shuffle_atoms_at_once) {
    step_codes codes[shuffle_atoms_at_once] = {};
#pragma unroll
    for (int u = 0; u < shuffle_atoms_at_once; ++u)
      if (first + u < run.atoms) load_words<Width>(atoms + (first + u) * next_mma_atom + 16 * lane, codes[u].lane);
#pragma unroll
    for (int u = 0; u < shuffle_atoms_at_once; ++u) {
      steps_of_mma_words(codes[u].lane);
      transpose_quad(codes[u].lane, lane);
      const step_rows rows = rows_of_codes(codes[u]);
      if (first_column + (first + u) * mma_atom.k < k) {
        store_words<Width>(even_row + (first + u) * (mma_atom.k / 2), {rows.even_low, rows.even_high});
        store_words<Width>(odd_row + (first + u) * (mma_atom.k / 2), {rows.odd_low, rows.odd_high});
      }
    }
  }

  // Half a warp per row writes 16 neighbouring scales.
  const std::int64_t block = 2 * run.first_atom + lane % 16;
  if (block >= blocks) return;
  const std::uint8_t* const scales = atoms + lane % 16 / 2 * next_mma_atom + mma_atom.value_bytes + lane % 2;
  std::uint8_t some[weight_atom::rows / 2];
#pragma unroll
  for (int i = 0; i < weight_atom::rows / 2; ++i) some[i] = scales[2 * (2 * i + lane / 16)];
#pragma unroll
  for (int i = 0; i < weight_atom::rows / 2; ++i)
    to.scales[(run.source + 2 * i + lane / 16) * blocks + block] = some[i];
}

/// values [experts, k / 2, n], scales [experts, k / 32, n] -> atoms. Rows lie side by side here: two of them are a
/// 16-bit load (Width == word; vector likewise), and the four warps share the sectors.
template <access_width Width>
__global__ void __launch_bounds__(shuffle_threads)
    pack_columns(weight_source from, weight_storage to, std::int64_t n, std::int64_t k) {
  constexpr int at_once = 2;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const atom_run run = run_of_warp(n, k);
  const bool inside = run.row < n;
  const std::int64_t expert = blockIdx.z;
  device::let_next_grid_start();
  device::wait_for_previous_grid();

  const std::uint8_t* const values = from.values + expert * (k / 2) * n + run.row + 2 * (lane / 4);
  const std::uint8_t* const scales = from.scales + expert * (k / 32) * n + run.row + lane / 2;
  const auto two_rows = [&](std::int64_t byte_row) {
    const std::uint8_t* const at = values + byte_row * n;
    if constexpr (Width == access_width::byte) return std::uint32_t{at[0]} | std::uint32_t{at[1]} << 8;
    return std::uint32_t{*reinterpret_cast<const std::uint16_t*>(at)};
  };
  for (int first = 0; first < run.atoms; first += at_once) {
    std::uint32_t pairs[at_once][4] = {};
    std::uint8_t scale[at_once];
#pragma unroll
    for (int u = 0; u < at_once; ++u) {
      const std::int64_t column = (run.first_atom + first + u) * mma_atom.k;
#pragma unroll
      for (int j = 0; j < 4; ++j)
        if (inside && column + 16 * j < k) {
          const std::int64_t byte_row = column / 2 + 8 * j + lane % 4;
          pairs[u][j] = two_rows(byte_row) | two_rows(byte_row + 4) << 16;
        }
      const std::int64_t block = column / 32 + lane % 2;
      scale[u] = inside && block < k / 32 ? scales[block * n] : neutral_scale;
    }
#pragma unroll
    for (int u = 0; u < at_once; ++u) {
      if (first + u >= run.atoms) break;
#pragma unroll
      for (std::uint32_t& step : pairs[u]) step = codes_of_pairs(step);
      mma_words_of_steps(pairs[u]);
      std::uint8_t* const atom = to.values + run.packed + (first + u) * next_mma_atom;
      store_words<Width>(atom + 16 * lane, pairs[u]);
      atom[mma_atom.value_bytes + lane] = scale[u];
    }
  }
}

}  // namespace tilefit::inline v0::detail
