// What both translation units use: g++ compares the definitions of what is used, the linker every symbol.
#pragma once

#include "all_headers.hpp"

inline std::int64_t use_everything(const tilefit::arch_traits& arch, const tilefit::matmul_problem& problem,
                                   const tilefit::opt_flags& flags, const tilefit::opt_flags_constraints& constraints) {
  return tilefit::detail::ceil_div(problem.n, flags.block_n) + tilefit::bits_of(problem.formats.w) +
         constraints.num_stages.value_or(arch.sm_count);
}

std::int64_t second_translation_unit(const tilefit::arch_traits& arch, const tilefit::matmul_problem& problem,
                                     const tilefit::opt_flags& flags,
                                     const tilefit::opt_flags_constraints& constraints);
