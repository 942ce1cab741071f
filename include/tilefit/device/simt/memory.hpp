// L4: memory that the executor watches: buffers between guard zones, and what is known of each byte.
// Knows: bounds, who wrote and read a byte last and when, copies that are under way.
// Must not know: lanes' code, warps, how anything is scheduled.
//
// Everything lies in one arena, so that an access to anything else is seen at once. Each buffer starts and ends at its
// exact bytes, with guard zones of 64 KiB around it that belong to it: what strays there is named after it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "clocks.hpp"
#include "fault.hpp"

namespace tilefit::inline v0::simt {

/// What a buffer is for.
enum class memory_use : std::uint8_t {
  input,    ///< never stored to
  output,   ///< holds something, loaded and stored
  scratch,  ///< holds nothing at first
  flags,    ///< output whose bytes blocks may store without order, as long as all store the same
};

/// Who makes an access, and what it knows.
struct accessor {
  std::uint32_t block = 0;
  int lane = 0;
  const lane_time* time = nullptr;
  std::uint32_t interval = 0;  ///< block-wide barriers that the lane has passed
};

/// What is known of one byte that lanes may store to.
struct byte_state {
  static constexpr std::int16_t nobody = -1;
  std::uint32_t block = 0;     ///< of the last store
  std::uint32_t clock = 0;     ///< of its lane
  std::uint32_t readers = 0;   ///< since then: index into a reader_pool, 0 = none
  std::int16_t lane = nobody;  ///< of the last store; nobody = it was there before the grid
  bool written = true;
  bool under_way = false;  ///< an asynchronous copy may be writing it
  bool added = false;      ///< the last store was an addition, which others do not disturb
};

/// Lists of lanes that read a byte since it was written. Lists share their tails, and bytes share lists.
class reader_pool {
 public:
  struct reader {
    std::uint32_t before = 0;  ///< the next one of the list
    std::uint32_t clock = 0;
    std::uint32_t block = 0;
    std::uint32_t interval = 0;
    std::int32_t lane = 0;
  };

  const reader& operator[](std::uint32_t index) const { return readers_[index]; }

  /// The list `to` with one more reader. A block-wide barrier orders everybody before it, and lists start anew.
  std::uint32_t add(std::uint32_t to, const accessor& who) {
    const reader& head = readers_[to];
    const bool keeps = to != 0 && head.block == who.block && head.interval == who.interval;
    if (keeps && head.lane == who.lane && head.clock == who.time->clock) return to;
    const reader next{.before = keeps ? to : 0,
                      .clock = who.time->clock,
                      .block = who.block,
                      .interval = who.interval,
                      .lane = who.lane};
    const reader& last = readers_.back();
    if (readers_.size() > 1 && last.before == next.before && last.clock == next.clock && last.block == next.block &&
        last.interval == next.interval && last.lane == next.lane)
      return static_cast<std::uint32_t>(readers_.size() - 1);
    readers_.push_back(next);
    return static_cast<std::uint32_t>(readers_.size() - 1);
  }

 private:
  std::vector<reader> readers_ = std::vector<reader>(1);
};

struct memory_zone {
  std::string name;
  std::uintptr_t begin = 0;
  std::size_t bytes = 0;
  memory_use use = memory_use::input;
  const void* owner = nullptr;     ///< the block whose shared memory it is
  std::vector<byte_state> states;  ///< of every byte; none for inputs

  // NOLINTNEXTLINE(performance-no-int-to-ptr): addresses are what this is about
  std::byte* data() const noexcept { return reinterpret_cast<std::byte*>(begin); }
};

class memory {
 public:
  static constexpr std::size_t page = 4096;
  static constexpr std::size_t guard_bytes = 16 * page;
  static constexpr unsigned char poison = 0xFF;  ///< NaN in every float format

  /// `arena_bytes` of address space; pages that nobody touches cost nothing.
  explicit memory(std::size_t arena_bytes = std::size_t{1} << 30)
      : bytes_(arena_bytes / page * page),
        arena_(static_cast<std::byte*>(std::aligned_alloc(page, bytes_))),
        zone_of_page_(bytes_ / page, 0) {
    if (arena_ == nullptr) throw std::bad_alloc();
  }

  /// A buffer; outputs and inputs are to be filled by the caller before the grid, scratch is full of NaN.
  void* take(std::size_t bytes, std::string name, memory_use use) {
    const std::size_t first_page = next_page_;
    const std::size_t begin = first_page * page + guard_bytes;
    const std::size_t end = (begin + bytes + page - 1) / page * page + guard_bytes;
    if (end > bytes_) throw std::bad_alloc();
    next_page_ = end / page;
    auto made = std::make_unique<memory_zone>();
    made->name = std::move(name);
    made->begin = reinterpret_cast<std::uintptr_t>(arena_.get()) + begin;
    made->bytes = bytes;
    made->use = use;
    if (use != memory_use::input) {
      byte_state state;
      state.written = use != memory_use::scratch;
      made->states.assign(bytes, state);
    }
    std::memset(arena_.get() + first_page * page, guard, end - first_page * page);
    if (use == memory_use::scratch) std::memset(made->data(), poison, bytes);
    zones_.push_back(std::move(made));
    for (std::size_t p = first_page; p < next_page_; ++p) zone_of_page_[p] = static_cast<std::uint16_t>(zones_.size());
    return zones_.back()->data();
  }
  template <class T>
  T* take(std::int64_t count, std::string name, memory_use use) {
    return static_cast<T*>(take(static_cast<std::size_t>(count) * sizeof(T), std::move(name), use));
  }

  /// Forgets the newest buffers, down to `count` of them.
  void keep(std::size_t count) {
    while (zones_.size() > count) {
      const std::size_t first =
          (zones_.back()->begin - guard_bytes - reinterpret_cast<std::uintptr_t>(arena_.get())) / page;
      for (std::size_t p = first; p < next_page_; ++p) zone_of_page_[p] = 0;
      next_page_ = first;
      zones_.pop_back();
    }
  }
  std::size_t size() const noexcept { return zones_.size(); }
  memory_zone& newest() noexcept { return *zones_.back(); }

  bool in_arena(std::uintptr_t address) const noexcept {
    return address - reinterpret_cast<std::uintptr_t>(arena_.get()) < bytes_;
  }
  /// The buffer whose bytes or guards hold the address; null when there is none.
  memory_zone* zone_at(std::uintptr_t address) const noexcept {
    if (!in_arena(address)) return nullptr;
    const std::uint16_t index = zone_of_page_[(address - reinterpret_cast<std::uintptr_t>(arena_.get())) / page];
    return index == 0 ? nullptr : zones_[index - 1u].get();
  }

  /// Names of buffers beside which bytes were changed: for accesses that were not announced.
  std::string broken_guards() const {
    std::string names;
    for (const auto& zone : zones_) {
      // NOLINTNEXTLINE(performance-no-int-to-ptr): addresses are what this is about
      const unsigned char* const data = reinterpret_cast<const unsigned char*>(zone->begin);
      const std::uintptr_t end = (zone->begin + zone->bytes + page - 1) / page * page + guard_bytes;
      bool broken = false;
      for (std::size_t i = 1; i <= guard_bytes; ++i) broken = broken || data[-static_cast<std::ptrdiff_t>(i)] != guard;
      for (std::uintptr_t at = zone->begin + zone->bytes; at < end; ++at)
        // NOLINTNEXTLINE(performance-no-int-to-ptr): addresses are what this is about
        broken = broken || *reinterpret_cast<const unsigned char*>(at) != guard;
      if (broken) names += (names.empty() ? "" : ", ") + zone->name;
    }
    return names;
  }

  /// From here on, what a grid did has happened.
  void end_grid() {
    for (const auto& zone : zones_)
      for (byte_state& state : zone->states) state.lane = byte_state::nobody, state.readers = 0;
    readers_ = reader_pool();
  }

  /// A load or store: adds what is wrong with it to `faults`, and remembers it. False when not all of it lies in the
  /// buffer. `values`: never written bytes are a fault of loads. `adds`: a store that is an addition as well, which
  /// does not race with others.
  bool access(memory_zone& zone, std::uintptr_t address, std::size_t bytes, bool stores, bool values,
              const accessor& who, fault_list& faults, bool adds = false) {
    if (!inside(zone, address, bytes, stores, who, faults)) return false;
    const std::size_t offset = address - zone.begin;
    if (zone.use == memory_use::input) {
      if (stores) faults.add(describe(fault_kind::read_only, zone, offset, bytes, stores, who));
      return true;
    }
    bool said = false;  // one fault for an access is enough
    for (std::size_t i = offset; i < offset + bytes; ++i) {
      byte_state& state = zone.states[i];
      if (!said) said = check(zone, state, i, bytes, stores, values, who, faults, adds);
      if (stores) {
        state.block = who.block;
        state.clock = who.time->clock;
        state.lane = static_cast<std::int16_t>(who.lane);
        state.readers = 0;
        state.written = true;
        state.under_way = false;
        state.added = adds;
      } else {
        state.readers = readers_.add(state.readers, who);
      }
    }
    return true;
  }

  /// An asynchronous copy to these bytes begins: a store that has not happened yet.
  bool begin_copy(memory_zone& zone, std::uintptr_t address, std::size_t bytes, const accessor& who,
                  fault_list& faults) {
    if (!access(zone, address, bytes, true, false, who, faults)) return false;
    for (std::size_t i = address - zone.begin; i < address - zone.begin + bytes; ++i) zone.states[i].under_way = true;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): addresses are what this is about
    std::memset(reinterpret_cast<void*>(address), poison, bytes);
    return true;
  }
  /// It lands, as far as `who` can tell.
  void end_copy(memory_zone& zone, std::uintptr_t address, std::size_t bytes, const accessor& who) {
    for (std::size_t i = address - zone.begin; i < address - zone.begin + bytes; ++i) {
      byte_state& state = zone.states[i];
      state.under_way = false;
      state.block = who.block;
      state.lane = static_cast<std::int16_t>(who.lane);
      state.clock = who.time->clock;
    }
  }

  bool inside(const memory_zone& zone, std::uintptr_t address, std::size_t bytes, bool stores, const accessor& who,
              fault_list& faults) const {
    if (address >= zone.begin && address + bytes <= zone.begin + zone.bytes) return true;
    fault found = describe(fault_kind::out_of_bounds, zone, 0, bytes, stores, who);
    const auto first = static_cast<std::int64_t>(address) - static_cast<std::int64_t>(zone.begin);
    found.byte = first < 0                                       ? first
                 : first > static_cast<std::int64_t>(zone.bytes) ? first
                                                                 : static_cast<std::int64_t>(zone.bytes);
    found.detail = "it has " + std::to_string(zone.bytes) + " bytes";
    faults.add(std::move(found));
    return false;
  }

  static fault describe(fault_kind kind, const memory_zone& zone, std::size_t byte, std::size_t bytes, bool stores,
                        const accessor& who) {
    return {.kind = kind,
            .by = {who.block, who.lane},
            .stores = stores,
            .other = {},
            .other_stores = false,
            .memory = zone.name,
            .byte = static_cast<std::int64_t>(byte),
            .bytes = static_cast<std::int64_t>(bytes),
            .detail = {}};
  }

 private:
  static constexpr unsigned char guard = 0xA5;

  bool check(const memory_zone& zone, const byte_state& state, std::size_t byte, std::size_t bytes, bool stores,
             bool values, const accessor& who, fault_list& faults, bool adds) const {
    const auto race = [&](std::uint32_t block, int lane, bool other_stores) {
      fault found = describe(fault_kind::race, zone, byte, bytes, stores, who);
      found.other = {block, lane};
      found.other_stores = other_stores;
      faults.add(std::move(found));
      return true;
    };
    if (state.under_way) {
      faults.add(describe(fault_kind::copy_under_way, zone, byte, bytes, stores, who));
      return true;
    }
    if ((!stores || adds) && values && !state.written) {
      faults.add(describe(fault_kind::never_written, zone, byte, bytes, stores, who));
      return true;
    }
    const bool any_block = zone.use == memory_use::flags;
    if (state.lane != byte_state::nobody && !(any_block && state.block != who.block) && !(adds && state.added) &&
        !who.time->knows(who.block, who.lane, state.block, state.lane, state.clock))
      return race(state.block, state.lane, true);
    if (!stores) return false;
    for (std::uint32_t at = state.readers; at != 0; at = readers_[at].before) {
      const reader_pool::reader& reader = readers_[at];
      if (any_block && reader.block != who.block) continue;
      if (!who.time->knows(who.block, who.lane, reader.block, reader.lane, reader.clock))
        return race(reader.block, reader.lane, false);
    }
    return false;
  }

  struct release {
    void operator()(std::byte* arena) const noexcept { std::free(arena); }
  };
  std::size_t bytes_;
  std::unique_ptr<std::byte, release> arena_;
  std::vector<std::uint16_t> zone_of_page_;  // index + 1, 0 = none
  std::vector<std::unique_ptr<memory_zone>> zones_;
  std::size_t next_page_ = 0;
  reader_pool readers_;
};

}  // namespace tilefit::inline v0::simt
