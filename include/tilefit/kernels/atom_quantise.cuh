// L5: from the sums of mma and wgmma to FP8, MXFP8 and MXFP4.
// Knows: which lanes have a block of 32 columns (epilogue.cuh), that warps share it and meet in shared memory.
// Must not know: how the sums came about, how a code is stored (narrow_codes.cuh).
//
// Loops over tokens are not unrolled, or kernels would grow to twice their size and spill: a lane's sums of eight
// tokens are picked out of its registers one by one.
#pragma once

#include <cstdint>

#include "../detail/bits.hpp"
#include "../detail/config.hpp"
#include "../detail/math.hpp"
#include "../device/ops.cuh"
#include "../matmul_args.hpp"
#include "../mxfp4.hpp"
#include "lane_bias.cuh"
#include "narrow_codes.cuh"
#include "ogs_params.hpp"
#include "store_rows.cuh"

namespace tilefit::inline v0::kernels {

/// Where warps that share rows of W meet. Between two tiles all of them pass another barrier.
struct atom_meeting {
  std::uint8_t* scales = nullptr;  ///< shared [tokens][slab_atoms]: what an atom's columns would have as a block
  int slab_atoms = 0;
  int first_atom = 0;  ///< of this warp in the slab
  int barrier = 0;
  int threads = 0;  ///< that meet at it
};

/// What a lane makes of its sums for narrow formats.
template <activation Act, int Atoms, int Blocks>
class atom_quantiser {
  static constexpr int atoms_of_block = columns_of_block<Act> / 16;

 public:
  __device__ __forceinline__ atom_quantiser(const ogs_params& params, std::int32_t first_n,
                                            const lane_bias<Atoms>& bias, const row_target* targets,
                                            const float (&sum)[Atoms][Blocks][4], const atom_meeting& meeting) noexcept
      : args_(params.args),
        bias_(bias),
        targets_(targets),
        sum_(sum),
        meeting_(meeting),
        first_n_(first_n),
        lane_(device::hidden(static_cast<int>(threadIdx.x % 32))),
        exponent_(-params.args.swiglu.alpha * 1.4426950408889634f) {}

  /// All threads that meet call.
  __device__ __forceinline__ void run() const noexcept {
    if (format().has_blocks()) {
      each([&](int token, int m, const row_target(&target)[2], const float(&four)[4])
               __attribute__((always_inline)) { find_scale(token, m, target, four); });
      device::named_barrier(meeting_.barrier, meeting_.threads);
    }
    each([&](int token, int m, const row_target(&target)[2], const float(&four)[4])
             __attribute__((always_inline)) { store(token, m, target, four); });
  }

 private:
  using y_format = narrow_codes<const y_operand&>;
  /// What it knows is worked out where it is used: registers are scarce.
  __device__ __forceinline__ y_format format() const noexcept {
    return {args_.y, static_cast<dtype>(device::hidden(static_cast<int>(args_.y.type)))};
  }

  /// Calls with(token, atom, targets, sums) for this lane's two tokens of every eight.
  template <class With>
  __device__ __forceinline__ void each(const With& with) const noexcept {
#pragma unroll 1
    for (int j = 0; j < Blocks; ++j) {
      const int token = 8 * j + 2 * (lane_ % 4);
      const row_target target[2] = {targets_[token], targets_[token + 1]};
#pragma unroll
      for (int m = 0; m < Atoms; ++m) {
        if (first_n_ + 16 * m >= args_.n) continue;
        // Masked, not indexed: an index would move the sums to memory, and the compiler finds one behind a choice.
        std::uint32_t bits[4] = {};
#pragma unroll
        for (int from = 0; from < Blocks; ++from) {
          const std::uint32_t mask = device::hidden(from == j ? ~0u : 0u);
#pragma unroll
          for (int i = 0; i < 4; ++i) bits[i] |= detail::bits_of_float(sum_[m][from][i]) & mask;
        }
        const float four[4] = {detail::float_of_bits(bits[0]), detail::float_of_bits(bits[1]),
                               detail::float_of_bits(bits[2]), detail::float_of_bits(bits[3])};
        with(token, m, target, four);
      }
    }
  }

  /// Columns of Y that this lane's two rows of W in an atom become for token c of two: one behind swiglu, else two.
  __device__ __forceinline__ float column(int m, int c, int which, const row_target (&target)[2],
                                          const float (&four)[4]) const noexcept {
    const float first = four[c] + bias_.value[m][0], second = four[2 + c] + bias_.value[m][1];
    if constexpr (Act == activation::swiglu)
      return swiglu(args_.swiglu, exponent_, first, second) * target[c].gamma;
    else
      return (which == 0 ? first : second) * target[c].gamma;
  }

  __device__ __forceinline__ void find_scale(int token, int m, const row_target (&target)[2],
                                             const float (&four)[4]) const noexcept {
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const y_format codes = format();
      std::int32_t amax = detail::magnitude(column(m, c, 0, target, four));
      if constexpr (Act != activation::swiglu)
        amax = detail::max(amax, detail::magnitude(column(m, c, 1, target, four)));
      amax = detail::max(amax, device::value_of_neighbour<4>(amax));
      amax = detail::max(amax, device::value_of_neighbour<8>(amax));
      amax = detail::max(amax, device::value_of_neighbour<16>(amax));
      if (lane_ < 4) *scale_at(token + c, meeting_.first_atom + m) = codes.scale_of(amax);
    }
  }

  __device__ __forceinline__ void store(int token, int m, const row_target (&target)[2],
                                        const float (&four)[4]) const noexcept {
    const std::int32_t n = first_n_ + 16 * m + 2 * (lane_ / 4);
    if constexpr (Act == activation::swiglu) {
      // Lanes of an even and the next odd lane / 4 store both their columns for one token each.
      const int odd = lane_ / 4 % 2;
      const float own[2] = {column(m, 0, 0, target, four), column(m, 1, 0, target, four)};
      const float other = __shfl_xor_sync(0xFFFFFFFFu, odd != 0 ? own[0] : own[1], 4);
      store_pair(odd != 0 ? target[1].row : target[0].row, n / 2 - odd, token + odd, m, odd != 0 ? other : own[0],
                 odd != 0 ? own[1] : other);
    } else {
#pragma unroll
      for (int c = 0; c < 2; ++c)
        store_pair(target[c].row, n, token + c, m, column(m, c, 0, target, four), column(m, c, 1, target, four));
    }
  }

  /// Columns `at` and the next one of a row of Y.
  __device__ __forceinline__ void store_pair(std::int32_t row, std::int32_t at, int token, int m, float a,
                                             float b) const noexcept {
    if (row < 0) return;
    const y_format codes = format();
    std::uint32_t keep = ~0u;
    if (codes.has_blocks()) {
      const int first = (meeting_.first_atom + m) / atoms_of_block * atoms_of_block;
      int found = 0;
#pragma unroll
      for (int i = 0; i < atoms_of_block; ++i)
        found = detail::max(found, static_cast<int>(*scale_at(token, first + i)));
      const auto scale = static_cast<std::uint8_t>(found);
      const float inverse = codes.inverse_of(scale);
      keep = codes.kept(scale);
      a *= inverse;
      b *= inverse;
      if (at % mx_block_size == 0) codes.store_scale(row, at, scale);
    } else {
      a = a / codes.scale();
      b = b / codes.scale();
    }
    codes.store_pair(codes.place(row, at), 0, a, b, keep);
  }

  __device__ __forceinline__ std::uint8_t* scale_at(int token, int atom) const noexcept {
    return meeting_.scales + token * meeting_.slab_atoms + atom;
  }

  const matmul_args& args_;
  const lane_bias<Atoms>& bias_;
  const row_target* targets_;
  const float (&sum_)[Atoms][Blocks][4];
  const atom_meeting& meeting_;
  std::int32_t first_n_;
  int lane_;
  float exponent_;
};

/// Stores a warp's sums as store_atoms has them (epilogue.cuh), in FP8, MXFP8 or MXFP4. All threads that meet call,
/// those without columns too.
template <activation Act, int Atoms, int Blocks>
__device__ __forceinline__ void store_quantised(const ogs_params& params, std::int32_t first_n,
                                                const lane_bias<Atoms>& bias, const row_target* targets,
                                                const float (&sum)[Atoms][Blocks][4],
                                                const atom_meeting& meeting) noexcept {
  atom_quantiser<Act, Atoms, Blocks>(params, first_n, bias, targets, sum, meeting).run();
}

}  // namespace tilefit::inline v0::kernels
