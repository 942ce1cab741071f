// Routings for the tests of kernels: maps, logits with everything that can be odd about them, and what must come out.
// Knows: choose_experts and sort_rows (routing.hpp).
// Must not know: where kernels run.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "tilefit/device/launch_options.hpp"
#include "tilefit/dtype.hpp"
#include "tilefit/float_formats.hpp"
#include "tilefit/routing.hpp"

namespace routing_test {

using namespace tilefit;

using ints = std::vector<std::int32_t>;
using floats = std::vector<float>;

inline constexpr double weight_tolerance = 1e-6;

enum class map_kind { none, half_elsewhere, turned, all_elsewhere, more_local };
inline constexpr map_kind all_maps[] = {map_kind::none, map_kind::half_elsewhere, map_kind::turned,
                                        map_kind::all_elsewhere, map_kind::more_local};

struct routing_case {
  routing_shape shape;
  dtype type = dtype::fp32;
  map_kind map = map_kind::none;
  bool given = false;  ///< experts come from elsewhere, some of them out of range
  bool gammas = true;
  gpu::launch_options options = {};
};

inline std::string text_of(const routing_case& c) {
  return std::to_string(c.shape.tokens) + " tokens, " + std::to_string(c.shape.experts) + " experts, top-" +
         std::to_string(c.shape.topk) + ", " + (c.given ? "given" : std::string(name_of(c.type))) + ", map " +
         std::to_string(static_cast<int>(c.map));
}

struct local_map {
  ints map;  ///< empty: all here
  int local = 0;
};
inline local_map make_map(map_kind kind, int experts) {
  local_map made;
  made.local = experts;
  if (kind == map_kind::none) return made;
  made.map.resize(static_cast<std::size_t>(experts));
  int next = 0;
  for (int e = 0; e < experts; ++e) {
    std::int32_t& home = made.map[static_cast<std::size_t>(e)];
    switch (kind) {
      case map_kind::none: break;
      case map_kind::half_elsewhere: home = e % 4 < 2 ? next++ : -1; break;
      case map_kind::turned: home = (e + experts / 2) % experts; break;
      case map_kind::all_elsewhere: home = -1; break;
      case map_kind::more_local: home = e + 3; break;  // numbers 0 .. 2 and the last one belong to nobody here
    }
  }
  if (kind == map_kind::half_elsewhere) made.local = next;
  if (kind == map_kind::more_local) made.local = experts + 4;
  return made;
}

/// Logits with ties, signed zeros, infinities and NaN; some rows of nothing but NaN or -infinity.
inline floats make_logits(const routing_shape& shape, std::mt19937& random) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  std::normal_distribution<float> normal(0.0f, 2.0f);
  floats logits(static_cast<std::size_t>(shape.tokens * shape.experts));
  const auto experts = static_cast<std::size_t>(shape.experts);
  for (std::size_t token = 0; token < static_cast<std::size_t>(shape.tokens); ++token) {
    const std::span<float> row(logits.data() + token * experts, experts);
    const auto kind = random() % 16;
    for (float& logit : row) {
      logit = normal(random);
      if (kind < 5) logit = std::round(logit);          // ties, -0 among them
      if (kind == 3 && random() % 4 == 0) logit = nan;  // NaN and ties
      if (kind == 4 && random() % 4 == 0) logit = random() % 2 ? infinity : -infinity;
      if (kind == 5) logit = random() % 8 ? nan : logit;  // few numbers
      if (kind == 6) logit = random() % 8 ? -infinity : random() % 2 ? nan : logit;
      if (kind == 7) logit = nan;
      if (kind == 8) logit = -infinity;
      if (kind == 9) logit *= 1e-41f;  // subnormal
      if (kind == 10) logit *= 1e30f;
    }
  }
  return logits;
}

/// Rounds to the format; what comes back are the floats that the device sees.
inline std::vector<std::uint8_t> encode(dtype type, floats& logits, const routing_shape& shape, std::int64_t stride) {
  const std::size_t size = static_cast<std::size_t>(bits_of(type) / 8);
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(shape.tokens * stride) * size, 0xFF);  // NaN between rows
  for (std::int64_t token = 0; token < shape.tokens; ++token)
    for (int e = 0; e < shape.experts; ++e) {
      float& logit = logits[static_cast<std::size_t>(token * shape.experts + e)];
      std::uint8_t* to = bytes.data() + static_cast<std::size_t>(token * stride + e) * size;
      if (type == dtype::fp32) {
        std::memcpy(to, &logit, 4);
        continue;
      }
      const std::uint16_t code = type == dtype::bf16 ? float_to_bf16(logit) : float_to_fp16(logit);
      std::memcpy(to, &code, 2);
      logit = type == dtype::bf16 ? bf16_to_float(code) : fp16_to_float(code);
    }
  return bytes;
}

struct routed {
  ints expert_index, histogram, offsets, gather, scatter;
  floats expert_weight, gammas;
};

/// sort_rows, with numbers out of range as an expert of their own that lives elsewhere.
[[nodiscard]] inline bool sort_on_host(const routing_case& c, const local_map& map, routed& r) {
  routing_shape shape = c.shape;
  ++shape.experts;
  ints index = r.expert_index, homes = map.map;
  if (homes.empty())
    for (int e = 0; e < c.shape.experts; ++e) homes.push_back(e);
  homes.push_back(-1);
  for (std::int32_t& expert : index)
    if (expert < 0 || expert >= c.shape.experts) expert = c.shape.experts;
  const auto rows = static_cast<std::size_t>(shape.rows());
  r.histogram.assign(static_cast<std::size_t>(map.local), 0);
  r.offsets.assign(static_cast<std::size_t>(map.local) + 1, 0);
  r.gather.assign(rows, 0);
  r.scatter.assign(rows, 0);
  r.gammas.assign(rows, 0.0f);
  const status_code status = sort_rows(shape, index, r.expert_weight, homes,
                                       {.histogram = r.histogram,
                                        .offsets = r.offsets,
                                        .gather_indx = r.gather,
                                        .scatter_indx = r.scatter,
                                        .gammas = r.gammas});
  return succeeded(status);
}

/// How `index` and `weight` differ from choose_experts in double; nothing when they do not.
inline std::string wrong_weights(const routing_case& c, const floats& logits, const ints& index, const floats& weight) {
  ints wanted_index(index.size());
  floats wanted(index.size());
  const std::vector<double> exact(logits.begin(), logits.end());
  if (!succeeded(choose_experts<double>(c.shape, exact, wanted_index, wanted))) return "the reference refuses";
  if (index != wanted_index) return "expert_index";
  double worst = 0.0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const bool nan = std::isnan(weight[i]);
    if (nan != std::isnan(wanted[i])) return "NaN weights";
    if (!nan) worst = std::fmax(worst, std::fabs(static_cast<double>(weight[i]) - static_cast<double>(wanted[i])));
  }
  return worst <= weight_tolerance ? "" : "weights differ by " + std::to_string(worst);
}

/// Experts from elsewhere, some of them out of range, and weights.
inline void make_choices(const routing_shape& shape, std::mt19937& random, routed& r) {
  for (std::int32_t& expert : r.expert_index) {
    expert = static_cast<std::int32_t>(random() % static_cast<unsigned>(shape.experts));
    if (random() % 16 == 0) expert = random() % 2 ? -1 : random() % 2 ? shape.experts : INT32_MAX;
    if (random() % 64 == 0) expert = INT32_MIN;
  }
  for (float& weight : r.expert_weight) weight = std::ldexp(static_cast<float>(random() % 4096), -12);
}

}  // namespace routing_test
