// Tiles for kernels of your own: a policy names them and counts their bytes; the engine does the rest.
#include <tilefit/explain.hpp>
#include <tilefit/tilefit.hpp>

#include <cstdio>
#include <span>

struct my_policy {
  static constexpr tilefit::opt_flags tiles[] = {
      {.block_m = 16, .block_n = 128, .block_k = 128, .num_warps = 4, .num_stages = 4},
      {.block_m = 64, .block_n = 128, .block_k = 128, .num_warps = 4, .num_stages = 4},
      {.block_m = 128, .block_n = 256, .block_k = 128, .num_warps = 8, .num_stages = 4},
  };
  constexpr std::string_view name() const noexcept { return "my kernels"; }
  constexpr std::span<const tilefit::opt_flags> candidates(const tilefit::arch_traits&,
                                                           const tilefit::matmul_problem&) const noexcept {
    return tiles;
  }
  constexpr tilefit::smem_plan plan(const tilefit::arch_traits&, const tilefit::matmul_formats& formats,
                                    const tilefit::opt_flags& flags) const noexcept {
    using tilefit::smem_lifetime, tilefit::smem_region;
    tilefit::smem_plan plan;  // these kernels widen W to 16 bits in shared memory
    plan.add(smem_region::x_values, bytes_of(formats.x, flags.block_m * flags.block_k), smem_lifetime::per_stage, 128);
    plan.add(smem_region::w_values, 2 * flags.block_n * flags.block_k, smem_lifetime::per_stage, 128);
    return plan;
  }
};

int main() {
  const tilefit::matmul_problem problem{.m = 8192, .n = 5760, .k = 2880, .experts = 32, .topk = 4};
  const tilefit::explanation why =
      tilefit::explain(tilefit::arch_v<tilefit::arch_id::sm_120>, problem, {}, my_policy{});
  std::fputs(why.text().c_str(), stdout);
  return why.choice.ok() ? 0 : 1;
}
