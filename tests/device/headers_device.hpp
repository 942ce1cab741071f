// A kernel that takes its tile at compile time and calls what the library marks as callable on a device.
#pragma once

#include "device_headers.hpp"

// nvcc 13.0 writes host stubs that do not compile for `template <opt_flags F> __global__`, unless some kernel has an
// opt_flags in its parameter list; a type that holds the flags works everywhere and demangles as well.
template <tilefit::opt_flags F>
struct tile {
  static constexpr tilefit::opt_flags flags = F;
};

template <class Tile>
__global__ void tiles_along_k(std::int64_t* out, std::int64_t k, tilefit::dtype type, tilefit::status_code code) {
  out[0] = tilefit::detail::ceil_div(k, Tile::flags.block_k);
  out[1] = tilefit::detail::align_up(k, Tile::flags.block_k) * tilefit::bits_of(type);
  out[2] = tilefit::has_block_scales(type) && tilefit::succeeded(code) ? 1 : 0;
  out[3] = tilefit::detail::saturating_mul(k, tilefit::detail::next_pow2(k));
}

template __global__ void tiles_along_k<tile<tilefit::opt_flags{.block_m = 64, .block_n = 128, .block_k = 128}>>(
    std::int64_t*, std::int64_t, tilefit::dtype, tilefit::status_code);
