// L4: how bytes come from global into shared memory without passing through registers.
// Knows: cp.async, bulk copies, their completion, shared-memory addresses. Must not know: what the bytes mean.
// Source: PTX ISA, "Data Movement and Conversion Instructions: Asynchronous copy".
#pragma once

#include <cstddef>
#include <cstdint>

#include "../../detail/config.hpp"

namespace tilefit::inline v0::device {

/// The block's dynamic shared memory, at a multiple of 1,024 bytes.
__device__ inline std::byte* dynamic_shared_memory() noexcept {
  extern __shared__ __align__(1024) std::byte dynamic_shared_bytes[];
  return dynamic_shared_bytes;
}

/// Address of a pointer into the shared window, as PTX instructions take it.
__device__ inline std::uint32_t shared_address(const void* pointer) noexcept {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

/// How L2 keeps what a copy reads. PTX: createpolicy.fractional.
__device__ inline std::uint64_t evict_first_policy() noexcept {
  std::uint64_t policy = 0;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
__device__ inline std::uint64_t evict_normal_policy() noexcept {
  std::uint64_t policy = 0;
  asm volatile("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

/// Copies 16 bytes (both addresses 16-byte aligned) through L2 alone, or writes 16 zeros when not `present` (`from` is
/// not read then, but must be a global address). PTX: cp.async.cg with src-size.
__device__ inline void copy16_async(std::uint32_t to, const void* from, bool present) noexcept {
  const int bytes = present ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

/// Copies 16 bytes. PTX: cp.async.cg.
__device__ inline void copy16_async(std::uint32_t to, const void* from) noexcept {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}

/// Copies 16 bytes, or nothing when not `wanted`: a predicate costs less than a branch. PTX: cp.async.cg.
__device__ inline void copy16_async_if(bool wanted, std::uint32_t to, const void* from) noexcept {
  asm volatile(
      "{\n"
      ".reg .pred wanted;\n"
      "setp.ne.b32 wanted, %2, 0;\n"
      "@wanted cp.async.cg.shared.global [%0], [%1], 16;\n"
      "}" ::"r"(to),
      "l"(from), "r"(static_cast<int>(wanted))
      : "memory");
}

/// The same with a policy. PTX: cp.async.cg … L2::cache_hint.
__device__ inline void copy16_async_hinted(std::uint32_t to, const void* from, std::uint64_t policy) noexcept {
  asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "l"(policy)
               : "memory");
}

/// The same, or nothing when not `wanted`.
__device__ inline void copy16_async_hinted_if(bool wanted, std::uint32_t to, const void* from,
                                              std::uint64_t policy) noexcept {
  asm volatile(
      "{\n"
      ".reg .pred wanted;\n"
      "setp.ne.b32 wanted, %3, 0;\n"
      "@wanted cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2;\n"
      "}" ::"r"(to),
      "l"(from), "l"(policy), "r"(static_cast<int>(wanted))
      : "memory");
}

/// Brings a line of global memory into L2. PTX: prefetch.global.L2.
__device__ inline void prefetch(const void* from) noexcept {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(from)));
}

/// Closes the group of this thread's copies since the last call. PTX: cp.async.commit_group.
__device__ inline void commit_copies() noexcept { asm volatile("cp.async.commit_group;" ::: "memory"); }

/// Waits until at most `Pending` groups of this thread are under way. PTX: cp.async.wait_group.
template <int Pending>
__device__ inline void wait_copies() noexcept {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

/// Copies `bytes` (a multiple of 16, addresses 16-byte aligned) and counts them off `barrier`. One thread calls.
/// The bytes are marked to leave L2 first. PTX: cp.async.bulk … mbarrier::complete_tx::bytes.L2::cache_hint.
__device__ inline void bulk_copy(std::uint32_t to, const void* from, std::uint32_t bytes, std::uint32_t barrier,
                                 std::uint64_t policy) noexcept {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::
          "r"(to),
      "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(barrier), "l"(policy)
      : "memory");
}

#endif

}  // namespace tilefit::inline v0::device
