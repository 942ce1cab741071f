// L4: how threads of a block wait for each other and for copies.
// Knows: mbarriers, named barriers, the fence between the generic and the asynchronous proxy, register hand-over.
// Must not know: who waits for what.
// Source: PTX ISA, "Parallel Synchronization and Communication Instructions".
#pragma once

#include <cstdint>

#include "../../detail/config.hpp"
#include "copy.cuh"

namespace tilefit::inline v0::device {

/// Threads of the block that call with the same id (1..15; 0 is __syncthreads) wait for each other; `threads` of them,
/// a multiple of 32. PTX: barrier.sync.
__device__ inline void named_barrier(int id, int threads) noexcept {
  asm volatile("barrier.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/// The same; tells all of them whether `mine` is true for any. PTX: barrier.red.or.
__device__ inline bool any_at_named_barrier(int id, int threads, bool mine) noexcept {
  int any = 0;
  asm volatile(
      "{\n"
      ".reg .pred mine, any;\n"
      "setp.ne.b32 mine, %3, 0;\n"
      "barrier.red.or.pred any, %1, %2, mine;\n"
      "selp.b32 %0, 1, 0, any;\n"
      "}"
      : "=r"(any)
      : "r"(id), "r"(threads), "r"(static_cast<int>(mine))
      : "memory");
  return any != 0;
}

/// The same for a team of `Threads`, whose barrier has this id.
template <int Threads>
__device__ __forceinline__ void meet_team(int id) noexcept {
  named_barrier(id, Threads);
}
template <int Threads>
__device__ __forceinline__ bool any_of_team(int id, bool mine) noexcept {
  return any_at_named_barrier(id, Threads, mine);
}

/// What other SMs wrote: not from this one's L1. PTX: ld.global.cg.
__device__ __forceinline__ float4 load_past_l1(const float4* from) noexcept { return __ldcg(from); }

/// Adds 1 to a counter in global memory, or sets it to 0 when it is `last`; the value before. What this thread wrote or
/// saw comes before it for everybody who counts after it. PTX: atom.acq_rel.gpu.inc.
__device__ inline std::uint32_t count_arrival(std::uint32_t* counter, std::uint32_t last) noexcept {
  std::uint32_t before = 0;
  asm volatile("atom.acq_rel.gpu.global.inc.u32 %0, [%1], %2;"
               : "=r"(before)
               : "l"(__cvta_generic_to_global(counter)), "r"(last)
               : "memory");
  return before;
}

/// Adds 1 to a counter in global memory; the value before. Orders nothing. As an increment that wraps (far away),
/// because of additions ptxas makes one for the whole warp and waits for its answer at once. PTX: atom.relaxed.gpu.inc.
__device__ inline std::uint32_t draw(std::uint32_t* counter) noexcept {
  std::uint32_t before = 0;
  asm volatile("atom.relaxed.gpu.global.inc.u32 %0, [%1], %2;"
               : "=r"(before)
               : "l"(__cvta_generic_to_global(counter)), "r"(0x7FFFFFFFu)
               : "memory");
  return before;
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

/// PTX: mbarrier.init. Followed by `publish_barriers` and a block barrier before anybody uses it.
__device__ inline void init_barrier(std::uint32_t barrier, int arrivals) noexcept {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

/// Makes initialised barriers visible to the asynchronous proxy. PTX: fence.mbarrier_init.
__device__ inline void publish_barriers() noexcept {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/// PTX: mbarrier.arrive (release at block scope).
__device__ inline void arrive(std::uint32_t barrier) noexcept {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/// Arrives and adds bytes that bulk copies will bring. PTX: mbarrier.arrive.expect_tx.
__device__ inline void arrive_expecting(std::uint32_t barrier, std::uint32_t bytes) noexcept {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

/// Arrives once all cp.async of this thread so far have landed; the barrier's count includes this thread.
/// PTX: cp.async.mbarrier.arrive.noinc.
__device__ inline void arrive_after_copies(std::uint32_t barrier) noexcept {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}

/// Waits until the phase of this parity is complete. PTX: mbarrier.try_wait.parity (acquire at block scope).
__device__ inline void wait(std::uint32_t barrier, std::uint32_t parity) noexcept {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

/// Orders what this thread saw of shared memory before what it lets wgmma or bulk copies do with it.
/// PTX: fence.proxy.async.
__device__ inline void fence_async_proxy() noexcept { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

#endif

}  // namespace tilefit::inline v0::device
