// The engine while compiling: what it chooses can be a template argument, and a wrong choice does not compile.
#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

#include <tilefit/tilefit.hpp>

namespace {

using namespace tilefit;

constexpr matmul_problem gpt_oss_20b(std::int64_t tokens) noexcept {
  return {.m = tokens * 4,
          .n = 5760,
          .k = 2880,
          .experts = 32,
          .topk = 4,
          .formats = {.act = activation::swiglu, .gather = true, .bias = true}};
}
constexpr const arch_traits& rtx_5090 = arch_v<arch_id::sm_120>;

// --- the choice as a template argument ------------------------------------------------------------------------------

constexpr selection decode = make_opt_flags(rtx_5090, gpt_oss_20b(1));
constexpr selection prefill = make_opt_flags(rtx_5090, gpt_oss_20b(16384));

template <opt_flags Flags>
struct kernel {
  static constexpr smem_plan plan =
      ogs_policy{}.plan(rtx_5090, gpt_oss_20b(1).formats, Flags).with_stages(Flags.num_stages);
  static_assert(plan.total_bytes() <= rtx_5090.smem_block_bytes);
};
static_assert(kernel<decode.flags>::plan.total_bytes() == decode.need_bytes());
static_assert(kernel<prefill.flags>::plan.total_bytes() == prefill.need_bytes());
static_assert(!std::is_same_v<kernel<decode.flags>, kernel<prefill.flags>>);
static_assert(decode.ok() && prefill.ok() && decode.has_tile() && prefill.has_tile());
static_assert(decode.flags.block_m < prefill.flags.block_m);

static_assert(std::is_trivially_copyable_v<selection>);
static_assert(noexcept(make_opt_flags(rtx_5090, gpt_oss_20b(1))));
static_assert(noexcept(make_opt_flags(rtx_5090, gpt_oss_20b(1), {}, triton_ogs_policy{})));

// --- every row has a tile for both ends
// ---------------------------------------------------------------------------------

template <arch_id Id>
constexpr bool serves(std::int64_t tokens) {
  const selection choice = make_opt_flags(arch_v<Id>, gpt_oss_20b(tokens));
  return choice.ok() && choice.has_tile() && choice.need_bytes() <= arch_v<Id>.smem_block_bytes;
}
template <arch_id... Ids>
struct all_serve {
  static_assert((serves<Ids>(1) && ...));
  static_assert((serves<Ids>(520) && ...));
};
using enum arch_id;
template struct all_serve<sm_80, sm_86, sm_87, sm_89, sm_90, sm_100, sm_103, sm_110, sm_120, sm_121, gfx90a, gfx942,
                          gfx950, gfx1100, gfx1151, gfx1201, nvidia_generic, amd_cdna_generic, amd_rdna_generic>;

// --- 519 and 520 tokens on an RTX 5090, Triton 3.4.0
// ------------------------------------------------------------------

constexpr triton_ogs_policy triton{.release = triton_release::v3_4_0};
constexpr selection at_519 = make_opt_flags(rtx_5090, gpt_oss_20b(519), {}, triton);
constexpr selection at_520 = make_opt_flags(rtx_5090, gpt_oss_20b(520), {}, triton);
static_assert(at_519.status == status_code::ok && at_519.need_bytes() == 100'352);
static_assert(at_519.flags.block_m == 64 && at_519.flags.block_n == 256 && at_519.flags.block_k == 256);
static_assert(at_520.status == status_code::ok_fallback && at_520.wished_bytes == 133'120);
static_assert(at_520.wished.block_m == 128 && at_520.wished.num_stages == 0);
static_assert(at_520.need_bytes() <= at_520.budget_bytes && at_520.budget_bytes == 101'376);

// --- answers without a tile -----------------------------------------------------------------------------------------

static_assert(make_opt_flags(rtx_5090, gpt_oss_20b(0)).status == status_code::empty);
static_assert(make_opt_flags(rtx_5090, gpt_oss_20b(-1)).status == status_code::invalid_problem);
static_assert(make_opt_flags(rtx_5090, gpt_oss_20b(1), {.block_m = -1}).status == status_code::invalid_constraint);
constexpr selection strict = make_opt_flags(rtx_5090, gpt_oss_20b(1), {.block_m = 4096, .strict = true});
static_assert(strict.status == status_code::no_fit && strict.has_tile() && strict.relaxed.has(constraint_id::block_m));
static_assert(make_opt_flags(rtx_5090, gpt_oss_20b(1), {.block_m = 4096}).status == status_code::ok_constraint_relaxed);

constexpr std::array<std::int32_t, 4> rows = {0, 8, 0, 0};
constexpr matmul_problem counted{
    .m = 8, .n = 64, .k = 64, .experts = 4, .topk = 2, .formats = {}, .rows = row_distribution::counted(rows)};
static_assert(make_opt_flags(rtx_5090, counted).ok());

// --- a policy of one's own
// --------------------------------------------------------------------------------------------

struct one_kernel {
  static constexpr opt_flags tile{.block_m = 64, .block_n = 64, .block_k = 64, .num_warps = 4, .num_stages = 3};
  constexpr std::string_view name() const noexcept { return "one kernel"; }
  constexpr std::span<const opt_flags> candidates(const arch_traits&, const matmul_problem&) const noexcept {
    return {&tile, 1};
  }
  constexpr smem_plan plan(const arch_traits&, const matmul_formats&, const opt_flags& flags) const noexcept {
    smem_plan plan;
    plan.add(smem_region::x_values, flags.block_m * flags.block_k * 2, smem_lifetime::per_stage);
    return plan;
  }
};
static_assert(kernel_policy<one_kernel> && kernel_policy<ogs_policy> && kernel_policy<triton_ogs_policy>);
static_assert(!kernel_policy<opt_flags>);
static_assert(!has_wish<ogs_policy> && has_wish<triton_ogs_policy> && adapts_tiles<triton_ogs_policy>);
constexpr selection only = make_opt_flags(rtx_5090, gpt_oss_20b(1), {}, one_kernel{});
static_assert(only.flags.block_m == 64 && only.need_bytes() == 3 * 64 * 64 * 2);

}  // namespace
