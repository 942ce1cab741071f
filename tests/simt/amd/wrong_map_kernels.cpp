// Kernels of the catalogue for gfx950 with a mistake in the map of their tile's lanes, one in each.
#include "fault_tiles.hpp"
#include "mfma_table.hpp"

using namespace tilefit;

namespace {

template <dtype X, int Index>
using tile_of = kernels::mfma_tile<typename kernels::mfma_catalogue_entry<arch_id::gfx950, X, Index>::type>;
constexpr int few = 1, many = 3;  // 16 x 64, 64 x 256

/// A lane has 32 K of FP8 in a row, as it would of FP4.
template <class Right>
struct fp8_like_fp4 : Right {
  static constexpr unsigned x_chunk_byte(unsigned group, unsigned chunk) noexcept { return 32 * group + 16 * chunk; }
  static constexpr unsigned x_chunk_k(unsigned group, unsigned chunk) noexcept { return x_chunk_byte(group, chunk); }
};

/// A lane has the scale of the row of W four rows on.
template <class Right>
struct scale_of_another_row : Right {
  static constexpr unsigned w_scale_byte(unsigned lane) noexcept { return Right::w_scale_byte(lane ^ 4); }
};

/// The scales of X are those of the next 32 K.
template <class Right>
struct scale_of_another_block : Right {
  static constexpr unsigned scale_copied_block(unsigned wave, unsigned copy) noexcept {
    return Right::scale_copied_block(wave, copy) ^ 1;
  }
};

template <class Wrong>
constexpr tilefit_simt::wrong_kernel wrong(const char* mistake) {
  return {mistake, tilefit_simt::kernel_of_tile<Wrong>()};
}

const tilefit_simt::wrong_kernel table[] = {
    wrong<fp8_like_fp4<tile_of<dtype::fp8_e4m3, few>>>("K of FP8"),
    wrong<fp8_like_fp4<tile_of<dtype::fp8_e4m3, many>>>("K of FP8"),
    wrong<fp8_like_fp4<tile_of<dtype::mxfp8, many>>>("K of MXFP8"),
    wrong<scale_of_another_row<tile_of<dtype::bf16, few>>>("scale of W, widened"),
    wrong<scale_of_another_row<tile_of<dtype::mxfp8, few>>>("scale of W"),
    wrong<scale_of_another_row<tile_of<dtype::mxfp4, many>>>("scale of W"),
    wrong<scale_of_another_block<tile_of<dtype::mxfp8, many>>>("scale of X"),
    wrong<scale_of_another_block<tile_of<dtype::mxfp4, many>>>("scale of X"),
};

}  // namespace

std::span<const tilefit_simt::wrong_kernel> tilefit_simt::wrong_kernels() { return table; }
