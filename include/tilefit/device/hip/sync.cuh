// L4: how waves wait for loads and for each other, and what the scheduler may move.
// Knows: s_waitcnt, s_barrier, s_setprio, scheduling barriers. Must not know: who waits for what.
// Sources: CDNA3 and CDNA4 ISA references, "S_WAITCNT"; LLVM, "User Guide for AMDGPU Backend", llvm.amdgcn.sched.*.
#pragma once

#include <hip/hip_runtime.h>

#include <cstdint>

#include "../../detail/config.hpp"
#include "wave.cuh"

namespace tilefit::inline v0::device {

/// Nothing is moved across, by the optimiser or by the scheduler. No instruction.
__device__ __forceinline__ void keep_order() noexcept {
  asm volatile("" ::: "memory");
  __builtin_amdgcn_sched_barrier(0);
}

/// Loads from memory, stores and matrix instructions keep to their side of this place, and vector arithmetic unless it
/// may be moved; scalar arithmetic and reads of LDS may be moved across. No instruction.
template <bool MovesArithmetic>
__device__ __forceinline__ void keep_loads_and_products() noexcept {
  constexpr int vector = 0x2, scalar = 0x4, lds = 0x80 | 0x100 | 0x200;
  __builtin_amdgcn_sched_barrier(scalar | lds | (MovesArithmetic ? vector : 0));
}

/// Waits until at most `Loads` of this wave's loads from memory (LDS-direct ones included; they land in order) are
/// under way. s_waitcnt vmcnt(Loads).
template <int Loads>
__device__ __forceinline__ void wait_loads() noexcept {
  static_assert(Loads >= 0 && Loads < 64);
  keep_order();
  __builtin_amdgcn_s_waitcnt(0x0F70 | (Loads & 15) | (Loads >> 4 << 14));
  keep_order();
}

/// Waits for everything that this wave has asked of LDS. s_waitcnt lgkmcnt(0).
__device__ __forceinline__ void wait_lds() noexcept {
  keep_order();
  __builtin_amdgcn_s_waitcnt(0xC07F);
  keep_order();
}

/// All waves of the block meet, with their LDS reads and writes done; loads into LDS stay under way. s_barrier.
__device__ __forceinline__ void meet_block() noexcept {
  wait_lds();
  __builtin_amdgcn_s_barrier();
  keep_order();
}

/// The lanes of a wave, which is all that a team is here: what one of them did comes before what others do behind it.
/// Fences of a wave are no instructions, and hold the compiler alone.
template <int Threads>
__device__ __forceinline__ void meet_team(int /*barrier*/) noexcept {
  static_assert(Threads == wave_lanes);
  __builtin_amdgcn_fence(__ATOMIC_ACQ_REL, "wavefront");
  __builtin_amdgcn_wave_barrier();
}
/// The same; tells all of them whether `mine` is true for any.
template <int Threads>
__device__ __forceinline__ bool any_of_team(int barrier, bool mine) noexcept {
  meet_team<Threads>(barrier);
  return __builtin_amdgcn_ballot_w64(mine) != 0;
}

/// Adds 1 to a counter in memory, or sets it to 0 when it is `last`; the value before. What this wave wrote or saw
/// comes before it for everybody on the device who counts after it: the L2s of several dies are written back before it
/// and emptied of what may be old after it. Release and acquire at agent scope (LLVM, "Memory Model GFX942"),
/// global_atomic_inc.
__device__ __forceinline__ std::uint32_t count_arrival(std::uint32_t* counter, std::uint32_t last) noexcept {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "agent");
  const std::uint32_t before = __builtin_amdgcn_atomic_inc32(counter, last, __ATOMIC_RELAXED, "agent");
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "agent");
  return before;
}

/// What other CUs wrote, behind count_arrival, which leaves nothing old in L1.
__device__ __forceinline__ float4 load_past_l1(const float4* from) noexcept { return *from; }
/// The lanes of a wave see what the others did to LDS before: LDS takes a wave's operations in order. No instruction.
__device__ __forceinline__ void meet_wave() noexcept {
  __builtin_amdgcn_fence(__ATOMIC_ACQ_REL, "wavefront");
  __builtin_amdgcn_wave_barrier();
}

/// 0 (normal) .. 3: which wave of a SIMD goes first. s_setprio.
template <int Priority>
__device__ __forceinline__ void set_priority() noexcept {
  __builtin_amdgcn_s_setprio(Priority);
}

/// The scheduler's next instructions are `Count` of these kinds (LLVM's mask: 0x2 vector ALU, 0x8 matrix, 0x20 reads of
/// memory, 0x100 reads of LDS), as far as there are any. llvm.amdgcn.sched.group.barrier.
template <int Mask, int Count>
__device__ __forceinline__ void schedule_group() noexcept {
  __builtin_amdgcn_sched_group_barrier(Mask, Count, 0);
}

}  // namespace tilefit::inline v0::device
