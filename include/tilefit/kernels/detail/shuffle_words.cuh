// L5: how kernels that shuffle weights load and store.
// Knows: pieces of two or four words, addresses that allow wide accesses or do not.
// Must not know: layouts of weights.
#pragma once

#include <cstdint>

#include "../../device/ops.cuh"
#include "../../weights.hpp"

namespace tilefit::inline v0::detail {

/// The widest loads and stores that the addresses of a launch allow.
enum class access_width : std::uint8_t {
  vector,  ///< all words of a piece
  word,    ///< 4 bytes
  byte,
};

template <int Words>
struct alignas(4 * Words) word_pack {
  std::uint32_t words[Words];
};

template <access_width Width, int Words>
__device__ inline void load_words(const std::uint8_t* from, std::uint32_t (&words)[Words]) noexcept {
  static_assert(Words == 2 || Words == 4);
  if constexpr (Width == access_width::vector) {
    const auto all = *reinterpret_cast<const word_pack<Words>*>(from);
#pragma unroll
    for (int i = 0; i < Words; ++i) words[i] = all.words[i];
  } else {
#pragma unroll
    for (int i = 0; i < Words; ++i)
      words[i] =
          Width == access_width::word ? reinterpret_cast<const std::uint32_t*>(from)[i] : load_word(from + 4 * i);
  }
}

template <access_width Width, int Words>
__device__ inline void store_words(std::uint8_t* to, const std::uint32_t (&words)[Words]) noexcept {
  static_assert(Words == 2 || Words == 4);
  if constexpr (Width == access_width::vector) {
    word_pack<Words> all;
#pragma unroll
    for (int i = 0; i < Words; ++i) all.words[i] = words[i];
    *reinterpret_cast<word_pack<Words>*>(to) = all;
  } else {
#pragma unroll
    for (int i = 0; i < Words; ++i) {
      if constexpr (Width == access_width::word)
        reinterpret_cast<std::uint32_t*>(to)[i] = words[i];
      else
        store_word(to + 4 * i, words[i]);
    }
  }
}

inline constexpr std::uint8_t neutral_scale = 127;

}  // namespace tilefit::inline v0::detail
