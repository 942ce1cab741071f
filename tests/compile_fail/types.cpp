// Mistakes that the types of problems, flags and constraints catch.
#include <tilefit/arch.hpp>
#include <tilefit/detail/math.hpp>
#include <tilefit/dtype.hpp>
#include <tilefit/matmul_problem.hpp>
#include <tilefit/opt_flags.hpp>
#include <tilefit/status.hpp>

namespace {

template <tilefit::opt_flags F>
struct kernel {
  static constexpr int rows = F.block_m;
};
static_assert(kernel<tilefit::opt_flags{.block_m = 64, .block_n = 128}>::rows == 64);

#if CASE == 1  // expect: cannot convert|cannot initialize|no viable conversion
const int number = tilefit::dtype::bf16;
#elif CASE == 2  // expect: [Nn]arrowing|cannot be narrowed
const tilefit::opt_flags fraction{.block_m = 64.5};
#elif CASE == 3  // expect: block_q
const tilefit::opt_flags misspelt{.block_q = 64};
#elif CASE == 4  // expect: structural
template <tilefit::opt_flags_constraints C>
int constrained();
#elif CASE == 5  // expect: constant expression|usable in a constant
int run_time_rows = 64;
using unknown_at_compile_time = kernel<tilefit::opt_flags{.block_m = run_time_rows}>;
#elif CASE == 6  // expect: constant expression
constexpr auto tiles = tilefit::detail::ceil_div(7, 0);
#elif CASE == 7  // expect: no match for|invalid operands
const bool mixed_kinds = tilefit::arch_id::sm_90 == tilefit::vendor_id::nvidia;
#elif CASE == 8  // expect: could not convert|cannot convert|no viable conversion|cannot initialize
const bool a_code_is_not_a_bool = tilefit::status_code::ok;
#endif

}  // namespace
