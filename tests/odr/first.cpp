#include "shared.hpp"

int main() {
  const tilefit::arch_traits arch{.sm_count = 7};
  const tilefit::matmul_problem problem{.n = 130};
  const tilefit::opt_flags flags{.block_n = 64};
  const bool same =
      use_everything(arch, problem, flags, {}) == second_translation_unit(arch, problem, flags, {.num_stages = 7});
  return same ? 0 : 1;
}
