// What this machine can do at best: multiply-adds from registers and reads from memory, for the bench to compare with.
// Knows: threads and vector loops.
// Must not know: tilefit's kernels.
#pragma once

#include <cstddef>

namespace tilefit::inline v0::bench {

struct host_ceilings {
  double gmacs = 0.0;      ///< 10^9 fp32 multiply-adds per second, best of `repeats`, operands in registers
  double read_gbps = 0.0;  ///< 10^9 bytes per second read from memory, best of `repeats`
};

struct ceiling_options {
  int threads = 0;  ///< 0 = one per hardware thread
  int repeats = 5;
  std::size_t read_bytes = std::size_t{512} << 20;  ///< far beyond the last cache; allocated for the call
};

/// Measures both in about 0.1 s a repeat. Zero where memory or threads cannot be had.
host_ceilings measure_host_ceilings(const ceiling_options& options = {});

}  // namespace tilefit::inline v0::bench
