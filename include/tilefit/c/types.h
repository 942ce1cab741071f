/* L6: plain data of the door for C11: what goes in and what comes out.
 * Knows: sizes, formats, pointers, as numbers. Must not know: what is done with them (../c.h), or C++.
 *
 * Every struct but tilefit_flags begins with struct_size, which the caller sets to sizeof. A later version of the
 * library adds members at the end only, and gives those that a caller does not have the values that they have in its
 * C++ structs. What a caller has and the library does not know must be 0. */
#ifndef TILEFIT_C_TYPES_H
#define TILEFIT_C_TYPES_H

/* C, whatever clang-tidy has to say of that in C++. NOLINTBEGIN */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Answers of all calls, as tilefit::status_code explains them. Up to and including TILEFIT_EMPTY they are successes.
 */
enum {
  TILEFIT_OK = 0,
  TILEFIT_OK_FALLBACK,
  TILEFIT_OK_CONSTRAINT_RELAXED,
  TILEFIT_EMPTY,
  TILEFIT_NO_FIT,
  TILEFIT_UNSUPPORTED_DTYPE,
  TILEFIT_UNSUPPORTED_FEATURE,
  TILEFIT_INVALID_PROBLEM,
  TILEFIT_INVALID_CONSTRAINT,
  TILEFIT_CONSTRAINT_REFUSED,
  TILEFIT_INVALID_ARGUMENT,
  TILEFIT_RUNTIME_ERROR
};

/** Element formats. */
enum { TILEFIT_FP32 = 0, TILEFIT_BF16, TILEFIT_FP16, TILEFIT_FP8_E4M3, TILEFIT_MXFP8, TILEFIT_MXFP4 };

/** Function behind the matmul. */
enum { TILEFIT_ACTIVATION_NONE = 0, TILEFIT_SWIGLU };

/** Layouts of packed MXFP4 weights (weight_layout.hpp). */
enum { TILEFIT_ROW_MAJOR = 0, TILEFIT_MMA_M16K64, TILEFIT_MFMA_M16K128 };

/** Families of kernels that tiles are chosen for. */
enum { TILEFIT_POLICY_OGS = 0, TILEFIT_POLICY_TRITON_3_4_0, TILEFIT_POLICY_TRITON_2025_12 };

/** How Triton stores the scales of the weights. */
enum {
  TILEFIT_SCALES_STRIDED = 0,
  TILEFIT_SCALES_HOPPER4,
  TILEFIT_SCALES_HOPPER8,
  TILEFIT_SCALES_BLACKWELL,
  TILEFIT_SCALES_CDNA4
};

/** For constraints that say yes or no. */
enum { TILEFIT_NO = -1, TILEFIT_UNSET = 0, TILEFIT_YES = 1 };

/** Forms of an explanation. */
enum { TILEFIT_TEXT = 0, TILEFIT_JSON = 1 };

/** Tile and schedule of a matmul (opt_flags.hpp). Never grows. */
typedef struct tilefit_flags {
  int32_t block_m, block_n, block_k;
  int32_t num_warps, num_stages;
  int32_t group_m, xcd_swizzle, split_k;
  int32_t is_persistent; /* 0 or 1 */
  int32_t epilogue_subtile, idle_sms, waves_per_eu;
  int32_t w_cache;
  int32_t reserved[3]; /* 0 */
} tilefit_flags;

/** A device by the name of its architecture ("sm_120", "12.0", "gfx950:sramecc+"), and what its driver reports
 * (device_report.hpp). 0 = not reported. */
typedef struct tilefit_device {
  size_t struct_size;
  const char* arch;
  int32_t sm_count, xcd_count;
  int64_t smem_optin, smem_per_sm, smem_reserved, l2_bytes;
  int32_t clock_mhz, dram_gbps;
} tilefit_device;

/** Y[m, n] = epilogue(X[m, k] * W[expert][n, k]^T) as matmul_problem.hpp describes it. */
typedef struct tilefit_problem {
  size_t struct_size;
  int64_t m, n, k;
  int32_t experts, topk, batch;
  int32_t x_dtype, w_dtype, y_dtype;
  int32_t activation;
  int32_t gather, scatter, bias, x_transposed, accumulate; /* 0 or 1 */
  int64_t rows_per_expert;                                 /* rows of an expert that has any; 0 = unknown */
  const int32_t* expert_rows;                              /* [experts] rows of every expert, or NULL */
} tilefit_problem;

/** Part of an initialiser: {TILEFIT_PROBLEM_DEFAULTS, .m = 2080, .n = 5760, .k = 2880, .experts = 32, .topk = 4}. */
#define TILEFIT_PROBLEM_DEFAULTS                                                                         \
  .struct_size = sizeof(tilefit_problem), .batch = 1, .x_dtype = TILEFIT_BF16, .w_dtype = TILEFIT_MXFP4, \
  .y_dtype = TILEFIT_BF16

/** What the caller insists on (opt_flags.hpp). 0 = no opinion. A member wins over the same word of `text`, and that
 * over the environment. */
typedef struct tilefit_constraints {
  size_t struct_size;
  int32_t block_m, block_n, block_k, num_warps, num_stages, split_k, epilogue_subtile, idle_sms;
  int64_t max_allowable_mn;
  int32_t is_persistent, batch_invariant, strict; /* TILEFIT_YES, TILEFIT_NO or TILEFIT_UNSET */
  int32_t use_environment;                        /* 1: TILEFIT_CONSTRAINTS counts too */
  const char* text;                               /* "gfx950:block_m=64,block_n=256;sm_120:block_k=128", or NULL */
} tilefit_constraints;

/** Which kernels. The members behind `kind` are for Triton's (triton_ogs_policy.hpp). */
typedef struct tilefit_policy {
  size_t struct_size;
  int32_t kind;
  int32_t scale_layout;
  int32_t has_tma, mx_output; /* 0 or 1 */
  double effective_itemsize;
} tilefit_policy;

/** What was chosen (make_opt_flags.hpp), and the sentence that says why. */
typedef struct tilefit_selection {
  size_t struct_size;
  int32_t status;
  int32_t limiter; /* what the predicted time is bound by: tilefit::limiting_resource */
  tilefit_flags flags;
  int64_t need_bytes, budget_bytes;
  tilefit_flags wished;
  int64_t wished_bytes;
  int64_t predicted_ps;
  char reason[400];
} tilefit_selection;

/** How a call went: status, error number of the GPU's runtime (with TILEFIT_RUNTIME_ERROR), a sentence. */
typedef struct tilefit_answer {
  size_t struct_size;
  int32_t status;
  int32_t native_error;
  char reason[400];
} tilefit_answer;

/** Row-major MXFP4 weights [experts, n, k] that are to be packed. */
typedef struct tilefit_weights {
  size_t struct_size;
  int64_t experts, n, k;
  const uint8_t* values; /* [experts, n, k / 32, 16], low nibble = even k; transposed: [experts, k / 2, n] */
  const uint8_t* scales; /* E8M0 [experts, n, k / 32]; transposed: [experts, k / 32, n] */
  int32_t transposed;
} tilefit_weights;

/** Arguments of a matmul, as matmul_args.hpp explains them: x_operand, w_operand, y_operand and the rest. */
typedef struct tilefit_matmul_args {
  size_t struct_size;
  int64_t m, n, k;
  int32_t experts, topk;
  const void* x;
  int32_t x_dtype, x_transposed;
  int64_t x_rows, x_row_stride;
  const uint8_t* x_block_scales;
  int64_t x_block_scale_stride;
  const float* x_scale;
  const void* w;
  int32_t w_dtype, w_layout;
  const uint8_t* w_block_scales;
  const float* w_scale;
  void* y;
  int32_t y_dtype, activation;
  int64_t y_rows, y_row_stride;
  uint8_t* y_block_scales;
  int64_t y_block_scale_stride;
  const float* y_scale;
  const float* bias;
  const int32_t* expert_offsets;
  const int32_t* gather_indx;
  const int32_t* scatter_indx;
  const float* gammas;
  float swiglu_alpha, swiglu_limit, swiglu_up_offset;
  int32_t write_every_row, accumulate;
  void* workspace;
  size_t workspace_bytes;
} tilefit_matmul_args;

#define TILEFIT_MATMUL_DEFAULTS                                                                  \
  .struct_size = sizeof(tilefit_matmul_args), .x_dtype = TILEFIT_BF16, .w_dtype = TILEFIT_MXFP4, \
  .y_dtype = TILEFIT_BF16, .swiglu_alpha = 1.702f, .swiglu_limit = 7.0f, .swiglu_up_offset = 1.0f

/** One MoE layer, as cuda::moe_args explains it (moe_mlp.cuh), from router logits. W of both matmuls have one layout;
 * row-major ones come with scales of their own. */
typedef struct tilefit_moe_args {
  size_t struct_size;
  int64_t tokens, hidden, intermediate;
  int32_t experts, topk;
  int32_t local_experts; /* with expert_map: experts whose weights are here */
  int32_t w_layout;
  const int32_t* expert_map; /* [experts] number here, or -1: elsewhere; NULL: all are here */
  const float* logits;       /* [tokens, experts] */
  const void* x;             /* [tokens, hidden] */
  const void* gate_up;       /* [local experts, 2 * intermediate, hidden], gate and up interleaved */
  const uint8_t* gate_up_scales;
  const float* gate_up_bias; /* [local experts, 2 * intermediate] */
  const void* down;          /* [local experts, hidden, intermediate] */
  const uint8_t* down_scales;
  const float* down_bias; /* [local experts, hidden] */
  void* y;                /* [tokens, hidden] */
  int32_t x_dtype, between_dtype, y_dtype;
  int32_t accumulate;
  float swiglu_alpha, swiglu_limit, swiglu_up_offset;
  void* workspace;
  size_t workspace_bytes;
} tilefit_moe_args;

#define TILEFIT_MOE_DEFAULTS                                                                       \
  .struct_size = sizeof(tilefit_moe_args), .x_dtype = TILEFIT_BF16, .between_dtype = TILEFIT_BF16, \
  .y_dtype = TILEFIT_BF16, .swiglu_alpha = 1.702f, .swiglu_limit = 7.0f, .swiglu_up_offset = 1.0f

#ifdef __cplusplus
}
#endif

/* NOLINTEND */

#endif
