// L4: pairs of 16-bit numbers, minimum and maximum, 2^x and 1 / x, whichever compiler reads this.
// Knows: which of the two sets of wrappers is meant.
// Must not know: anything else.
#pragma once

#if defined(__HIP__)
#include "hip/numbers.cuh"
#else
#include "cuda/mma.cuh"
#endif
