// Statistics of repeated times.
// Knows: order statistics. Must not know: what was timed.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace tilefit::inline v0::bench {

/// Microseconds.
struct time_summary {
  double median = 0;
  double least = 0;
  double p10 = 0;
  double p90 = 0;
  int count = 0;

  /// From the 10th to the 90th percentile, of the median.
  double spread() const { return median > 0 ? (p90 - p10) / median : 0; }
};

/// Above this a result says that its times differ much.
inline constexpr double wide_spread = 0.05;

inline time_summary summarise(std::vector<double> times) {
  if (times.empty()) return {};
  std::sort(times.begin(), times.end());
  const auto at = [&](double share) {
    return times[static_cast<std::size_t>(std::lround(share * static_cast<double>(times.size() - 1)))];
  };
  const std::size_t half = times.size() / 2;
  const double median = times.size() % 2 == 1 ? times[half] : (times[half - 1] + times[half]) / 2;
  return {.median = median,
          .least = times.front(),
          .p10 = at(0.1),
          .p90 = at(0.9),
          .count = static_cast<int>(times.size())};
}

}  // namespace tilefit::inline v0::bench
