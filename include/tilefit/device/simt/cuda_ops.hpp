// L4: the functions of device/cuda/*.cuh that the mma.sync kernels use, for lanes on a CPU. Same names, same meaning.
// Knows: cp.async, ldmatrix, mma.sync, named barriers, conversions, as the executor plays them.
// Must not know: kernels. Not here: mbarriers, bulk copies, wgmma.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../../dtype.hpp"
#include "cuda_models.hpp"
#include "language.hpp"
#include "launch_control.hpp"
#include "machine.hpp"
#include "numbers.hpp"
#include "wave_ops.hpp"

namespace tilefit::inline v0::device {

// --- copy.cuh ---

inline std::uint32_t shared_address(const void* pointer) { return simt::now.running->shared_address(pointer); }
inline std::uint64_t evict_first_policy() noexcept { return 1; }
inline std::uint64_t evict_normal_policy() noexcept { return 2; }
inline void copy16_async(std::uint32_t to, const void* from, bool present) {
  simt::now.running->copy_async(to, present ? from : nullptr, 16);
}
inline void copy16_async(std::uint32_t to, const void* from) { simt::now.running->copy_async(to, from, 16); }
inline void copy16_async_hinted(std::uint32_t to, const void* from, std::uint64_t) { copy16_async(to, from); }
inline void copy16_async_if(bool wanted, std::uint32_t to, const void* from) {
  if (wanted) copy16_async(to, from);
}
inline void copy16_async_hinted_if(bool wanted, std::uint32_t to, const void* from, std::uint64_t) {
  if (wanted) copy16_async(to, from);
}
/// An address that may be wrong without harm on a GPU, but that no kernel means to be wrong.
inline void prefetch(const void* from) { simt::now.running->access(from, 1, false, 1); }
inline void commit_copies() { simt::now.running->commit_copies(); }
template <int Pending>
inline void wait_copies() {
  simt::now.running->wait_copies(Pending);
}

// --- barrier.cuh ---

inline void named_barrier(int id, int threads, const simt::site& where = simt::site::current()) {
  simt::now.running->barrier(id, threads, false, where);
}
inline bool any_at_named_barrier(int id, int threads, bool mine, const simt::site& where = simt::site::current()) {
  return simt::now.running->barrier(id, threads, mine, where);
}
inline std::uint32_t draw(std::uint32_t* counter) { return simt::now.running->count(counter, 0x7FFF'FFFFu, false); }

// --- mma.cuh ---

/// What a lane brings to ldmatrix.
struct ldmatrix_argument {
  std::uint32_t address = 0;
  std::uint32_t (*to)[4] = nullptr;
};
__attribute__((no_sanitize("thread"))) inline void act_ldmatrix(simt::machine& m, void* const* arguments) {
  const std::byte* rows[32];
  std::uint32_t(*to[32])[4];
  const int turn = m.sabotaged(simt::sabotage_kind::rotate_lanes) ? 1 : 0;
  for (int i = 0; i < 32; ++i) {
    const auto& mine = *static_cast<const ldmatrix_argument*>(arguments[i]);
    rows[i] = m.read_shared(i, mine.address, 16, simt::read_kind::matrix);
    to[(i + turn) % 32] = mine.to;
  }
  simt::model_ldmatrix_x4(rows, to);
}
inline void load_matrices(std::uint32_t address, std::uint32_t (&registers)[4],
                          const simt::site& where = simt::site::current()) {
  ldmatrix_argument mine{.address = address, .to = &registers};
  simt::meet_all("ldmatrix", mine, act_ldmatrix, where);
}

template <dtype X>
__attribute__((no_sanitize("thread"))) inline void act_mma_m16n8k16(simt::machine&, void* const* arguments) {
  const simt::mma_registers* lanes[32];
  for (int i = 0; i < 32; ++i) lanes[i] = static_cast<const simt::mma_registers*>(arguments[i]);
  simt::model_mma_m16n8k16<X>(lanes);
}
template <dtype X>
inline void mma_m16n8k16(float* sum, const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
                         const simt::site& where = simt::site::current()) {
  simt::mma_registers mine{.sum = sum, .a = a, .b = {b0, b1}};
  simt::meet_all("mma.sync m16n8k16", mine, act_mma_m16n8k16<X>, where);
}

}  // namespace tilefit::inline v0::device
