// L3: from router logits to the row order that a grouped matmul wants.
// Knows: top-k, histogram, offsets, gather and scatter indices, row tiles.
// Must not know: weights, chips, threads.
// Writes only into the caller's spans, allocates nothing, writes nothing when it refuses.
#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <span>

#include "detail/config.hpp"
#include "detail/math.hpp"
#include "status.hpp"

namespace tilefit::inline v0 {

/// How many tokens choose how many of the experts.
struct routing_shape {
  std::int64_t tokens = 0;
  int experts = 0;
  int topk = 0;  ///< experts per token, 1 .. experts

  /// Rows of the matmuls: one for each choice.
  constexpr std::int64_t rows() const noexcept { return tokens * topk; }
};

namespace detail {

constexpr status_code check_routing(const routing_shape& shape) noexcept {
  if (shape.tokens < 0 || shape.experts < 1 || shape.topk < 1 || shape.topk > shape.experts)
    return status_code::invalid_argument;
  if (shape.tokens > std::numeric_limits<std::int32_t>::max() / shape.topk) return status_code::invalid_argument;
  return shape.tokens == 0 ? status_code::empty : status_code::ok;
}

/// True when logit a (of a lower expert number than b) stays before b: NaN is below everything, ties keep the order.
template <std::floating_point Real>
constexpr bool not_below(Real a, Real b) noexcept {
  return a >= b || b != b;
}

}  // namespace detail

/// For every token its topk experts, highest logit first, and the softmax over those topk logits.
/// logits [tokens, experts]; expert_index and expert_weight [tokens * topk].
///   * Equal logits: the lower expert number first.
///   * NaN ranks below everything, -infinity included; a NaN that is chosen all the same weighs 0.
///   * Equal infinities at the top share the weight evenly.
///   * A token without a single number: experts 0 .. topk - 1 with NaN weights, so that its output shows it.
/// invalid_argument for a bad shape or a span of another length; empty for no tokens.
template <std::floating_point Real>
[[nodiscard]] inline status_code choose_experts(const routing_shape& shape, std::span<const Real> logits,
                                                std::span<std::int32_t> expert_index,
                                                std::span<float> expert_weight) noexcept {
  const status_code status = detail::check_routing(shape);
  if (status != status_code::ok) return status;
  const auto rows = static_cast<std::size_t>(shape.rows());
  const auto experts = static_cast<std::size_t>(shape.experts);
  const auto topk = static_cast<std::size_t>(shape.topk);
  if (logits.size() / experts != static_cast<std::size_t>(shape.tokens) || logits.size() % experts != 0 ||
      expert_index.size() != rows || expert_weight.size() != rows)
    return status_code::invalid_argument;

  for (std::size_t token = 0; token < static_cast<std::size_t>(shape.tokens); ++token) {
    const std::span<const Real> row = logits.subspan(token * experts, experts);
    const std::span<std::int32_t> chosen = expert_index.subspan(token * topk, topk);
    const auto value = [&](std::size_t j) { return row[static_cast<std::size_t>(chosen[j])]; };
    // Insertion into a sorted list of topk: experts come in ascending order, so an equal one goes behind.
    std::size_t held = 0;
    for (std::size_t expert = 0; expert < experts; ++expert) {
      if (held == topk && detail::not_below(value(topk - 1), row[expert])) continue;
      std::size_t at = held < topk ? held++ : topk - 1;
      for (; at > 0 && !detail::not_below(value(at - 1), row[expert]); --at) chosen[at] = chosen[at - 1];
      chosen[at] = static_cast<std::int32_t>(expert);
    }
    const Real highest = value(0);
    Real sum = 0;
    for (std::size_t j = 0; j < topk; ++j) {
      const Real logit = value(j);
      sum += logit != logit ? Real{0} : logit == highest ? Real{1} : std::exp(logit - highest);
    }
    for (std::size_t j = 0; j < topk; ++j) {
      const Real logit = value(j);
      const Real part = logit != logit ? Real{0} : logit == highest ? Real{1} : std::exp(logit - highest);
      // highest is NaN only when the whole row is: then 0 / 0.
      expert_weight[token * topk + j] =
          highest != highest ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(part / sum);
    }
  }
  return status_code::ok;
}

/// The row order of a grouped matmul. Spans are the caller's; `gammas` may be empty when no weights are wanted.
struct routed_rows {
  std::span<std::int32_t> histogram = {};    ///< [local experts] rows of each
  std::span<std::int32_t> offsets = {};      ///< [local experts + 1] first row of each; the last = rows that are local
  std::span<std::int32_t> gather_indx = {};  ///< [tokens * topk] token of row i; -1 behind the local rows
  std::span<std::int32_t> scatter_indx =
      {};                        ///< [tokens * topk] token * topk + rank of row i; -1 behind the local rows
  std::span<float> gammas = {};  ///< [tokens * topk] weight of row i; 0 behind the local rows
};

/// Sorts the chosen (token, rank) pairs by expert, tokens ascending within an expert.
/// expert_map [experts]: number of an expert on this device, or -1 when it lives elsewhere (expert parallelism); empty:
/// all experts are here, `offsets.size() - 1` of them. Pairs whose expert is elsewhere take no row: the rows that are
/// left over stand behind the local ones with indices -1.
/// invalid_argument: wrong span lengths, an expert number out of range, two experts with one local number.
[[nodiscard]] inline status_code sort_rows(const routing_shape& shape, std::span<const std::int32_t> expert_index,
                                           std::span<const float> expert_weight,
                                           std::span<const std::int32_t> expert_map, const routed_rows& out) noexcept {
  constexpr status_code bad = status_code::invalid_argument;
  const status_code status = detail::check_routing(shape);
  if (!succeeded(status)) return status;
  const auto rows = static_cast<std::size_t>(shape.rows());
  const auto experts = static_cast<std::size_t>(shape.experts);
  const std::size_t local = out.histogram.size();
  if (expert_index.size() != rows || out.gather_indx.size() != rows || out.scatter_indx.size() != rows) return bad;
  if (out.offsets.size() != local + 1 || (!out.gammas.empty() && out.gammas.size() != rows)) return bad;
  if (!out.gammas.empty() && expert_weight.size() != rows) return bad;
  if (expert_map.empty() ? local != experts : expert_map.size() != experts) return bad;
  for (std::size_t e = 0; e < expert_map.size(); ++e) {
    if (expert_map[e] < -1 || (expert_map[e] >= 0 && static_cast<std::size_t>(expert_map[e]) >= local)) return bad;
    for (std::size_t other = 0; other < e; ++other)
      if (expert_map[e] >= 0 && expert_map[e] == expert_map[other]) return bad;
  }
  for (const std::int32_t expert : expert_index)
    if (expert < 0 || expert >= shape.experts) return bad;

  const auto home = [&](std::int32_t expert) {
    return expert_map.empty() ? expert : expert_map[static_cast<std::size_t>(expert)];
  };
  for (std::int32_t& count : out.histogram) count = 0;
  for (const std::int32_t expert : expert_index)
    if (home(expert) >= 0) ++out.histogram[static_cast<std::size_t>(home(expert))];
  out.offsets[0] = 0;
  for (std::size_t e = 0; e < local; ++e) out.offsets[e + 1] = out.offsets[e] + out.histogram[e];

  // The offsets serve as cursors while rows are dealt out, and are shifted back afterwards.
  for (std::size_t slot = 0; slot < rows; ++slot) {
    const std::int32_t expert = home(expert_index[slot]);
    if (expert < 0) continue;
    const auto row = static_cast<std::size_t>(out.offsets[static_cast<std::size_t>(expert)]++);
    out.gather_indx[row] = static_cast<std::int32_t>(slot / static_cast<std::size_t>(shape.topk));
    out.scatter_indx[row] = static_cast<std::int32_t>(slot);
    if (!out.gammas.empty()) out.gammas[row] = expert_weight[slot];
  }
  for (std::size_t e = 0; e < local; ++e) out.offsets[e] -= out.histogram[e];
  for (auto row = static_cast<std::size_t>(out.offsets[local]); row < rows; ++row) {
    out.gather_indx[row] = -1;
    out.scatter_indx[row] = -1;
    if (!out.gammas.empty()) out.gammas[row] = 0.0f;
  }
  return status;
}

/// One row tile of a ragged matmul: `rows` (1 .. block_m) rows of `expert` from `first_row`.
struct row_tile {
  std::int32_t expert = 0;
  std::int32_t first_row = 0;
  std::int32_t rows = 0;

  friend constexpr bool operator==(const row_tile&, const row_tile&) = default;
};

/// Row tiles of a matmul whose expert e has rows offsets[e] .. offsets[e + 1]. Requires block_m > 0.
TILEFIT_HD constexpr std::int64_t row_tile_count(const std::int32_t* offsets, int experts, int block_m) noexcept {
  std::int64_t tiles = 0;
  for (int e = 0; e < experts; ++e) tiles += detail::ceil_div(offsets[e + 1] - offsets[e], block_m);
  return tiles;
}

/// Calls visit(row_tile) for every tile: experts ascending, rows ascending; experts without rows have no tile.
template <class Visit>
constexpr void for_each_row_tile(const std::int32_t* offsets, int experts, int block_m, Visit visit) {
  for (int e = 0; e < experts; ++e)
    for (std::int32_t row = offsets[e]; row < offsets[e + 1];) {
      const std::int32_t left = offsets[e + 1] - row;
      const std::int32_t rows = left < block_m ? left : block_m;
      visit(row_tile{e, row, rows});
      row += rows;
    }
}

/// Writes the tile list. offsets [experts + 1]; tiles: exactly row_tile_count of them.
[[nodiscard]] constexpr status_code make_row_tiles(std::span<const std::int32_t> offsets, int block_m,
                                                   std::span<row_tile> tiles) noexcept {
  if (offsets.empty() || offsets[0] != 0 || block_m < 1) return status_code::invalid_argument;
  for (std::size_t e = 1; e < offsets.size(); ++e)
    if (offsets[e] < offsets[e - 1]) return status_code::invalid_argument;
  const int experts = static_cast<int>(offsets.size() - 1);
  if (row_tile_count(offsets.data(), experts, block_m) != static_cast<std::int64_t>(tiles.size()))
    return status_code::invalid_argument;
  std::size_t next = 0;
  for_each_row_tile(offsets.data(), experts, block_m, [&](const row_tile& tile) { tiles[next++] = tile; });
  return tiles.empty() ? status_code::empty : status_code::ok;
}

}  // namespace tilefit::inline v0
