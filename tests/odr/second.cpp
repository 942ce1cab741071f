#include "shared.hpp"

std::int64_t second_translation_unit(const tilefit::arch_traits& arch, const tilefit::matmul_problem& problem,
                                     const tilefit::opt_flags& flags,
                                     const tilefit::opt_flags_constraints& constraints) {
  return use_everything(arch, problem, flags, constraints);
}
