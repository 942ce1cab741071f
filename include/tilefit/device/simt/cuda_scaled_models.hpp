// L4: what block-scaled mma.sync (sm_120a) does to the registers of a warp's 32 lanes, in plain C++.
// Knows: kind::mxf4 m16n8k64 and kind::mxf8f6f4 m16n8k32, E8M0 scales, by the layouts of cuda/scaled_lanes.hpp.
// Must not know: lanes' code, memory. Source: PTX ISA, "Block Scaling for mma.sync".
#pragma once

#include <cstdint>

#include "../../float_formats.hpp"
#include "../cuda/scaled_lanes.hpp"

namespace tilefit::inline v0::simt {

/// Elements of an operand: E2M1, eight to a register; or E4M3 and E2M1 in 8-bit containers, four to a register.
enum class scaled_element : std::uint8_t { e2m1, contained_e4m3, contained_e2m1 };

/// Registers of one lane.
struct scaled_registers {
  float* sum = nullptr;              ///< [4]
  const std::uint32_t* a = nullptr;  ///< [4]
  const std::uint32_t* b = nullptr;  ///< [2]
  std::uint32_t scale_a = 0, scale_b = 0;
};
/// Immediate operands.
struct scale_selectors {
  int byte_a = 0, thread_a = 0, byte_b = 0, thread_b = 0;
};

template <scaled_element Element>
__attribute__((no_sanitize("thread"))) inline float scaled_element_of(const std::uint32_t* registers, int i) noexcept {
  if constexpr (Element == scaled_element::e2m1)
    return e2m1_to_float(static_cast<std::uint8_t>(registers[i / 8] >> (4 * (i % 8)) & 15));
  const auto container = static_cast<std::uint8_t>(registers[i / 4] >> (8 * (i % 4)));
  if constexpr (Element == scaled_element::contained_e4m3) return e4m3_to_float(container);
  return e2m1_to_float(static_cast<std::uint8_t>(container >> device::fp4_container_shift & 15));
}

/// sum[16, 8] += (a * scales)[16, K] * (b * scales)[K, 8]. K = 64 and two scales to a row with E2M1 registers
/// (kind::mxf4, scale_vec::2X), else K = 32 and one (kind::mxf8f6f4, scale_vec::1X).
template <scaled_element A, scaled_element B>
__attribute__((no_sanitize("thread"))) inline void model_mma_scaled(const scaled_registers* const (&lanes)[32],
                                                                    const scale_selectors& selectors) noexcept {
  constexpr bool packed = A == scaled_element::e2m1;
  static_assert(packed == (B == scaled_element::e2m1), "kind::mxf4 takes E2M1 on both sides");
  constexpr int run = packed ? 8 : 4, k_size = packed ? 64 : 32;
  float a[16][k_size], b[8][k_size];
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4 * run; ++i) {
      const device::element_place at = device::scaled_a_place(run, lane, i);
      a[at.row][at.column] = scaled_element_of<A>(lanes[lane]->a, i);
    }
    for (int i = 0; i < 2 * run; ++i) {
      const device::element_place at = device::scaled_b_place(run, lane, i);
      b[at.column][at.row] = scaled_element_of<B>(lanes[lane]->b, i);
    }
  }
  const auto scale = [](std::uint32_t word, int byte) {
    return double{e8m0_to_float(static_cast<std::uint8_t>(word >> (8 * byte)))};
  };
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) {
      const device::element_place at = device::mma_c_place(lane, i);
      const std::uint32_t word_a = lanes[device::scaled_a_scale_lane(at.row, selectors.thread_a)]->scale_a;
      const std::uint32_t word_b = lanes[device::scaled_b_scale_lane(at.column, selectors.thread_b)]->scale_b;
      double sum = double{lanes[lane]->sum[i]};
      for (int block = 0; block < k_size / 32; ++block) {
        double part = 0;
        for (int k = 32 * block; k < 32 * block + 32; ++k) part += double{a[at.row][k]} * double{b[at.column][k]};
        sum += part * scale(word_a, selectors.byte_a + block) * scale(word_b, selectors.byte_b + block);
      }
      lanes[lane]->sum[i] = static_cast<float>(sum);
    }
}

}  // namespace tilefit::inline v0::simt
