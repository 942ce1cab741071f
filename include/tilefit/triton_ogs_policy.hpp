// L3: Triton's `matmul_ogs` as a policy, for engines that run Triton kernels and want a chooser that cannot fail.
// Where upstream's answer fits it is the answer, even where a smaller budget would have led to a faster tile.
// Knows: what two upstream releases choose, as arithmetic. Must not know: how a replacement is searched (the engine
// does).
//
// Source of every formula: triton_kernels/matmul_ogs_details/opt_flags.py of Triton 3.4.0 and its state of December
// 2025, restated and checked against the unmodified code (tests/golden/opt_flags_cases.csv).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "arch.hpp"
#include "constraint_rules.hpp"
#include "detail/math.hpp"
#include "kernel_policy.hpp"
#include "matmul_problem.hpp"
#include "opt_flags.hpp"
#include "smem_plan.hpp"

namespace tilefit::inline v0 {

/// How upstream stores the MX scales of the weights.
enum class triton_scale_layout : std::uint8_t { strided, hopper4, hopper8, blackwell, cdna4 };

/// Upstream's chooser for MXFP4 weights. Members are what upstream reads from its environment.
struct triton_ogs_policy {
  triton_release release = triton_release::v2025_12;
  triton_scale_layout scale_layout = triton_scale_layout::strided;
  bool has_tma = false;           ///< operands can be reached by TMA (upstream's can_use_persistent_tma)
  double effective_itemsize = 0;  ///< bytes of an output element in the epilogue, when fused work changes it; 0 = Y's
  bool mx_output = false;         ///< Y leaves with block scales of its own

  /// What explain calls these kernels.
  constexpr std::string_view name() const noexcept {
    return release == triton_release::v3_4_0 ? "triton matmul_ogs 3.4.0" : "triton matmul_ogs 2025-12";
  }

  /// Shared memory of a tile by upstream's own sum.
  constexpr smem_plan plan(const arch_traits& arch, const matmul_formats& formats,
                           const opt_flags& flags) const noexcept {
    if (arch.vendor == vendor_id::amd) return triton_amd_smem_plan(formats, flags);
    return triton_nvidia_smem_plan(release, arch, formats, flags, accumulator_itemsize(arch, formats, flags.split_k));
  }

  /// Upstream asserts or raises on these before it looks at any tile.
  constexpr refusal check(const arch_traits& arch, const matmul_problem& problem,
                          const opt_flags_constraints& constraints) const noexcept;

  /// Upstream's own answer; num_stages == 0 where upstream asserts because no stage fits.
  constexpr opt_flags wish(const arch_traits& arch, const matmul_problem& problem,
                           const opt_flags_constraints& constraints) const noexcept {
    return arch.vendor == vendor_id::amd ? amd_wish(arch, problem, constraints)
                                         : nvidia_wish(arch, problem, constraints);
  }

  /// Tiles that Triton can compile instead: powers of two, each as a plain and as a persistent kernel.
  constexpr std::span<const opt_flags> candidates(const arch_traits&, const matmul_problem&) const noexcept {
    return all_tiles;
  }

  /// Sets what upstream derives from a tile, and drops tiles that the scale layout or the hardware rules out.
  constexpr opt_flags adapt(const arch_traits& arch, const matmul_problem& problem,
                            const opt_flags_constraints& constraints, const opt_flags& flags,
                            tile_scope scope) const noexcept;

 private:
  static constexpr int most_stages = 4;
  static constexpr int most_itemsize = 64;  ///< sixteen times an FP32 element: more is a mistake

  static constexpr auto all_tiles = [] {
    std::array<opt_flags, 5 * 6 * 4 * 4> tiles{};
    std::size_t count = 0;
    for (const int block_m : {16, 32, 64, 128, 256})
      for (const int block_n : {8, 16, 32, 64, 128, 256})
        for (const int block_k : {32, 64, 128, 256})
          for (const int persistent_subtile : {0, 1, 2, 4})
            tiles[count++] = {.block_m = block_m,
                              .block_n = block_n,
                              .block_k = block_k,
                              .num_stages = most_stages,
                              .split_k = 16,  // `adapt` says how many
                              .is_persistent = persistent_subtile > 0,
                              .epilogue_subtile = detail::max(persistent_subtile, 1)};
    return tiles;
  }();

  constexpr bool is_2025() const noexcept { return release == triton_release::v2025_12; }
  constexpr bool hopper_layout() const noexcept {
    return scale_layout == triton_scale_layout::hopper4 || scale_layout == triton_scale_layout::hopper8;
  }
  constexpr int hopper_warps() const noexcept {
    return is_2025() && scale_layout == triton_scale_layout::hopper4 ? 4 : 8;
  }
  /// The scales' layout on compute capability >= 10 can be read by persistent kernels only.
  constexpr bool must_persist(const arch_traits& arch) const noexcept {
    return is_2025() && arch.compute_capability >= 100 && scale_layout != triton_scale_layout::strided;
  }

  static constexpr std::int64_t rows_per_expert(const matmul_problem& problem) noexcept {
    if (problem.rows.kind == row_distribution::kind_id::expected) return problem.rows.rows_per_expert;
    return detail::max<std::int64_t>(1, problem.m / problem.experts);
  }
  /// Row tiles of a ragged batch, at most (upstream's grid size).
  static constexpr std::int64_t row_tiles(const matmul_problem& problem, int block_m) noexcept {
    if (problem.m <= problem.experts) return problem.m;
    return detail::ceil_div(problem.m - problem.experts + 1, block_m) + problem.experts - 1;
  }
  /// next_pow2(value) between low and high.
  static constexpr int pow2_between(std::int64_t value, int low, int high) noexcept {
    return static_cast<int>(detail::clamp(detail::next_pow2(value), low, high));
  }

  static constexpr std::int64_t out_itemsize(const matmul_formats& formats, int split_k) noexcept {
    return split_k > 1 ? 4 : detail::max(bits_of(formats.y) / 8, 1);
  }
  constexpr double accumulator_itemsize(const arch_traits& arch, const matmul_formats& formats,
                                        int split_k) const noexcept {
    if (arch.compute_capability >= 100 && effective_itemsize > 0) return effective_itemsize;
    const auto itemsize = static_cast<double>(out_itemsize(formats, split_k));
    return is_2025() && formats.accumulate ? 1.25 * itemsize : itemsize;
  }

  /// Upstream asserts that it knows every constraint it is given; which ones depends on the release and the vendor.
  constexpr refusal find_unknown(const opt_flags_constraints& constraints, bool amd) const noexcept;
  constexpr int nvidia_block_m(const arch_traits& arch, const matmul_problem& problem,
                               const opt_flags_constraints& constraints) const noexcept;
  constexpr int nvidia_warps(const opt_flags& flags) const noexcept;
  /// Blocks along K that fill idle SMs: in 3.4.0, by plain kernels.
  constexpr int nvidia_split(const arch_traits& arch, const matmul_problem& problem,
                             const opt_flags& flags) const noexcept {
    if (is_2025() || flags.is_persistent) return 1;
    const std::int64_t tiles = detail::ceil_div(problem.m, flags.block_m) * detail::ceil_div(problem.n, flags.block_n);
    const std::int64_t steps = detail::ceil_div(problem.k, flags.block_k);
    return static_cast<int>(detail::max<std::int64_t>(1, detail::min(arch.sm_count / tiles, steps / 4)));
  }
  constexpr int amd_split(const arch_traits& arch, const matmul_problem& problem,
                          const opt_flags& flags) const noexcept {
    if (is_2025() || flags.is_persistent) return 1;
    const std::int64_t tiles = row_tiles(problem, flags.block_m) * detail::ceil_div(problem.n, flags.block_n);
    return static_cast<int>(detail::max<std::int64_t>(1, arch.sm_count / tiles));
  }
  constexpr opt_flags nvidia_wish(const arch_traits& arch, const matmul_problem& problem,
                                  const opt_flags_constraints& constraints) const noexcept;
  constexpr opt_flags amd_wish(const arch_traits& arch, const matmul_problem& problem,
                               const opt_flags_constraints& constraints) const noexcept;
};

constexpr refusal triton_ogs_policy::check(const arch_traits& arch, const matmul_problem& problem,
                                           const opt_flags_constraints& constraints) const noexcept {
  using enum status_code;
  if (problem.formats.w != dtype::mxfp4)
    return {unsupported_dtype,
            "number of bits of W",
            bits_of(problem.formats.w),
            relation::exactly,
            4,
            "only MXFP4 weights are described"};
  if (!(effective_itemsize >= 0))  // or not a number
    return {unsupported_feature, "effective_itemsize", -1, relation::at_least, 0, "bytes of an element"};
  if (effective_itemsize > most_itemsize)
    return {unsupported_feature,
            "effective_itemsize",
            effective_itemsize < 1e9 ? static_cast<std::int64_t>(effective_itemsize) : 1'000'000'000,
            relation::at_most,
            most_itemsize,
            "bytes of an element"};
  const bool amd = arch.vendor == vendor_id::amd;
  const bool wants_persistent = constraints.is_persistent.value_or(false);
  if (const refusal unknown = find_unknown(constraints, amd)) return unknown;
  if (is_2025() && constraints.split_k.value_or(1) > 1)
    return {constraint_refused, "split_k", *constraints.split_k,
            relation::at_most,  1,         "no split of K beside weights with block scales"};
  if (is_2025() && constraints.max_allowable_mn.value_or(0) > 0 && !constraints.split_k)
    return {constraint_refused,
            "max_allowable_mn",
            *constraints.max_allowable_mn,
            relation::absent,
            0,
            "it needs a split_k beside it"};
  if (!amd && hopper_layout() && constraints.num_warps.value_or(hopper_warps()) != hopper_warps())
    return {constraint_refused, "num_warps",    *constraints.num_warps,
            relation::exactly,  hopper_warps(), "the layout of the scales fixes it"};
  if (is_2025() && wants_persistent && (amd || !has_tma))
    return {constraint_refused, "is_persistent", 1, relation::exactly, 0, "a persistent kernel needs TMA"};
  if (!amd && must_persist(arch) && !has_tma && constraints.is_persistent.value_or(true))
    return {unsupported_feature, "has_tma", 0,
            relation::exactly,   1,         "this layout of the scales needs a persistent kernel, and that needs TMA"};
  return {};
}

constexpr refusal triton_ogs_policy::find_unknown(const opt_flags_constraints& constraints, bool amd) const noexcept {
  using enum constraint_member;
  struct exclusion {
    constraint_member member;
    bool unknown;
  };
  const exclusion exclusions[] = {
      {block_n, !amd || !is_2025()},  {num_warps, !is_2025()}, {num_stages, amd}, {idle_sms, amd},
      {max_allowable_mn, !is_2025()},
  };
  for (const exclusion& each : exclusions)
    if (const std::optional<std::int64_t> value = value_of(constraints, each.member); value && each.unknown)
      return {status_code::constraint_refused,
              name_of(each.member),
              *value,
              relation::absent,
              0,
              "this release of Triton does not know it on this vendor's chips"};
  return {};
}

constexpr int triton_ogs_policy::nvidia_block_m(const arch_traits& arch, const matmul_problem& problem,
                                                const opt_flags_constraints& constraints) const noexcept {
  if (constraints.block_m) return *constraints.block_m;
  if (constraints.batch_invariant.value_or(false)) return 128;
  const std::int64_t rows = rows_per_expert(problem);
  if (!is_2025()) return pow2_between(rows, 64, 128);
  if (rows > 64 || !problem.is_ragged()) return pow2_between(rows, 16, 128);
  const bool blackwell = arch.compute_capability >= 100;
  if (problem.formats.x == dtype::bf16 && rows >= 16 && blackwell) return pow2_between(8 * rows, 16, 128);
  const int block_m = pow2_between(2 * rows, 16, 64);
  return block_m == 64 && mx_output && blackwell ? 128 : block_m;
}

constexpr int triton_ogs_policy::nvidia_warps(const opt_flags& flags) const noexcept {
  if (hopper_layout()) return hopper_warps();
  const int least = is_2025() && !flags.is_persistent ? 1 : 4;
  return detail::max(flags.block_m * flags.block_n / 4096, least);
}

constexpr opt_flags triton_ogs_policy::nvidia_wish(const arch_traits& arch, const matmul_problem& problem,
                                                   const opt_flags_constraints& constraints) const noexcept {
  const matmul_formats& formats = problem.formats;
  const bool blackwell = arch.compute_capability >= 100;
  opt_flags flags{.group_m = 8, .xcd_swizzle = 1};
  flags.block_m = nvidia_block_m(arch, problem, constraints);
  flags.block_n = problem.n > 128 ? 256 : pow2_between(problem.n, 16, 128);
  if (is_2025() && hopper_layout()) flags.block_n = 32 * hopper_warps();

  std::int64_t grid = row_tiles(problem, flags.block_m) * detail::ceil_div(problem.n, flags.block_n);
  if (is_2025()) grid = detail::saturating_mul(grid, problem.batch);
  flags.is_persistent =
      has_tma && (grid >= std::int64_t{2} * arch.sm_count || bits_of(formats.x) == 8) && bits_of(formats.y) < 32;
  if (is_2025()) {
    const std::int64_t volume = detail::saturating_mul(detail::saturating_mul(problem.m, problem.n), problem.k);
    flags.is_persistent = flags.is_persistent && volume >= 131'072;
    if (hopper_layout()) flags.is_persistent = false;
    if (must_persist(arch)) flags.is_persistent = true;
  }
  flags.is_persistent = constraints.is_persistent.value_or(flags.is_persistent);
  if (is_2025() && !flags.is_persistent && !hopper_layout() && problem.n <= 8) flags.block_n = 8;

  flags.block_k = 128;
  if (blackwell) flags.block_k = pow2_between(problem.k, 32, flags.is_persistent ? 128 : 256);
  if (is_2025() && flags.is_persistent && flags.block_m <= 64 && flags.block_n == 256 && flags.block_k == 128 &&
      problem.k >= 4096 && rows_per_expert(problem) > 1 && formats.x != dtype::bf16) {
    flags.block_n = 128;
    flags.block_k = 256;
  }
  flags.block_k = constraints.block_k.value_or(flags.block_k);

  const int split = requested_split(problem, constraints);
  flags.split_k = split > 0 ? split : nvidia_split(arch, problem, flags);

  for (const int subtile : {1, 2, 4}) {
    if (constraints.epilogue_subtile && subtile > 1) break;
    opt_flags trial = flags;
    trial.epilogue_subtile = constraints.epilogue_subtile.value_or(subtile);
    const smem_plan bytes = plan(arch, formats, trial);
    const std::int64_t room = arch.smem_block_bytes - bytes.fixed_bytes;
    trial.num_stages =
        room < 0 ? -1 : static_cast<int>(detail::min<std::int64_t>(most_stages, room / bytes.stage_bytes));
    // From 2025-12 "none" becomes one stage here already: a piece size that does not fit then beats one that does.
    if (is_2025() && trial.num_stages == 0) trial.num_stages = 1;
    if (flags.epilogue_subtile == 0 || trial.num_stages > flags.num_stages) flags = trial;
  }
  // 3.4.0 asserts before it looks at the constraint, 2025-12 after.
  if (constraints.num_stages && (is_2025() || flags.num_stages >= 1)) flags.num_stages = *constraints.num_stages;
  flags.num_stages = detail::max(flags.num_stages, 0);
  flags.num_warps = constraints.num_warps.value_or(nvidia_warps(flags));
  return flags;
}

constexpr opt_flags triton_ogs_policy::amd_wish(const arch_traits& arch, const matmul_problem& problem,
                                                const opt_flags_constraints& constraints) const noexcept {
  const bool gfx950 = arch.id == arch_id::gfx950;
  const std::int64_t rows = rows_per_expert(problem);
  opt_flags flags{.num_stages = 2, .group_m = 4, .xcd_swizzle = 8};
  if (constraints.block_m) {
    flags.block_m = *constraints.block_m;
  } else if (constraints.batch_invariant.value_or(false)) {
    flags.block_m = gfx950 ? 256 : 128;
  } else if (rows >= 512 && problem.n >= 2048) {
    flags.block_m = gfx950 ? 256 : 128;
  } else if (gfx950 && problem.m >= 512) {
    flags.block_m = 128;
  } else {
    flags.block_m = pow2_between(rows, 32, 64);
  }
  const std::int64_t tiles = row_tiles(problem, flags.block_m);
  if (problem.n <= 128 && detail::is_pow2(problem.n)) {
    flags.block_n = static_cast<int>(problem.n);
  } else {
    flags.block_n = pow2_between(detail::saturating_mul(8 * tiles, problem.n) / arch.sm_count, 32, 256);
  }
  if (gfx950 && flags.block_m == 128) flags.block_n = 512;
  flags.block_k = gfx950 ? 256 : 128;
  flags.is_persistent = constraints.is_persistent.value_or(false);
  const int split = requested_split(problem, constraints);
  flags.split_k = split > 0 ? split : amd_split(arch, problem, flags);
  flags.num_warps = problem.m <= 16 ? 2 : 8;
  flags.epilogue_subtile = constraints.epilogue_subtile.value_or(is_2025() ? 1 : 0);
  if (is_2025() && gfx950 && bits_of(problem.formats.x) == 16) {
    if (flags.split_k == 1 && problem.m <= 1024) {
      flags.block_n = 128;
      flags.num_warps = 4;
      flags.waves_per_eu = 3;
    } else if (problem.m > 1024) {
      flags.block_m = 64;
      flags.block_n = 512;
      flags.num_warps = 8;
    }
  }
  flags.block_m = constraints.block_m.value_or(flags.block_m);
  flags.block_n = constraints.block_n.value_or(flags.block_n);
  flags.block_k = constraints.block_k.value_or(flags.block_k);
  flags.num_warps = constraints.num_warps.value_or(flags.num_warps);
  return flags;
}

constexpr opt_flags triton_ogs_policy::adapt(const arch_traits& arch, const matmul_problem& problem,
                                             const opt_flags_constraints& constraints, const opt_flags& candidate,
                                             tile_scope scope) const noexcept {
  constexpr opt_flags none{};
  opt_flags flags = candidate;
  if (arch.vendor == vendor_id::amd) {
    // The pre-shuffled scales fix block_k, and the kernels differ in nothing but block_m and block_n.
    if (flags.is_persistent != constraints.is_persistent.value_or(false)) return none;
    if (!constraints.block_k && flags.block_k != (arch.id == arch_id::gfx950 ? 256 : 128)) return none;
    if (flags.block_n < 32) return none;
    const opt_flags upstream = amd_wish(arch, problem, constraints);
    flags.num_stages = 2;
    flags.group_m = upstream.group_m;
    flags.xcd_swizzle = upstream.xcd_swizzle;
    flags.epilogue_subtile = upstream.epilogue_subtile;
    flags.num_warps = upstream.num_warps;
    flags.split_k = amd_split(arch, problem, flags);
    return flags;
  }
  if (constraints.epilogue_subtile) flags.epilogue_subtile = *constraints.epilogue_subtile;
  const bool reachable = has_tma || (!is_2025() && constraints.is_persistent.value_or(false));
  const bool may_persist =
      must_persist(arch) || (reachable && bits_of(problem.formats.y) < 32 && !(is_2025() && hopper_layout()));
  const bool insisted = constraints.is_persistent.value_or(false);
  if (flags.is_persistent && !may_persist && !insisted) return none;
  if (!flags.is_persistent && must_persist(arch) && constraints.is_persistent.value_or(true)) return none;
  if (scope == tile_scope::preferred) {
    // Swizzled scales come in blocks of 128 along K; the Hopper ones in 32 columns per warp.
    if (scale_layout != triton_scale_layout::strided && !constraints.block_k && flags.block_k < 128) return none;
    if (is_2025() && hopper_layout() && flags.block_n != 32 * hopper_warps()) return none;
    if (arch.compute_capability < 100 && !constraints.block_k && flags.block_k > 128) return none;
  }
  flags.group_m = 8;
  flags.num_warps = constraints.num_warps.value_or(nvidia_warps(flags));
  flags.split_k = nvidia_split(arch, problem, flags);
  return flags;
}

}  // namespace tilefit::inline v0
