// A kernel that takes its tile as a template argument and calls what the library marks as callable on a device.
#pragma once

#include "device_headers.hpp"

template <tilefit::opt_flags F>
__global__ void tiles_along_k(std::int64_t* out, std::int64_t k, tilefit::dtype type, tilefit::status_code code) {
  out[0] = tilefit::detail::ceil_div(k, F.block_k);
  out[1] = tilefit::detail::align_up(k, F.block_k) * tilefit::bits_of(type);
  out[2] = tilefit::has_block_scales(type) && tilefit::succeeded(code) ? 1 : 0;
  out[3] = tilefit::detail::saturating_mul(k, tilefit::detail::next_pow2(k));
}

template __global__ void tiles_along_k<tilefit::opt_flags{.block_m = 64, .block_n = 128, .block_k = 128}>(
    std::int64_t*, std::int64_t, tilefit::dtype, tilefit::status_code);
