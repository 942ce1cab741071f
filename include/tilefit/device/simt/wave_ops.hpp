// L4: the lanes of a warp or wave side by side, for lanes on a CPU: what kernels of both vendors share. Same names and
// meaning as in device/hip/wave.cuh and its counterpart for CUDA.
// Knows: TILEFIT_SIMT_LANES lanes that meet. Must not know: what is computed.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "../../detail/config.hpp"
#include "language.hpp"
#include "machine.hpp"

namespace tilefit::inline v0::device {

inline constexpr int wave_lanes = TILEFIT_SIMT_LANES;
static_assert(wave_lanes == 32 || wave_lanes == 64);
inline constexpr std::uint64_t whole_wave = wave_lanes == 64 ? ~std::uint64_t{0} : 0xFFFF'FFFFu;

using lane_mask = std::uint64_t;

inline unsigned thread_of_block() noexcept { return threadIdx.x; }
inline unsigned threads_of_block() noexcept { return blockDim.x; }
inline unsigned block_of_grid() noexcept { return blockIdx.x; }
inline unsigned block_y_of_grid() noexcept { return blockIdx.y; }
inline unsigned block_z_of_grid() noexcept { return blockIdx.z; }
inline unsigned blocks_of_grid() noexcept { return gridDim.x; }
inline unsigned lane_of_wave() noexcept { return threadIdx.x % static_cast<unsigned>(wave_lanes); }

template <class T>
inline T hidden(T value) noexcept {
  return value;
}

/// Lane 0's value.
template <class T>
inline T uniform(T value, const simt::site& where = simt::site::current()) {
  return simt::take_from("a shuffle", whole_wave, value, 0, where);
}
inline int first_lane_with(bool mine, const simt::site& where = simt::site::current()) {
  return std::countr_zero(simt::ballot(whole_wave, mine, where));
}
inline std::int32_t value_of_lane(std::int32_t value, int lane, const simt::site& where = simt::site::current()) {
  return simt::take_from("a shuffle", whole_wave, value, lane, where);
}
inline std::int32_t value_from_below(std::int32_t value, int distance,
                                     const simt::site& where = simt::site::current()) {
  const int from = static_cast<int>(lane_of_wave()) - distance;
  return simt::take_from("a shuffle", whole_wave, value, from < 0 ? static_cast<int>(lane_of_wave()) : from, where);
}
/// Of lane (this one ^ Mask).
template <int Mask>
inline std::int32_t value_of_neighbour(std::int32_t value, const simt::site& where = simt::site::current()) {
  return simt::take_from("a shuffle", whole_wave, value, static_cast<int>(lane_of_wave()) ^ Mask, where);
}
/// Of all lanes that are told apart by the lower `Bits` bits: those like this one.
template <int Bits>
inline lane_mask lanes_alike(std::int32_t value, const simt::site& where = simt::site::current()) {
  lane_mask alike = whole_wave;
  for (int bit = 0; bit < Bits; ++bit) {
    const bool mine = (value >> bit & 1) != 0;
    const lane_mask set = simt::ballot(whole_wave, mine, where);
    alike &= mine ? set : ~set;
  }
  return alike;
}
inline int count_lanes(lane_mask lanes) noexcept { return std::popcount(lanes); }
inline int count_lanes_below(lane_mask lanes) noexcept {
  return std::popcount(lanes & ((lane_mask{1} << lane_of_wave()) - 1));
}
inline std::uint32_t sum_of_lanes(std::uint32_t value, const simt::site& where = simt::site::current()) {
  return simt::combine_all(
      value, [](std::uint32_t a, std::uint32_t b) { return a + b; }, where);
}
inline std::uint32_t largest_of_lanes(std::uint32_t value, const simt::site& where = simt::site::current()) {
  return simt::combine_all(
      value, [](std::uint32_t a, std::uint32_t b) { return a < b ? b : a; }, where);
}
inline std::uint32_t smallest_of_lanes(std::uint32_t value, const simt::site& where = simt::site::current()) {
  return simt::combine_all(
      value, [](std::uint32_t a, std::uint32_t b) { return a < b ? a : b; }, where);
}

inline void meet_block(const simt::site& where = simt::site::current()) {
  simt::now.running->barrier(0, 0, false, where);
}
inline void meet_wave(const simt::site& where = simt::site::current()) {
  simt::now.running->sync_warp(whole_wave, where);
}
inline void add_to_shared(std::int32_t* sum, std::int32_t value) { simt::now.running->add(sum, value); }

/// Sum over each row of 16 lanes, in all of them; the order of additions is that of rotations by 8, 4, 2, 1.
inline float sum_of_16_lanes(float value, const simt::site& where = simt::site::current()) {
  const int lane = static_cast<int>(lane_of_wave());
  for (int by = 8; by > 0; by /= 2)
    value += simt::take_from("a shuffle", whole_wave, value, lane / 16 * 16 + (lane + 16 - by) % 16, where);
  return value;
}

/// A wave, or lanes of a block at a barrier of theirs.
template <int Threads>
inline bool any_of_team(int barrier, bool mine, const simt::site& where = simt::site::current()) {
  if constexpr (Threads != wave_lanes) return simt::now.running->barrier(barrier, Threads, mine, where);
  simt::now.running->sync_warp(whole_wave, where);
  return simt::ballot(whole_wave, mine, where) != 0;
}
template <int Threads>
inline void meet_team(int barrier, const simt::site& where = simt::site::current()) {
  if constexpr (Threads != wave_lanes)
    simt::now.running->barrier(barrier, Threads, false, where);
  else
    simt::now.running->sync_warp(whole_wave, where);
}
/// Adds 1 to a counter, or sets it to 0 when it is `last`; the value before. Acquires and releases.
inline std::uint32_t count_arrival(std::uint32_t* counter, std::uint32_t last) {
  return simt::now.running->count(counter, last, true);
}
inline float4 load_past_l1(const float4* from) { return *from; }

/// A block's dynamic shared memory, at a multiple of 1,024 bytes.
inline std::byte* dynamic_shared_memory() noexcept { return simt::now.running->shared_memory(); }
/// An array of shared memory of its own. Arrays lie one behind the other, as a block asks for them first.
template <std::size_t Bytes, int Number = 0, std::size_t Alignment = 1024>
inline std::byte* shared_array() {
  static constexpr char name = 0;
  return simt::now.running->shared_array(&name, Bytes, Alignment);
}

}  // namespace tilefit::inline v0::device
