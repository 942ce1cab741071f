// L2: how long a tile choice would take.
// Knows: bytes, multiply-adds, latencies and rates, in integers. Must not know: which tiles there are.
//
// Everything is integer arithmetic in picoseconds, so that a choice made while compiling and one made at run time are
// the same choice whatever the compiler contracts or reorders. The model gives every SM one block at a time, or so many
// as a policy says its kernels are laid out for; more shared memory can then only add stages, and more stages never
// make the prediction slower.
#pragma once

#include <cstdint>
#include <string_view>

#include "arch.hpp"
#include "detail/config.hpp"
#include "detail/math.hpp"
#include "math_path.hpp"
#include "matmul_problem.hpp"
#include "opt_flags.hpp"
#include "smem_plan.hpp"

namespace tilefit::inline v0 {

/// What a prediction is made of. `total_ps` is what choices are ranked by.
enum class cost_limiter : std::uint8_t { memory, math, widening, l2, latency, overhead };

constexpr std::string_view name_of(cost_limiter limiter) noexcept {
  switch (limiter) {
    case cost_limiter::memory: return "memory";
    case cost_limiter::math: return "math";
    case cost_limiter::widening: return "widening";
    case cost_limiter::l2: return "l2";
    case cost_limiter::latency: return "latency";
    case cost_limiter::overhead: return "overhead";
  }
  return "?";
}

/// What a matmul is predicted to take, in picoseconds.
struct predicted_cost {
  std::int64_t total_ps = 0;
  std::int64_t memory_ps = 0;  ///< every byte once at the rate of the memory
  std::int64_t loop_ps = 0;    ///< main loops of the busiest SM
  std::int64_t other_ps = 0;   ///< launch, pipeline fill, epilogue, split-k reduction
  std::int64_t tiles = 0;      ///< output tiles, times split_k unless blocks take equal runs
  cost_limiter limiter = cost_limiter::memory;
};

/// The part of a prediction that does not depend on how many stages a tile has: made once per tile size.
struct tile_work {
  std::int64_t tiles = 0;      ///< output tiles, times split_k unless blocks take equal runs
  std::int64_t waves = 0;      ///< tiles of the busiest SM
  std::int64_t steps = 0;      ///< K steps of a tile
  std::int64_t idle_k = 0;     ///< of the last step: nothing to work on
  std::int64_t math_ps = 0;    ///< matrix instructions of a step
  std::int64_t widen_ps = 0;   ///< vector instructions of a step
  std::int64_t busy_ps = 0;    ///< both, as far as they overlap
  std::int64_t load_ps = 0;    ///< X and W of a step from L2, packed as they lie there
  std::int64_t store_ps = 0;   ///< output tile to L2
  std::int64_t reduce_ps = 0;  ///< partial sums of split_k
  int split_k = 1;
};

/// The part of a prediction that is the same for every tile: made once per problem.
class cost_model {
 public:
  /// `sms`: those that may be used, at least one.
  constexpr cost_model(const arch_traits& arch, const matmul_problem& problem, const math_path& path, int sms,
                       const cost_constants& constants = default_cost_constants) noexcept;

  /// Row tiles of this height over all experts, expected value rounded up.
  constexpr std::int64_t row_tiles(int block_m) const noexcept;

  /// Work of tiles of this size. split_k == 0: as many blocks along K as fill SMs that would otherwise idle, a power
  /// of two up to flags.split_k that leaves each at least four K steps. With equal runs flags.split_k or 1; where sums
  /// meet in the kernel, what takes the least time; flags.num_stages then tells what a step waits.
  constexpr tile_work work(const opt_flags& flags, int split_k, std::int64_t row_tiles) const noexcept;

  /// Prediction for tiles that run with `stages` stages; persistence and epilogue from `flags`.
  TILEFIT_ALWAYS_INLINE constexpr predicted_cost predict(const tile_work& work, const opt_flags& flags,
                                                         int stages) const noexcept;

  /// Prediction for complete flags.
  constexpr predicted_cost predict(const opt_flags& flags) const noexcept {
    const tile_work tile = work(flags, flags.split_k, row_tiles(flags.block_m));
    return predict(tile, flags, flags.num_stages);
  }

  /// A time that no tile of these rows, columns and split gets below, whatever its K step, stages and epilogue.
  constexpr std::int64_t least_ps(const opt_flags& flags, int split_k, std::int64_t row_tiles) const noexcept;

 private:
  /// Times are cut off here, at 13 days, so that the sum of a few stays in 64 bits.
  static constexpr std::int64_t longest_ps = std::int64_t{1} << 60;
  static constexpr std::int64_t times(std::int64_t count, std::int64_t each_ps) noexcept {
    return detail::min(detail::saturating_mul(count, each_ps), longest_ps);
  }

  static constexpr int rate_bits = 20;  // times per byte or per multiply-add are kept in 2^-20 ps

  constexpr std::int64_t scaled(std::int64_t count, std::int64_t rate) const noexcept {
    return detail::saturating_mul(count, rate) >> rate_bits;
  }

  /// What so many K elements of a tile take an SM.
  struct step_time {
    std::int64_t math_ps, widen_ps, busy_ps, load_ps;
  };
  constexpr step_time step(int block_m, std::int64_t rows, int block_n, int depth) const noexcept {
    const bool narrow = block_m < narrow_below_;
    const std::int64_t math_ps = (rows * block_n * depth * (narrow ? narrow_mac_rate_ : mac_rate_)) >> rate_bits;
    const std::int64_t columns = narrow ? block_n : detail::max(block_n, widen_columns_);
    const std::int64_t widen_ps = (columns * depth * (narrow ? narrow_widen_rate_ : widen_rate_)) >> rate_bits;
    const std::int64_t lesser_ps = detail::min(math_ps, widen_ps);
    const std::int64_t beside_ps = overlapped_ && !narrow ? lesser_ps >> constants_.overlap_shift : lesser_ps;
    const std::int64_t bytes = (rows * x_bytes_ + block_n * w_bytes_) * depth / 32;
    return {math_ps, widen_ps, detail::max(math_ps, widen_ps) + beside_ps, (bytes * l2_rate_) >> rate_bits};
  }

  /// Rows that a tile multiplies on average.
  constexpr std::int64_t rows_of_tile(int block_m, std::int64_t row_tiles) const noexcept {
    const int row_step = block_m < narrow_below_ && narrow_row_step_ > 0 ? narrow_row_step_ : row_step_;
    if (row_step == 0 || row_tiles <= 0 || (m_ >> 31) != 0) return block_m;
    const auto rows = static_cast<std::uint32_t>(m_);
    const std::int64_t mean = rows / static_cast<std::uint32_t>(detail::min<std::int64_t>(row_tiles, INT32_MAX));
    return detail::clamp(mean + row_step, detail::min(row_step, block_m), block_m);
  }

  /// Output tile to L2; partial sums keep all columns, a gated activation halves them.
  constexpr std::int64_t store_ps(std::int64_t block_m, int block_n, int bits) const noexcept {
    return (block_m * block_n * bits / 8 * l2_rate_) >> rate_bits;
  }

  /// The sums of blocks that share tiles: every partial tile is written and read back in FP32, in a second kernel or by
  /// the last block of a tile (stores, the count of who is there, loads: one behind the other).
  constexpr std::int64_t reduce_ps(int split) const noexcept {
    const std::int64_t partial_bytes = detail::saturating_mul(8 * m_ * n_, std::int64_t{split} * batch_);
    return detail::min(scaled(partial_bytes, dram_rate_), longest_ps) +
           (sums_meet_ ? std::int64_t{3} * constants_.load_latency_ps : constants_.launch_ps / 2);
  }

  /// The power of two up to flags.split_k with the least time, among those that leave no block without an SM of its
  /// own.
  constexpr int best_split(const opt_flags& flags, const step_time& one, std::int64_t tiles,
                           std::int64_t steps) const noexcept {
    const std::int64_t step_ps = detail::max(detail::max(one.busy_ps, one.load_ps), latency_of_step(flags.num_stages));
    int best = 1;
    std::int64_t least = side_by_side(times(steps, step_ps));
    for (int split = 2; split <= flags.split_k && split <= steps && tiles <= sms_ / split; split *= 2) {
      const std::int64_t time =
          side_by_side(times(detail::ceil_div(steps, std::int64_t{split}), step_ps)) + reduce_ps(split);
      if (time >= least) continue;
      least = time;
      best = split;
    }
    return best;
  }

  /// What a step waits for its bytes; a stage in flight for each but the one that is worked on. 32 bits, for the fast
  /// division.
  constexpr std::int64_t latency_of_step(int stages) const noexcept {
    return constants_.load_latency_ps / static_cast<std::uint32_t>(resident_blocks_ * detail::max(stages - 1, 1));
  }

  constexpr std::int64_t waves(std::int64_t tiles) const noexcept {
    if ((tiles >> 31) != 0) return detail::ceil_div(tiles, sms_);
    return static_cast<std::uint32_t>(tiles + sms_ - 1) / static_cast<std::uint32_t>(sms_);  // the fast division
  }

  /// Whether turns would leave many blocks without a tile in the end: cost_constants::idle_share.
  constexpr bool runs_pay(std::int64_t tiles) const noexcept {
    const std::int64_t places = sms_ * resident_blocks_;
    if (tiles >= constants_.idle_share * places) return false;
    const std::int64_t in_turns = detail::ceil_div(tiles, places) * places;
    return (in_turns - tiles) * constants_.idle_share >= in_turns;
  }

  /// Main loops that go on beside the traffic they cause.
  constexpr std::int64_t side_by_side(std::int64_t loop_ps) const noexcept {
    const std::int64_t hidden_ps = detail::min(memory_ps_, loop_ps) >> constants_.memory_overlap_shift;
    return detail::max(memory_ps_, loop_ps) + hidden_ps;
  }

  std::int64_t m_, n_, k_, batch_, sms_;
  row_distribution rows_;
  std::int64_t active_ = 0;                                   // experts that have rows, expected value rounded up
  std::int64_t mac_rate_ = 0, widen_rate_ = 0, l2_rate_ = 0;  // per SM
  std::int64_t dram_rate_ = 0;
  std::int64_t memory_ps_ = 0;
  std::int64_t x_bytes_ = 0, w_bytes_ = 0;  // of 32 elements along K, scales included
  int y_bits_;                              // of the output, per column before the activation
  bool overlapped_;
  int resident_blocks_;
  int row_step_;
  int widen_columns_;
  int k_atom_;
  std::int64_t stage_ps_;
  bool equal_runs_;
  bool sums_meet_;
  int narrow_below_;
  int narrow_row_step_;
  std::int64_t narrow_mac_rate_ = 0, narrow_widen_rate_ = 0;
  cost_constants constants_;
};

constexpr cost_model::cost_model(const arch_traits& arch, const matmul_problem& problem, const math_path& path, int sms,
                                 const cost_constants& constants) noexcept
    : m_(problem.m),
      n_(problem.n),
      k_(problem.k),
      batch_(problem.batch),
      sms_(sms),
      rows_(problem.rows),
      y_bits_(bits_of(problem.formats.y) / (problem.formats.act == activation::swiglu ? 2 : 1)),
      overlapped_(path.overlapped),
      resident_blocks_(detail::max(path.resident_blocks, 1)),
      row_step_(path.row_step),
      widen_columns_(path.widen_columns),
      k_atom_(path.k_atom),
      stage_ps_(path.stage_ps),
      equal_runs_(path.equal_runs),
      sums_meet_(path.sums_meet),
      narrow_below_(path.narrow_below),
      narrow_row_step_(path.narrow_row_step),
      constants_(constants) {
  const matmul_formats& formats = problem.formats;
  const std::int64_t topk = detail::max(problem.topk, 1);
  switch (rows_.kind) {
    case row_distribution::kind_id::histogram:
      for (const std::int32_t rows : rows_.histogram) active_ += rows > 0 ? 1 : 0;
      break;
    case row_distribution::kind_id::expected:
      active_ = detail::min<std::int64_t>(problem.experts,
                                          detail::ceil_div(m_, detail::max<std::int64_t>(rows_.rows_per_expert, 1)));
      break;
    case row_distribution::kind_id::unknown:
      active_ = detail::min(m_, detail::expected_active_experts(problem.experts, topk, detail::ceil_div(m_, topk)));
      break;
  }
  constexpr std::int64_t unit = std::int64_t{1} << rate_bits;
  const std::int64_t clock = detail::max(arch.clock_mhz, 1);
  const std::int64_t lanes = arch.vendor == vendor_id::nvidia ? constants.nvidia_lanes : constants.amd_lanes;
  // Rates that no chip has are cut off, so that no product of block sizes up to max_block leaves 64 bits.
  constexpr std::int64_t slowest = unit * 64;
  const auto mac_rate = [&](std::int64_t gflops) {
    return detail::min(std::int64_t{2000} * arch.sm_count * unit / detail::max<std::int64_t>(gflops, 1) * 1024 /
                           constants.math_efficiency,
                       slowest);
  };
  const auto widen_rate = [&](std::int64_t slots) { return slots * 1'000'000 * unit / (16 * lanes * clock); };
  mac_rate_ = mac_rate(path.gflops);
  widen_rate_ = widen_rate(path.widen_slots);
  if (narrow_below_ > 0) {
    narrow_mac_rate_ = mac_rate(path.narrow_gflops);
    narrow_widen_rate_ = widen_rate(path.narrow_widen_slots);
  }
  l2_rate_ = 1'000'000 * unit / (constants.l2_bytes_per_cycle * clock);
  dram_rate_ = 1000 * unit / detail::max(arch.dram_gbps, 1) * 1024 / constants.dram_efficiency;

  const auto values_and_scales = [&](dtype type, std::int64_t count) {
    return bytes_of(type, count) + (has_block_scales(type) ? count / formats.scale_block : 0);
  };
  x_bytes_ = values_and_scales(formats.x, 32);
  w_bytes_ = values_and_scales(formats.w, 32);
  const std::int64_t x_rows = formats.gather ? detail::ceil_div(m_, topk) : m_;
  const std::int64_t bytes = detail::saturating_mul(values_and_scales(formats.w, n_ * k_), active_) +
                             values_and_scales(formats.x, x_rows * k_) +
                             m_ * n_ * y_bits_ / 8 * (formats.accumulate ? 2 : 1);
  memory_ps_ = detail::min(scaled(detail::saturating_mul(bytes, batch_), dram_rate_), longest_ps);
}

constexpr std::int64_t cost_model::row_tiles(int block_m) const noexcept {
  switch (rows_.kind) {
    case row_distribution::kind_id::histogram: {
      std::int64_t tiles = 0;
      for (const std::int32_t rows : rows_.histogram) tiles += detail::ceil_div(rows, block_m);
      return tiles;
    }
    case row_distribution::kind_id::expected: return active_ * detail::ceil_div(detail::ceil_div(m_, active_), block_m);
    case row_distribution::kind_id::unknown: break;
  }
  if (active_ <= 1) return detail::ceil_div(m_, block_m);
  // An expert's last tile is half full on average, and no expert has less than one tile.
  return detail::max(active_, detail::ceil_div(2 * m_ + active_ * block_m, 2 * std::int64_t{block_m}));
}

constexpr tile_work cost_model::work(const opt_flags& flags, int split_k, std::int64_t row_tiles) const noexcept {
  tile_work work;
  const std::int64_t columns = detail::ceil_div_pow2(n_, flags.block_n);
  const std::int64_t steps = detail::ceil_div_pow2(k_, flags.block_k);
  work.tiles = detail::saturating_mul(row_tiles * columns, batch_);
  work.steps = steps;
  if (k_atom_ > 0) work.idle_k = steps * flags.block_k - detail::ceil_div_pow2(k_, k_atom_) * k_atom_;
  work.split_k = split_k;
  const std::int64_t rows = rows_of_tile(flags.block_m, row_tiles);
  const step_time one = step(flags.block_m, rows, flags.block_n, flags.block_k);
  if (split_k == 0 && sums_meet_) {
    work.split_k = best_split(flags, one, work.tiles, steps);
  } else if (split_k == 0 && equal_runs_) {
    work.split_k = flags.split_k > 1 && runs_pay(work.tiles) ? flags.split_k : 1;
  } else if (split_k == 0) {
    work.split_k = 1;
    while (work.split_k * 2 <= flags.split_k && work.tiles <= sms_ && work.tiles * work.split_k * 2 <= sms_ &&
           steps >= work.split_k * 8)
      work.split_k *= 2;
  }
  if (work.split_k > 1 && equal_runs_) {
    // Whatever the meetings of sums cost, the even load outweighs it (runs_pay).
    if (work.tiles < sms_)
      work.steps = detail::max(detail::ceil_div(detail::saturating_mul(work.tiles, steps), sms_),
                               detail::ceil_div_pow2(steps, work.split_k));
  } else if (work.split_k > 1) {
    work.reduce_ps = reduce_ps(work.split_k);
    work.tiles = detail::saturating_mul(work.tiles, work.split_k);
    work.steps = detail::ceil_div_pow2(steps, work.split_k);
  }
  work.waves = waves(work.tiles);
  work.math_ps = one.math_ps;
  work.widen_ps = one.widen_ps;
  work.busy_ps = one.busy_ps;
  work.load_ps = one.load_ps;
  work.store_ps = store_ps(rows, flags.block_n, work.split_k > 1 && !equal_runs_ ? 32 : y_bits_);
  return work;
}

constexpr std::int64_t cost_model::least_ps(const opt_flags& flags, int split_k,
                                            std::int64_t row_tiles) const noexcept {
  const std::int64_t tiles = detail::saturating_mul(row_tiles * detail::ceil_div_pow2(n_, flags.block_n), batch_);
  const bool may_split = split_k > 1 || (split_k == 0 && flags.split_k > 1 && (tiles <= sms_ / 2 || equal_runs_));
  std::int64_t tile_ps = 0;
  if (!may_split) {
    constexpr int depth = 32;
    const std::int64_t rows = rows_of_tile(flags.block_m, row_tiles);
    const step_time one = step(flags.block_m, rows, flags.block_n, depth);
    tile_ps = k_ / depth * detail::max(one.busy_ps, one.load_ps) + store_ps(rows, flags.block_n, y_bits_) +
              constants_.subtile_ps;
  }
  const std::int64_t other_ps = constants_.launch_ps + constants_.load_latency_ps + constants_.tile_ps;
  return side_by_side(times(waves(tiles), tile_ps)) + other_ps;
}

TILEFIT_ALWAYS_INLINE constexpr predicted_cost cost_model::predict(const tile_work& work, const opt_flags& flags,
                                                                   int stages) const noexcept {
  const std::int64_t latency_ps = latency_of_step(stages);
  const std::int64_t hidden_ps = detail::max(work.load_ps, latency_ps);
  const std::int64_t step_ps =
      stages > 1 ? detail::max(work.busy_ps, hidden_ps) : work.busy_ps + work.load_ps + latency_ps;
  const std::int64_t pieces_ps = constants_.subtile_ps * detail::max(flags.epilogue_subtile, 1);
  // A persistent kernel fills its pipeline once; others once per tile.
  const std::int64_t fill_ps = constants_.load_latency_ps + constants_.tile_ps;
  const std::int64_t refill_ps = flags.is_persistent ? 0 : fill_ps;
  const std::int64_t idle_ps = detail::div_pow2(step_ps * work.idle_k, flags.block_k);
  const std::int64_t per_tile_ps = work.steps * (step_ps + stage_ps_) - idle_ps + work.store_ps + pieces_ps + refill_ps;

  predicted_cost cost;
  cost.tiles = work.tiles;
  cost.memory_ps = memory_ps_;
  cost.loop_ps = times(work.waves, per_tile_ps) - refill_ps;
  cost.other_ps = constants_.launch_ps + fill_ps + work.reduce_ps;
  cost.total_ps = side_by_side(cost.loop_ps) + cost.other_ps;
  if (cost.other_ps >= detail::max(cost.memory_ps, cost.loop_ps)) {
    cost.limiter = cost_limiter::overhead;
  } else if (cost.memory_ps >= cost.loop_ps) {
    cost.limiter = cost_limiter::memory;
  } else if (work.busy_ps >= hidden_ps) {
    cost.limiter = work.math_ps >= work.widen_ps ? cost_limiter::math : cost_limiter::widening;
  } else {
    cost.limiter = work.load_ps >= latency_ps ? cost_limiter::l2 : cost_limiter::latency;
  }
  return cost;
}

}  // namespace tilefit::inline v0
