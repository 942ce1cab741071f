/* L6: the door for C11 and for everything that calls C: plain data in, plain data out, a status as int.
 * Knows: the calls. Must not know: C++, but in its last lines.
 *
 * One file of a program defines TILEFIT_C_IMPLEMENTATION before it includes this header, as C++20 with fmt on the
 * include path. Compiled by nvcc it computes on CUDA devices, by a HIP compiler on AMD's, by any other on the CPU.
 * Pointers in arguments belong to the caller, are not kept, and point to memory of the device that computes. Calls are
 * as safe beside each other as those of the C++ library; none throws or ends the program. */
#ifndef TILEFIT_C_H
#define TILEFIT_C_H

#include "c/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/** 10,000 * major + 100 * minor + patch of the implementation. */
int tilefit_version(void);
/** What the implementation computes on: "cuda", "hip" or "cpu". */
const char* tilefit_backend(void);
/** Layout of W that its kernels read: on the CPU the one that they read fastest. */
int tilefit_kernel_layout(void);
/** "ok_fallback"; "?" for a number that is no status. */
const char* tilefit_status_name(int status);

/** Chooses a tile. `constraints` and `policy` may be NULL. `out` is filled in whatever the answer is. */
int tilefit_select(const tilefit_device* device, const tilefit_problem* problem, const tilefit_constraints* constraints,
                   const tilefit_policy* policy, tilefit_selection* out);
/** Chooses, and explains: aligned text or one JSON object, with a NUL at its end, cut off at `capacity` bytes.
 * `needed` (may be NULL) becomes the bytes that nothing would be cut off at. */
int tilefit_explain(const tilefit_device* device, const tilefit_problem* problem,
                    const tilefit_constraints* constraints, const tilefit_policy* policy, int form, char* buffer,
                    size_t capacity, size_t* needed);

/** Bytes of packed weights; for TILEFIT_ROW_MAJOR of the values alone. 0 for sizes that cannot be. */
size_t tilefit_weight_bytes(int layout, int64_t experts, int64_t n, int64_t k);
/** Packs weights into `layout`, on the stream where there is one. `from` and `to` must not overlap. */
int tilefit_shuffle_weights(int layout, const tilefit_weights* from, void* to, void* stream, tilefit_answer* answer);

/** The engine's choice for the device at hand (on the CPU: for the processor's backend). */
int tilefit_choose(const tilefit_matmul_args* args, const tilefit_constraints* constraints, tilefit_selection* out);
/** Bytes of workspace that a launch makes use of; 0 when it needs none or is refused. */
int tilefit_workspace_bytes(const tilefit_matmul_args* args, const tilefit_flags* flags, size_t* bytes,
                            tilefit_answer* answer);
/** Once for every new workspace, of matmuls and of layers. */
int tilefit_prepare_workspace(void* workspace, size_t bytes, void* stream, tilefit_answer* answer);
/** Enqueues the matmul on `stream` (cudaStream_t or hipStream_t), or computes it on the CPU before it returns.
 * flags NULL: the engine's choice. `answer` may be NULL here and everywhere. */
int tilefit_launch(const tilefit_matmul_args* args, const tilefit_flags* flags, void* stream, tilefit_answer* answer);

/** The same for a layer as a whole. */
int tilefit_choose_moe(const tilefit_moe_args* args, tilefit_selection* gate_up, tilefit_selection* down);
int tilefit_moe_workspace_bytes(const tilefit_moe_args* args, const tilefit_flags* gate_up, const tilefit_flags* down,
                                size_t* bytes, tilefit_answer* answer);
int tilefit_moe_mlp(const tilefit_moe_args* args, const tilefit_flags* gate_up, const tilefit_flags* down, void* stream,
                    tilefit_answer* answer);

#ifdef __cplusplus
}
#endif

#ifdef TILEFIT_C_IMPLEMENTATION
#include "c/door.hpp"
#endif

#endif
