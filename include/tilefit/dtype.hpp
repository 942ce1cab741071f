// Element formats by name and size.
// Knows: how many bits an element has and whether blocks of it share a scale.
// Must not know: how to convert values (mxfp4.hpp) or which chip multiplies them (arch.hpp).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "detail/config.hpp"

namespace tilefit::inline v0 {

/// Element format of an operand. The mx* formats are OCP Microscaling v1.0: one E8M0 scale byte per 32 elements along
/// K.
enum class dtype : std::uint8_t { fp32, bf16, fp16, fp8_e4m3, mxfp8, mxfp4 };

/// Bits of one element, without its share of a scale.
TILEFIT_HD constexpr int bits_of(dtype type) noexcept {
  switch (type) {
    case dtype::fp32: return 32;
    case dtype::bf16:
    case dtype::fp16: return 16;
    case dtype::fp8_e4m3:
    case dtype::mxfp8: return 8;
    case dtype::mxfp4: return 4;
  }
  return 0;
}

/// True for the formats whose blocks of elements share an E8M0 scale.
TILEFIT_HD constexpr bool has_block_scales(dtype type) noexcept { return type == dtype::mxfp8 || type == dtype::mxfp4; }

constexpr std::string_view name_of(dtype type) noexcept {
  switch (type) {
    case dtype::fp32: return "fp32";
    case dtype::bf16: return "bf16";
    case dtype::fp16: return "fp16";
    case dtype::fp8_e4m3: return "e4m3";
    case dtype::mxfp8: return "mxfp8";
    case dtype::mxfp4: return "mxfp4";
  }
  return "?";
}

inline constexpr dtype all_dtypes[] = {dtype::fp32,     dtype::bf16,  dtype::fp16,
                                       dtype::fp8_e4m3, dtype::mxfp8, dtype::mxfp4};

/// The format called `name` (fp32, bf16, fp16, e4m3, mxfp8, mxfp4), or nothing.
constexpr std::optional<dtype> find_dtype(std::string_view name) noexcept {
  for (const dtype type : all_dtypes)
    if (name_of(type) == name) return type;
  return std::nullopt;
}

}  // namespace tilefit::inline v0
