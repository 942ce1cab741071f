// Mistakes with policies and constant selections.
#include <tilefit/tilefit.hpp>

#include <span>
#include <string_view>

namespace {

struct complete {
  static constexpr tilefit::opt_flags tiles[] = {
      tilefit::opt_flags{.block_m = 64, .block_n = 128, .block_k = 64, .num_stages = 2}};
  constexpr std::string_view name() const noexcept { return "complete"; }
  constexpr std::span<const tilefit::opt_flags> candidates(const tilefit::arch_traits&,
                                                           const tilefit::matmul_problem&) const noexcept {
    return tiles;
  }
  constexpr tilefit::smem_plan plan(const tilefit::arch_traits&, const tilefit::matmul_formats&,
                                    const tilefit::opt_flags&) const noexcept {
    return {};
  }
};
static_assert(tilefit::kernel_policy<complete>);

constexpr const tilefit::arch_traits& arch = tilefit::arch_v<tilefit::arch_id::sm_120>;
constexpr tilefit::matmul_problem problem{.m = 64, .n = 64, .k = 64};

#if CASE == 1  // expect: constraint|kernel_policy
struct without_a_plan {
  constexpr std::string_view name() const noexcept { return "?"; }
  constexpr std::span<const tilefit::opt_flags> candidates(const tilefit::arch_traits&,
                                                           const tilefit::matmul_problem&) const noexcept {
    return {};
  }
};
const auto choice = tilefit::make_opt_flags(arch, problem, {}, without_a_plan{});
#elif CASE == 2  // expect: constraint|kernel_policy
struct may_throw : complete {
  std::span<const tilefit::opt_flags> candidates(const tilefit::arch_traits&, const tilefit::matmul_problem&) const {
    return tiles;
  }
};
const auto choice = tilefit::make_opt_flags(arch, problem, {}, may_throw{});
#elif CASE == 3  // expect: static assertion failed|static_assert failed|static assertion
constexpr tilefit::selection strict = tilefit::make_opt_flags(arch, problem, {.block_m = 4096, .strict = true});
static_assert(strict.ok(), "no tile of 4,096 rows fits");
#elif CASE == 4  // expect: no_such_arch
constexpr const tilefit::arch_traits& missing = tilefit::arch_v<tilefit::arch_id::no_such_arch>;
#elif CASE == 5  // expect: constant expression|usable in a constant
int rows_read_at_run_time = 64;
constexpr tilefit::selection unknown = tilefit::make_opt_flags(arch, {.m = rows_read_at_run_time, .n = 64, .k = 64});
#elif CASE == 6  // expect: delete
const auto* const on_the_heap = new tilefit::scoped_constraints(tilefit::opt_flags_constraints{.block_k = 128});
#endif

}  // namespace
