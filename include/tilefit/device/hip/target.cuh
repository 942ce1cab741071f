// L4: which chip device code is being compiled for.
// Knows: the compiler's macros for it.
// Must not know: what any kernel needs.
#pragma once

#include "../../arch.hpp"
#include "../../detail/config.hpp"

namespace tilefit::inline v0::device {

/// True in code for this architecture. Programs are compiled for several: kernels of the others are left empty.
TILEFIT_HD constexpr bool compiles_for(arch_id arch) noexcept {
#if defined(__gfx950__)
  constexpr arch_id target = arch_id::gfx950;
#elif defined(__gfx942__)
  constexpr arch_id target = arch_id::gfx942;
#else
  constexpr arch_id target = arch_id::amd_cdna_generic;
#endif
  return arch == target;
}

}  // namespace tilefit::inline v0::device
