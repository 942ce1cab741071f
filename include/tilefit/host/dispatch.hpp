// L6: picks the inner functions for the processor this runs on.
// Knows: which instruction sets there are functions for and how to ask for them.
// Must not know: what the functions are used for.
#pragma once

#include "../detail/config.hpp"
#include "kernel_table.hpp"
#include "kernels_portable.hpp"
#if TILEFIT_HOST_X86
#include "kernels_avx2.hpp"
#include "kernels_avx512.hpp"
#include "kernels_avx512_bf16.hpp"
#endif

namespace tilefit::inline v0::host {

/// True when this processor (and operating system) can run the functions of `level`.
inline bool supports(isa level) noexcept {
  if (level == isa::automatic || level == isa::portable) return true;
#if TILEFIT_HOST_X86
  if (level == isa::avx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (level == isa::avx512)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl");
  if (level == isa::avx512_bf16) return supports(isa::avx512) && __builtin_cpu_supports("avx512bf16");
#endif
  return false;
}

}  // namespace tilefit::inline v0::host

namespace tilefit::inline v0::detail {

/// The functions of `level`, or null when this processor cannot run them.
inline const kernel_table* find_kernels(host::isa level) noexcept {
  using host::isa;
  if (!host::supports(level)) return nullptr;
  if (level == isa::automatic)
    for (const isa best : {isa::avx512_bf16, isa::avx512, isa::avx2, isa::portable})
      if (host::supports(best)) return find_kernels(best);
#if TILEFIT_HOST_X86
  if (level == isa::avx512_bf16) return &avx512_bf16_kernels::table;
  if (level == isa::avx512) return &avx512_kernels::table;
  if (level == isa::avx2) return &avx2_kernels::table;
#endif
  return &portable_kernels::table;
}

}  // namespace tilefit::inline v0::detail
