// How often the program allocated.
// Knows: the replaced operator new of the bench binary.
// Must not know: who allocates.
#pragma once

#include <cstddef>

namespace tilefit::inline v0::bench {

/// Calls of operator new since the start, in all threads.
std::size_t allocation_count() noexcept;

}  // namespace tilefit::inline v0::bench
