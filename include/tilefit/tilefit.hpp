// tilefit without a GPU toolkit: formats, architectures, the engine and its policies, constraints, routing, weights.
// Knows: the headers of L0 to L3, nothing of its own.
// Must not know: explain.hpp, which needs fmt, and anything that needs a toolkit or runs kernels.
#pragma once

#include "arch.hpp"
#include "arch_lookup.hpp"
#include "arch_table.hpp"
#include "constraint_rules.hpp"
#include "constraint_text.hpp"
#include "constraints.hpp"
#include "cost_model.hpp"
#include "device_report.hpp"
#include "dtype.hpp"
#include "float_formats.hpp"
#include "fp4_widening.hpp"
#include "kernel_policy.hpp"
#include "make_opt_flags.hpp"
#include "matmul_problem.hpp"
#include "mxfp4.hpp"
#include "ogs_policy.hpp"
#include "opt_flags.hpp"
#include "smem_plan.hpp"
#include "status.hpp"
#include "triton_ogs_policy.hpp"
#include "version.hpp"
