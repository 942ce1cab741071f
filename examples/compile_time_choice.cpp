// The same function in a constant expression: the tile becomes a template argument, and "it fits" a static_assert.
#include <tilefit/tilefit.hpp>

#include <cstdio>

namespace {

constexpr const tilefit::arch_traits& arch = tilefit::arch_v<tilefit::arch_id::gfx950>;
constexpr tilefit::matmul_problem problem{.m = 2048, .n = 5760, .k = 2880, .experts = 32, .topk = 4};
constexpr tilefit::selection choice = tilefit::make_opt_flags(arch, problem);
static_assert(choice.ok());

/// Stands for a kernel: its storage is laid out from the plan that the engine counted with.
template <tilefit::opt_flags Flags>
int shared_bytes() {
  constexpr tilefit::smem_plan plan =
      tilefit::ogs_smem_plan(arch, problem.formats, Flags).with_stages(Flags.num_stages);
  static_assert(plan.total_bytes() <= arch.smem_block_bytes, "the tile does not fit into this chip's LDS");
  return static_cast<int>(plan.total_bytes());
}

}  // namespace

int main() {
  const tilefit::opt_flags& flags = choice.flags;
  std::printf("%d x %d x %d, %d stages, %d B\n", flags.block_m, flags.block_n, flags.block_k, flags.num_stages,
              shared_bytes<choice.flags>());
}
