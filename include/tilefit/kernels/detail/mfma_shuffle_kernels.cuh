// L5: weights between rows and the atoms of weight_layout::mfma_m16k128, on a device.
// Knows: which thread reads and writes which bytes. Must not know: how a launch is checked (shuffle_weights.cuh).
// 64 threads have a row of atoms (16 rows of W), a block the four of a group of 64 rows, up to eight atoms along K. A
// thread moves the 32 weights of a scale at a time: of row l % 16, K from 32 * (l / 16) on, in 16 bytes of its atom.
#pragma once

#include <cstdint>

#include "../../detail/math.hpp"
#include "../../device/ops.cuh"
#include "../../weight_layout.hpp"
#include "../../weights.hpp"
#include "shuffle_words.cuh"

namespace tilefit::inline v0::detail {

/// What a thread works on.
struct mfma_run {
  static constexpr weight_atom atom = atom_of(weight_layout::mfma_m16k128);
  static constexpr int threads = 256;
  static constexpr int atoms_of_block = 8;
  static constexpr int at_once = 4;                                                        ///< loads in flight
  static constexpr int next = atom.bytes * (weight_atom::group_rows / weight_atom::rows);  ///< atom along K
  static constexpr int blocks_of_atom = atom.k / 32;

  std::int64_t expert = 0;
  std::int64_t row = 0;          ///< of the expert
  std::int64_t first_block = 0;  ///< of 32 K, in the first atom; in the next one: + blocks_of_atom
  std::int64_t first_atom = 0;   ///< byte where it starts, over all experts
  int lane = 0;                  ///< of the 64 threads
  int atoms = 0;
};
__device__ inline mfma_run mfma_run_of_thread(std::int64_t n, std::int64_t k) noexcept {
  constexpr weight_layout layout = weight_layout::mfma_m16k128;
  const auto thread = static_cast<int>(device::thread_of_block());
  const std::int64_t first = std::int64_t{device::block_of_grid()} * mfma_run::atoms_of_block;
  mfma_run run;
  run.lane = thread % 64;
  run.expert = device::block_z_of_grid();
  const std::int64_t atom_row =
      std::int64_t{device::block_y_of_grid()} * weight_atom::group_rows + thread / 64 * weight_atom::rows;
  run.row = atom_row + run.lane % weight_atom::rows;
  run.first_block = first * mfma_run::blocks_of_atom + run.lane / weight_atom::rows;
  run.first_atom =
      run.expert * bytes_per_expert(layout, n, k) + atom_offset(layout, k, atom_row, first * mfma_run::atom.k);
  run.atoms = static_cast<int>(min<std::int64_t>(mfma_run::atoms_of_block, ceil_div(k, mfma_run::atom.k) - first));
  return run;
}

/// read(block, words, scale) for the blocks of a thread -> atoms.
template <access_width Width, class Read>
__device__ inline void fill_mfma_atoms(const mfma_run& run, std::uint8_t* values, std::int64_t n, std::int64_t k,
                                       Read read) noexcept {
  for (int first = 0; first < run.atoms; first += mfma_run::at_once) {
    std::uint32_t words[mfma_run::at_once][4] = {};
    std::uint8_t scale[mfma_run::at_once];
#pragma unroll
    for (int u = 0; u < mfma_run::at_once; ++u) {
      const std::int64_t block = run.first_block + (first + u) * mfma_run::blocks_of_atom;
      scale[u] = neutral_scale;
      if (run.row < n && block < k / 32) read(block, words[u], scale[u]);
    }
#pragma unroll
    for (int u = 0; u < mfma_run::at_once; ++u) {
      if (first + u >= run.atoms) break;
      std::uint8_t* const atom = values + run.first_atom + (first + u) * mfma_run::next;
      store_words<Width>(atom + 16 * run.lane, words[u]);
      atom[mfma_run::atom.value_bytes + run.lane] = scale[u];
    }
  }
}

/// values [experts, n, k / 2], scales [experts, n, k / 32] -> atoms.
template <access_width Width>
__global__ void __launch_bounds__(mfma_run::threads)
    pack_mfma_rows(weight_source from, weight_storage to, std::int64_t n, std::int64_t k) {
  const mfma_run run = mfma_run_of_thread(n, k);
  device::let_next_grid_start();
  device::wait_for_previous_grid();
  const std::int64_t first = (run.expert * n + run.row) * (k / 32);
  fill_mfma_atoms<Width>(run, to.values, n, k, [&](std::int64_t block, std::uint32_t(&words)[4], std::uint8_t& scale) {
    load_words<Width>(from.values + 16 * (first + block), words);
    scale = from.scales[first + block];
  });
}

/// values [experts, k / 2, n], scales [experts, k / 32, n] -> atoms. Rows lie side by side here.
template <access_width Width>
__global__ void __launch_bounds__(mfma_run::threads)
    pack_mfma_columns(weight_source from, weight_storage to, std::int64_t n, std::int64_t k) {
  const mfma_run run = mfma_run_of_thread(n, k);
  device::let_next_grid_start();
  device::wait_for_previous_grid();
  const std::uint8_t* const values = from.values + run.expert * (k / 2) * n + run.row;
  const std::uint8_t* const scales = from.scales + run.expert * (k / 32) * n + run.row;
  fill_mfma_atoms<Width>(run, to.values, n, k, [&](std::int64_t block, std::uint32_t(&words)[4], std::uint8_t& scale) {
#pragma unroll
    for (int i = 0; i < 16; ++i) words[i / 4] |= std::uint32_t{values[(16 * block + i) * n]} << (8 * (i % 4));
    scale = scales[block * n];
  });
}

/// Atoms -> values [experts, n, k / 2], scales [experts, n, k / 32].
template <access_width Width>
__global__ void __launch_bounds__(mfma_run::threads)
    unpack_mfma_rows(weight_source from, weight_storage to, std::int64_t n, std::int64_t k) {
  const mfma_run run = mfma_run_of_thread(n, k);
  device::let_next_grid_start();
  device::wait_for_previous_grid();
  if (run.row >= n) return;
  const std::int64_t first = (run.expert * n + run.row) * (k / 32);
#pragma unroll 4
  for (int u = 0; u < run.atoms; ++u) {
    const std::int64_t block = run.first_block + u * mfma_run::blocks_of_atom;
    if (block >= k / 32) return;
    const std::uint8_t* const atom = from.values + run.first_atom + u * mfma_run::next;
    std::uint32_t words[4];
    load_words<Width>(atom + 16 * run.lane, words);
    store_words<Width>(to.values + 16 * (first + block), words);
    to.scales[first + block] = atom[mfma_run::atom.value_bytes + run.lane];
  }
}

}  // namespace tilefit::inline v0::detail
