// L4: the lanes of a warp or wave, whichever compiler reads this.
// Knows: which of the two sets of wrappers is meant.
// Must not know: anything else.
#pragma once

#if defined(__HIP__)
#include "hip/wave.cuh"
#else
#include "cuda/wave.cuh"
#endif
