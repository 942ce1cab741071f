// L4: one lane of a block on the CPU: where it stands and what it waits for; and how a run is asked for.
// Knows: what is kept for a lane.
// Must not know: when lanes go on (block.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "fiber.hpp"
#include "machine.hpp"

namespace tilefit::inline v0::simt {

struct grid_options {
  int warp_size = 32;
  std::uint64_t seed = 0;      ///< 0: lanes, warps and blocks in order; else a random order of each, again and again
  int blocks_at_once = 2;      ///< run side by side
  bool strict_matrix = false;  ///< matrix loads of never written bytes are faults too
  sabotage mistake = {};
  std::size_t stack_bytes = std::size_t{96} << 10;
  std::size_t most_faults = 16;
};

struct grid_geometry {
  unsigned grid = 1;
  unsigned block = 32;
  std::size_t shared_bytes = 0;
  unsigned grid_y = 1;
  unsigned grid_z = 1;
};

/// What a run shows beside its faults.
struct grid_counts {
  int barriers = 0;  ///< that a lane has waited at, the most of any lane
  int waits = 0;     ///< for copies, likewise
  int warp_syncs = 0;
  std::int64_t meetings = 0;
};

/// An asynchronous copy into shared memory.
struct pending_copy {
  std::byte* to = nullptr;
  const void* from = nullptr;  ///< null = zeros
  int bytes = 0;
  int lane = 0;
  int from_bytes = 0;  ///< that are read; what is left of `bytes` becomes zeros
};

enum class lane_doing : std::uint8_t { ready, running, in_warp, at_barrier, ended };

/// What a lane waits for, and what it brings.
struct waiting {
  const char* what = "";
  std::uint64_t mask = 0;  ///< of a warp's lanes
  void* argument = nullptr;
  int id = 0;  ///< of a barrier
  int threads = 0;
  bool mine = false;
  site where;
};

struct lane_state {
  explicit lane_state(std::size_t stack_bytes) : context(stack_bytes) {}
  fiber context;
  lane_doing doing = lane_doing::ended;
  waiting waits;
  std::vector<pending_copy> open;
  std::deque<std::vector<pending_copy>> groups;
  std::deque<pending_copy> loads;  ///< that AMD's counter counts; those into registers without `to`
  std::uint32_t interval = 0;      ///< block-wide barriers passed
  grid_counts passed;
};

inline bool same_place(const waiting& a, const waiting& b) noexcept {
  return a.where.line == b.where.line && std::strcmp(a.where.file, b.where.file) == 0;
}

/// "file:line".
inline std::string place_of(const waiting& at) {
  const std::string file = at.where.file;
  return file.substr(file.rfind('/') + 1) + ":" + std::to_string(at.where.line);
}

inline std::string where_is(const lane_state& lane) {
  switch (lane.doing) {
    case lane_doing::in_warp: return std::string("wait in ") + lane.waits.what + " at " + place_of(lane.waits);
    case lane_doing::at_barrier:
      return "wait at barrier " + std::to_string(lane.waits.id) + " for " + std::to_string(lane.waits.threads) +
             " lanes at " + place_of(lane.waits);
    case lane_doing::ended: return "have ended";
    case lane_doing::ready:
    case lane_doing::running: return "can go on";
  }
  return {};
}

/// "0-31,64": ascending numbers of lanes.
inline std::string lanes_text(const std::vector<int>& lanes) {
  std::string out;
  for (std::size_t i = 0; i < lanes.size();) {
    std::size_t last = i;
    while (last + 1 < lanes.size() && lanes[last + 1] == lanes[last] + 1) ++last;
    if (!out.empty()) out += ",";
    out += std::to_string(lanes[i]);
    if (last > i) out += "-" + std::to_string(lanes[last]);
    i = last + 1;
  }
  return out;
}

}  // namespace tilefit::inline v0::simt
