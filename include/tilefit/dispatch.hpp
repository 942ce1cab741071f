// L3: from flags known at run time to the instantiation that was compiled for them.
// Knows: lists of flags.
// Must not know: what is instantiated.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "opt_flags.hpp"

namespace tilefit::inline v0 {

/// True when two choices run the same compiled kernel: what may differ between them is decided at run time.
constexpr bool same_kernel(const opt_flags& a, const opt_flags& b) noexcept {
  return a.block_m == b.block_m && a.block_n == b.block_n && a.block_k == b.block_k && a.num_warps == b.num_warps &&
         a.num_stages == b.num_stages && a.is_persistent == b.is_persistent && a.w_cache == b.w_cache;
}

/// Number of the entry that `flags` would run, or -1.
constexpr int find_kernel(std::span<const opt_flags> catalogue, const opt_flags& flags) noexcept {
  for (std::size_t i = 0; i < catalogue.size(); ++i)
    if (same_kernel(catalogue[i], flags)) return static_cast<int>(i);
  return -1;
}

/// Calls visit.operator()<Index>() for Index == index, 0 <= index < Count: one instantiation per entry.
template <int Count, class Visitor>
constexpr void with_index(int index, Visitor&& visit) {
  [&]<int... All>(std::integer_sequence<int, All...>) {
    (void)((All == index && (visit.template operator()<All>(), true)) || ...);
  }
  (std::make_integer_sequence<int, Count>{});
}

}  // namespace tilefit::inline v0
