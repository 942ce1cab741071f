// L5: weights between rows and the atoms of weight_layout::mma_m16k64, on a device.
// Knows: which lane reads and writes which bytes. Must not know: how a launch is checked (shuffle_weights.cuh).
// Groups of 32 lanes work by themselves, in waves of 64 too.
// A warp has a row of atoms (16 rows of W), a block the four of a group of 64 rows, up to eight atoms along K. Every
// row is read (or written) in whole 32-byte sectors, every atom in whole 544-byte pieces.
#pragma once

#include <cstdint>

#include "../../detail/math.hpp"
#include "../../device/ops.cuh"
#include "../../weight_layout.hpp"
#include "../../weights.hpp"
#include "mma_words.hpp"
#include "shuffle_words.cuh"

namespace tilefit::inline v0::detail {

inline constexpr int shuffle_threads = 128;      ///< four warps: the row atoms of a group
inline constexpr int shuffle_atoms = 8;          ///< along K, of a block; 16 scales of each row
inline constexpr int shuffle_atoms_at_once = 4;  ///< in registers: this many loads are in flight
inline constexpr weight_atom mma_atom = atom_of(weight_layout::mma_m16k64);
inline constexpr int next_mma_atom = mma_atom.bytes * (weight_atom::group_rows / weight_atom::rows);  ///< along K

/// Among the lanes 4 i .. 4 i + 3: words[j] of lane 4 i + b becomes words[b] of lane 4 i + j. All lanes take part.
template <int Distance>
__device__ inline void exchange_in_quad(std::uint32_t (&words)[4], int lane) noexcept {
  const bool upper = (lane & Distance) != 0;
#pragma unroll
  for (int low = 0; low < 4; ++low) {
    if ((low & Distance) != 0) continue;
    const int high = low + Distance;
    const std::uint32_t given = upper ? words[low] : words[high];
    const auto other =
        static_cast<std::uint32_t>(device::value_of_neighbour<Distance>(static_cast<std::int32_t>(given)));
    if (upper)
      words[low] = other;
    else
      words[high] = other;
  }
}
__device__ inline void transpose_quad(std::uint32_t (&words)[4], int lane) noexcept {
  exchange_in_quad<1>(words, lane);
  exchange_in_quad<2>(words, lane);
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
  run.row = std::int64_t{device::block_y_of_grid()} * weight_atom::group_rows +
            device::thread_of_block() / 32 * weight_atom::rows;
  run.source = device::block_z_of_grid() * n + run.row;
  run.first_atom = std::int64_t{device::block_of_grid()} * shuffle_atoms;
  run.packed = device::block_z_of_grid() * bytes_per_expert(weight_layout::mma_m16k64, n, k) +
               atom_offset(weight_layout::mma_m16k64, k, run.row, run.first_atom * mma_atom.k);
  run.atoms = static_cast<int>(min<std::int64_t>(shuffle_atoms, ceil_div(k, mma_atom.k) - run.first_atom));
  return run;
}

/// values [experts, n, k / 2], scales [experts, n, k / 32] -> atoms.
template <access_width Width>
__global__ void __launch_bounds__(shuffle_threads)
    pack_rows(weight_source from, weight_storage to, std::int64_t n, std::int64_t k) {
  constexpr int scale_row = 2 * shuffle_atoms + 4;  // + 4: other banks
  constexpr int scale_bytes = weight_atom::rows * scale_row;
  const int lane = static_cast<int>(device::thread_of_block() % 32);
  auto* const scales =
      reinterpret_cast<std::uint8_t*>(device::shared_array<shuffle_threads / 32 * scale_bytes, 0, 4>()) +
      device::thread_of_block() / 32 * scale_bytes;  // of this warp
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
  for (int i = 0; i < weight_atom::rows / 2; ++i) scales[(2 * i + lane / 16) * scale_row + lane % 16] = some[i];
  device::meet_wave();

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
      atom[mma_atom.value_bytes + lane] = scales[lane / 2 * scale_row + 2 * (first + u) + lane % 2];
    }
  }
}

/// Atoms -> values [experts, n, k / 2], scales [experts, n, k / 32].
template <access_width Width>
__global__ void __launch_bounds__(shuffle_threads)
    unpack_rows(weight_source from, weight_storage to, std::int64_t n, std::int64_t k) {
  const int lane = static_cast<int>(device::thread_of_block() % 32);
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
  const int lane = static_cast<int>(device::thread_of_block() % 32);
  const atom_run run = run_of_warp(n, k);
  const bool inside = run.row < n;
  const std::int64_t expert = device::block_z_of_grid();
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
