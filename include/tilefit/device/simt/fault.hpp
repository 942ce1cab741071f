// L4: what the executor found wrong with a kernel, as values and as sentences.
// Knows: blocks, lanes, bytes of shared and global memory.
// Must not know: how it is found.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tilefit::inline v0::simt {

enum class fault_kind : std::uint8_t {
  out_of_bounds,    ///< beside the memory that there is
  read_only,        ///< a store to an input
  misaligned,       ///< an address that is no multiple of the access
  never_written,    ///< a load of bytes that nobody has stored
  copy_under_way,   ///< an access to bytes that an asynchronous copy may be writing
  race,             ///< two accesses, one of them a store, with nothing that orders them
  divergence,       ///< lanes that wait for each other at different places, or for one that has ended
  wrong_arguments,  ///< lanes of a warp, or of a barrier, that disagree about what they do together
};

constexpr const char* name_of(fault_kind kind) noexcept {
  switch (kind) {
    case fault_kind::out_of_bounds: return "out of bounds";
    case fault_kind::read_only: return "a store to an input";
    case fault_kind::misaligned: return "misaligned";
    case fault_kind::never_written: return "never written";
    case fault_kind::copy_under_way: return "an asynchronous copy of these bytes is under way";
    case fault_kind::race: return "race";
    case fault_kind::divergence: return "divergence";
    case fault_kind::wrong_arguments: return "lanes disagree";
  }
  return "?";
}

/// A lane of a grid.
struct lane_name {
  std::uint32_t block = 0;
  int lane = -1;  ///< of the block; -1 = none
};

struct fault {
  fault_kind kind = fault_kind::out_of_bounds;
  lane_name by;
  bool stores = false;
  lane_name other;  ///< of a race: who came first
  bool other_stores = false;
  std::string memory;      ///< "shared memory", or the name of a buffer; empty when it is about no memory
  std::int64_t byte = 0;   ///< first byte that is wrong, counted from the start of `memory`
  std::int64_t bytes = 0;  ///< of the access
  std::string detail;

  std::string text() const {
    std::string out = "block " + std::to_string(by.block);
    if (by.lane >= 0) out += ", lane " + std::to_string(by.lane);
    if (!memory.empty()) {
      out += stores ? " stores " : " loads ";
      out += std::to_string(bytes) + " bytes, byte " + std::to_string(byte) + " of " + memory;
    }
    out += std::string(": ") + name_of(kind);
    if (other.lane >= 0) {
      out += " with ";
      if (other.block != by.block) out += "block " + std::to_string(other.block) + ", ";
      out += "lane " + std::to_string(other.lane) + ", which " + (other_stores ? "stored" : "loaded") + " it";
    }
    if (!detail.empty()) out += " (" + detail + ")";
    return out;
  }
};

/// Faults of a run, the first few of them in words.
struct fault_list {
  std::vector<fault> kept;
  std::int64_t count = 0;
  std::size_t most = 16;

  void add(fault found) {
    ++count;
    if (kept.size() < most) kept.push_back(std::move(found));
  }
  bool has(fault_kind kind) const noexcept {
    for (const fault& f : kept)
      if (f.kind == kind) return true;
    return false;
  }
  std::string text() const {
    std::string out;
    for (const fault& f : kept) out += f.text() + "\n";
    if (count > static_cast<std::int64_t>(kept.size()))
      out += "and " + std::to_string(count - static_cast<std::int64_t>(kept.size())) + " more\n";
    return out;
  }
};

}  // namespace tilefit::inline v0::simt
