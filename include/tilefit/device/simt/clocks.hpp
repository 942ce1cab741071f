// L4: what comes before what in a grid: vector clocks of lanes.
// Knows: that meetings at barriers and releases of counters order what lanes do.
// Must not know: memory, kernels.
//
// A lane's clock counts its own releases. A lane knows another one up to a clock value: everything that lane did before
// has happened. Knowledge is shared between lanes that met, so a barrier costs one copy, not one for every lane.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace tilefit::inline v0::simt {

using lane_clocks = std::vector<std::uint32_t>;

/// Of a lane, or of several that have just met: clocks of the lanes of their block, and of lanes of other blocks as
/// far as a counter told about them.
struct knowledge {
  lane_clocks lanes;
  std::map<std::uint32_t, std::shared_ptr<const lane_clocks>> blocks;
};
using shared_knowledge = std::shared_ptr<const knowledge>;

inline void join(lane_clocks& to, const lane_clocks& from) {
  if (to.size() < from.size()) to.resize(from.size());
  for (std::size_t i = 0; i < from.size(); ++i)
    if (from[i] > to[i]) to[i] = from[i];
}

inline void join(std::shared_ptr<const lane_clocks>& to, const std::shared_ptr<const lane_clocks>& from) {
  if (to == from) return;
  if (to == nullptr) {
    to = from;
    return;
  }
  auto both = std::make_shared<lane_clocks>(*to);
  join(*both, *from);
  to = std::move(both);
}

/// Clock and knowledge of one lane.
struct lane_time {
  std::uint32_t clock = 1;
  shared_knowledge known;

  /// True when what lane `other` of block `other_block` did at its `clock` has happened before now.
  bool knows(std::uint32_t block, int lane, std::uint32_t other_block, int other, std::uint32_t other_clock) const {
    if (other_block == block) return other == lane || known->lanes[static_cast<std::size_t>(other)] >= other_clock;
    const auto found = known->blocks.find(other_block);
    return found != known->blocks.end() && (*found->second)[static_cast<std::size_t>(other)] >= other_clock;
  }
};

/// Lanes `who` of a block have met: each knows from now on what any of them knew or did.
inline void meet(std::vector<lane_time>& lanes, const std::vector<int>& who) {
  if (who.empty()) return;
  auto all = std::make_shared<knowledge>(*lanes[static_cast<std::size_t>(who.front())].known);
  const knowledge* last = nullptr;
  for (const int lane : who) {
    const lane_time& time = lanes[static_cast<std::size_t>(lane)];
    if (time.known.get() != last) {
      last = time.known.get();
      join(all->lanes, last->lanes);
      for (const auto& [block, clocks] : last->blocks) join(all->blocks[block], clocks);
    }
  }
  for (const int lane : who) {
    lane_time& time = lanes[static_cast<std::size_t>(lane)];
    all->lanes[static_cast<std::size_t>(lane)] = time.clock++;
  }
  for (const int lane : who) lanes[static_cast<std::size_t>(lane)].known = all;
}

/// A counter that blocks meet at: who acquires it knows what was released to it.
struct release_point {
  std::map<std::uint32_t, std::shared_ptr<const lane_clocks>> blocks;

  void acquire_and_release(std::uint32_t block, int lane, lane_time& time) {
    auto mine = std::make_shared<lane_clocks>(time.known->lanes);
    (*mine)[static_cast<std::size_t>(lane)] = time.clock;
    auto after = std::make_shared<knowledge>(*time.known);
    for (const auto& [other, clocks] : blocks) {
      if (other == block)
        join(after->lanes, *clocks);
      else
        join(after->blocks[other], clocks);
    }
    for (const auto& [other, clocks] : time.known->blocks) join(blocks[other], clocks);
    join(blocks[block], mine);
    time.known = std::move(after);
    ++time.clock;
  }
};

}  // namespace tilefit::inline v0::simt
