// What both translation units use: g++ compares the definitions of what is used, the linker every symbol.
#pragma once

#include <cstdint>
#include <string>

#include "all_headers.hpp"

inline std::int64_t use_everything(const tilefit::arch_traits& arch, const tilefit::matmul_problem& problem,
                                   const tilefit::opt_flags& flags, const tilefit::opt_flags_constraints& constraints) {
  const tilefit::scoped_constraints scope(constraints);
  const tilefit::selection choice = tilefit::make_opt_flags(arch, problem, constraints);
  const tilefit::selection triton = tilefit::make_opt_flags(arch, problem, {}, tilefit::triton_ogs_policy{});
  const std::string why = tilefit::explain(choice, arch, problem, constraints).text();
  return static_cast<std::int64_t>(why.size()) + choice.need_bytes() + triton.need_bytes() +
         tilefit::detail::ceil_div(problem.n, flags.block_n) + tilefit::bits_of(problem.formats.w) +
         constraints.num_stages.value_or(arch.sm_count);
}

std::int64_t second_translation_unit(const tilefit::arch_traits& arch, const tilefit::matmul_problem& problem,
                                     const tilefit::opt_flags& flags,
                                     const tilefit::opt_flags_constraints& constraints);
