// Problems and flags can be template arguments, and travel to a device as plain bytes.
#include <tilefit/arch.hpp>
#include <tilefit/matmul_problem.hpp>
#include <tilefit/opt_flags.hpp>
#include <type_traits>

namespace {

using namespace tilefit;

template <opt_flags F, matmul_formats P>
struct kernel_name {};

constexpr opt_flags small{.block_m = 16, .block_n = 128, .block_k = 128, .num_warps = 4, .num_stages = 3};
constexpr opt_flags same{.block_m = 16, .block_n = 128, .block_k = 128, .num_warps = 4, .num_stages = 3};
constexpr opt_flags other{.block_m = 32, .block_n = 128, .block_k = 128, .num_warps = 4, .num_stages = 3};

static_assert(std::is_same_v<kernel_name<small, matmul_formats{}>, kernel_name<same, matmul_formats{}>>);
static_assert(!std::is_same_v<kernel_name<small, matmul_formats{}>, kernel_name<other, matmul_formats{}>>);
static_assert(!std::is_same_v<kernel_name<small, matmul_formats{}>, kernel_name<small, matmul_formats{.bias = true}>>);

template <class T>
constexpr bool plain_bytes = std::is_aggregate_v<T>&& std::is_trivially_copyable_v<T>&& std::is_standard_layout_v<T>;

static_assert(plain_bytes<opt_flags>);
static_assert(plain_bytes<matmul_formats>);
static_assert(plain_bytes<matmul_problem>);
static_assert(plain_bytes<arch_traits>);

static_assert(!matmul_problem{}.is_ragged());
static_assert(matmul_problem{.experts = 2}.is_ragged());
static_assert(opt_flags_constraints{} == opt_flags_constraints{});
static_assert(opt_flags_constraints{.block_m = 64} != opt_flags_constraints{});
static_assert((feature_set{} | feature::wgmma).has(feature::wgmma));
static_assert(!(feature_set{} | feature::wgmma).has(feature::mfma));

}  // namespace
