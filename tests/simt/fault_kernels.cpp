// The kernels of fault_kernels.hpp.
#include "fault_kernels.hpp"

#include <cstddef>

#include "tilefit/device/ops.cuh"

namespace tilefit_simt {
namespace {

using namespace tilefit;

std::int32_t* words() { return reinterpret_cast<std::int32_t*>(device::dynamic_shared_memory()); }
unsigned me() { return threadIdx.x; }

void shift(std::int32_t* out, const std::int32_t* in, bool waits) {
  words()[me()] = in[me()];
  if (waits) __syncthreads();
  out[me()] = words()[(me() + 1) % 64];
}
void do_shift_right(std::int32_t* out, const std::int32_t* in) { shift(out, in, true); }
void do_shift_without_barrier(std::int32_t* out, const std::int32_t* in) { shift(out, in, false); }

void do_write_twice(std::int32_t* out, const std::int32_t* in) {
  words()[me() % 63] = in[me()];
  __syncthreads();
  out[me()] = words()[me() % 63];
}

void do_write_after_read(std::int32_t* out, const std::int32_t* in) {
  words()[me()] = in[me()];
  __syncthreads();
  const std::int32_t other = words()[63 - me()];
  words()[me()] = other + 1;
  __syncthreads();
  out[me()] = words()[me()];
}

void do_read_never_written(std::int32_t* out, const std::int32_t* in) {
  if (me() != 17) words()[me()] = in[me()];
  __syncthreads();
  out[me()] = words()[me()];
}

void do_read_behind_shared(std::int32_t* out, const std::int32_t* in) {
  words()[me()] = in[me()];
  __syncthreads();
  out[me()] = words()[me() + 1];
}

void do_write_before_out(std::int32_t* out, const std::int32_t* in) { out[static_cast<int>(me()) - 1] = in[me()]; }
void do_write_input(std::int32_t* out, const std::int32_t* in) {
  if (me() == 5) const_cast<std::int32_t*>(in)[me()] = 3;
  out[me()] = 1;
}
void do_write_stray(std::int32_t* out, const std::int32_t*) {
  const auto to = me() == 40 ? std::uintptr_t{64} : reinterpret_cast<std::uintptr_t>(out + me());
  *reinterpret_cast<volatile std::int32_t*>(to) = 1;
}
void do_read_misaligned(std::int32_t* out, const std::int32_t* in) {
  const auto* const from = reinterpret_cast<const uint4*>(in + (me() == 3 ? 1 : 0));
  out[me()] = static_cast<std::int32_t>(from->x + from->y + from->z + from->w);
}

void do_leave_early(std::int32_t* out, const std::int32_t* in) {
  out[me()] = in[me()];
  if (me() >= 32) return;
  __syncthreads();
}
void do_wait_elsewhere(std::int32_t* out, const std::int32_t* in) {
  out[me()] = in[me()];
  if (me() % 2 == 0)
    __syncthreads();
  else
    __syncthreads();
}
void do_wait_at_other_barrier(std::int32_t* out, const std::int32_t* in) {
  out[me()] = in[me()];
  device::named_barrier(me() < 32 ? 1 : 2, 64);
}
void do_shuffle_in_half(std::int32_t* out, const std::int32_t* in) {
  std::int32_t value = in[me()];
  if (me() % 32 < 16) value = __shfl_xor_sync(0xFFFF'FFFFu, value, 1);
  out[me()] = value;
}
void do_different_shuffles(std::int32_t* out, const std::int32_t* in) {
  std::int32_t value = in[me()];
  if (me() % 32 < 16)
    value = __shfl_xor_sync(0xFFFF'FFFFu, value, 1);
  else
    value = __shfl_sync(0xFFFF'FFFFu, value, 1);
  out[me()] = value;
}

struct copy_plan {
  bool waits = true, meets = true;
  unsigned from = 0;  ///< lane whose copy is loaded, further on
  int pending = 0;
  int rounds = 1;
  unsigned to_shift = 0, from_shift = 0;
};
/// Lanes 0..15 copy four words each.
template <copy_plan Plan>
void copy_with(std::int32_t* out, const std::int32_t* in) {
  for (int round = 0; round < Plan.rounds; ++round) {
    if (me() < 16)
      device::copy16_async(device::shared_address(words() + 4 * me()) + Plan.to_shift, in + 4 * me() + Plan.from_shift);
    device::commit_copies();
    if constexpr (Plan.waits) device::wait_copies<Plan.pending>();
    if constexpr (Plan.meets) __syncthreads();
    const std::int32_t value = words()[Plan.meets ? me() : me() < 16 ? 4 * ((me() + Plan.from) % 16) : me()];
    if (Plan.meets || me() < 16) out[me()] = value;
  }
}

void exchange(std::int32_t* out, const std::int32_t* in, bool orders) {
  words()[me()] = in[me()];
  if (orders) __syncwarp();
  out[me()] = words()[me() ^ 1];
}
void do_exchange_in_warp(std::int32_t* out, const std::int32_t* in) { exchange(out, in, true); }
void do_exchange_in_warp_unordered(std::int32_t* out, const std::int32_t* in) { exchange(out, in, false); }

/// out: a word for every lane of every block, then the counter, then the sum.
void meet_blocks(std::int32_t* out, bool waits) {
  out[blockIdx.x * 64 + me()] = static_cast<std::int32_t>(me());
  if (waits) __syncthreads();
  std::int32_t* const behind = out + gridDim.x * 64;
  if (me() == 0) {
    const unsigned last = gridDim.x - 1;
    words()[0] = device::count_arrival(reinterpret_cast<std::uint32_t*>(behind), last) == last ? 1 : 0;
  }
  __syncthreads();
  if (words()[0] == 0 || me() != 63) return;
  std::int32_t sum = 0;
  for (unsigned i = 0; i < gridDim.x * 64; ++i) sum += out[i];
  behind[1] = sum;
}
void do_blocks_meet(std::int32_t* out, const std::int32_t*) { meet_blocks(out, true); }
void do_blocks_meet_early(std::int32_t* out, const std::int32_t*) { meet_blocks(out, false); }
void do_blocks_do_not_meet(std::int32_t* out, const std::int32_t*) {
  if (blockIdx.x == 0) out[me()] = 1;
  if (blockIdx.x == 1) out[64 + me()] = out[me()];
}

void do_store_sizes(std::int32_t* out, const std::int32_t*) {
  auto* const bytes = reinterpret_cast<std::byte*>(out) + 16 * me();
  switch (me() % 5) {
    case 0: *bytes = std::byte{1}; break;
    case 1: *reinterpret_cast<std::uint16_t*>(bytes) = 1; break;
    case 2: *reinterpret_cast<std::uint32_t*>(bytes) = 1; break;
    case 3: *reinterpret_cast<std::uint64_t*>(bytes) = 1; break;
    default: *reinterpret_cast<uint4*>(bytes) = {1, 1, 1, 1};
  }
}

}  // namespace

const int_kernel shift_right = do_shift_right;
const int_kernel shift_without_barrier = do_shift_without_barrier;
const int_kernel write_twice = do_write_twice;
const int_kernel write_after_read = do_write_after_read;
const int_kernel read_never_written = do_read_never_written;
const int_kernel read_behind_shared = do_read_behind_shared;
const int_kernel write_before_out = do_write_before_out;
const int_kernel write_input = do_write_input;
const int_kernel write_stray = do_write_stray;
const int_kernel read_misaligned = do_read_misaligned;
const int_kernel leave_early = do_leave_early;
const int_kernel wait_elsewhere = do_wait_elsewhere;
const int_kernel wait_at_other_barrier = do_wait_at_other_barrier;
const int_kernel shuffle_in_half = do_shuffle_in_half;
const int_kernel different_shuffles = do_different_shuffles;
const int_kernel copy = copy_with<copy_plan{}>;
const int_kernel copy_without_wait = copy_with<copy_plan{.waits = false}>;
const int_kernel copy_without_barrier = copy_with<copy_plan{.meets = false, .from = 1}>;
const int_kernel copy_over_reads = copy_with<copy_plan{.rounds = 2}>;
const int_kernel copy_wrong_group = copy_with<copy_plan{.pending = 1}>;
const int_kernel copy_misaligned = copy_with<copy_plan{.to_shift = 8}>;
const int_kernel copy_from_behind = copy_with<copy_plan{.from_shift = 4}>;
const int_kernel exchange_in_warp = do_exchange_in_warp;
const int_kernel exchange_in_warp_unordered = do_exchange_in_warp_unordered;
const int_kernel blocks_meet = do_blocks_meet;
const int_kernel blocks_meet_early = do_blocks_meet_early;
const int_kernel blocks_do_not_meet = do_blocks_do_not_meet;
const int_kernel store_sizes = do_store_sizes;

}  // namespace tilefit_simt
