// Small kernels, each right or wrong in one way. Blocks of 64 lanes and 256 bytes of shared memory unless said.
#pragma once

#include <cstdint>

namespace tilefit_simt {

using int_kernel = void (*)(std::int32_t* out, const std::int32_t* in);

/// out[lane] = in[lane + 1] through shared memory, with every barrier that takes.
extern const int_kernel shift_right;
extern const int_kernel shift_without_barrier;       ///< the load races with the store
extern const int_kernel write_twice;                 ///< two lanes store the same word
extern const int_kernel write_after_read;            ///< the second round races with loads of the first
extern const int_kernel read_never_written;          ///< of shared memory
extern const int_kernel read_behind_shared;          ///< four bytes behind its end
extern const int_kernel write_before_out;            ///< four bytes before a buffer
extern const int_kernel write_input;                 ///< in
extern const int_kernel write_stray;                 ///< somewhere else
extern const int_kernel read_misaligned;             ///< 16 bytes at a multiple of 4
extern const int_kernel leave_early;                 ///< half of the lanes end before a barrier
extern const int_kernel wait_elsewhere;              ///< odd lanes of a warp wait at another barrier call
extern const int_kernel wait_at_other_barrier;       ///< warps wait at barriers of different names
extern const int_kernel shuffle_in_half;             ///< half of a warp shuffles with all lanes' mask
extern const int_kernel different_shuffles;          ///< lanes of a warp meet at different shuffles
extern const int_kernel copy;                        ///< out = in through cp.async, right
extern const int_kernel copy_without_wait;           ///< loads what may not have landed
extern const int_kernel copy_without_barrier;        ///< loads another lane's copy, which has landed for that lane
extern const int_kernel copy_over_reads;             ///< begins a copy into bytes that others may still be reading
extern const int_kernel copy_wrong_group;            ///< waits for the group before the one that counts
extern const int_kernel copy_misaligned;             ///< to a multiple of 8
extern const int_kernel copy_from_behind;            ///< reads behind its source
extern const int_kernel exchange_in_warp;            ///< through shared memory, ordered by __syncwarp
extern const int_kernel exchange_in_warp_unordered;  ///< the same without it
extern const int_kernel blocks_meet;                 ///< the last of all blocks adds up what they left; right
extern const int_kernel blocks_meet_early;           ///< lanes count their arrival before the block's barrier
extern const int_kernel blocks_do_not_meet;          ///< every block reads what block 0 wrote

/// Sizes of what the compiler announces: out is char[64 * 16], all lanes store 1, 2, 4, 8, 16 bytes in turn.
extern const int_kernel store_sizes;

}  // namespace tilefit_simt
