// L4: one block of a grid on the CPU: its lanes, where they stand, what they wait for.
// Knows: meetings of warps, barriers, copies under way, and who may go on.
// Must not know: which block runs next, what a kernel computes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "clocks.hpp"
#include "fault.hpp"
#include "lane.hpp"
#include "machine.hpp"
#include "memory.hpp"

namespace tilefit::inline v0::simt {

class block_run {
 public:
  /// Shared memory is the newest buffer of `where`.
  block_run(memory& where, const grid_options& options, const grid_geometry& geometry)
      : memory_(where), options_(options), geometry_(geometry) {
    // 1,024 is the alignment of whatever a kernel may want; the size is to the byte.
    memory_.take(geometry.shared_bytes, "shared memory", memory_use::scratch);
    shared_ = &memory_.newest();
    shared_->owner = this;
    times_.resize(geometry.block);
    for (unsigned lane = 0; lane < geometry.block; ++lane) lanes_.emplace_back(options.stack_bytes);
  }

  /// Begins with block `number`.
  void start(unsigned number, const std::function<void()>& kernel, machine& host) {
    number_ = number;
    kernel_ = &kernel;
    host_ = &host;
    auto nothing = std::make_shared<knowledge>();
    nothing->lanes.assign(geometry_.block, 0);
    for (lane_time& time : times_) time = {.clock = 1, .known = nothing};
    byte_state unknown;
    unknown.written = false;
    shared_->states.assign(shared_->bytes, unknown);
    std::memset(shared_->data(), memory::poison, shared_->bytes);
    barriers_.clear();
    arrays_.clear();
    next_array_ = 0;
    for (lane_state& lane : lanes_) {
      lane.doing = lane_doing::ready;
      lane.open.clear();
      lane.groups.clear();
      lane.loads.clear();
      lane.interval = 0;
      lane.passed = {};
      lane.context.start(run_kernel, this);
    }
    alive_ = static_cast<int>(geometry_.block);
  }

  bool ended() const noexcept { return alive_ == 0; }
  unsigned number() const noexcept { return number_; }
  const grid_counts& counts() const noexcept { return counts_; }

  /// Lets every lane of warp `warp` that can go on do so, until it waits. False when there is none.
  bool step(int warp, std::mt19937_64* random, fault_list& faults) {
    faults_ = &faults;
    const int size = options_.warp_size;
    const int first = warp * size;
    const int end = std::min(first + size, static_cast<int>(lanes_.size()));
    order_.clear();
    for (int lane = first; lane < end; ++lane)
      if (at(lane).doing == lane_doing::ready) order_.push_back(lane);
    if (order_.empty()) return false;
    if (random != nullptr) std::shuffle(order_.begin(), order_.end(), *random);
    for (const int lane : order_) {
      current_ = lane;
      const bool ended = go_on(at(lane));
      if (alive_ == 0) break;  // given up
      if (!ended) continue;
      at(lane).doing = lane_doing::ended;
      --alive_;
    }
    return true;
  }
  int warps() const noexcept { return (static_cast<int>(lanes_.size()) + options_.warp_size - 1) / options_.warp_size; }

  /// Nobody can go on and not all have ended: says who waits where, and gives the block up.
  void give_up(fault_list& faults) {
    fault found;
    found.kind = fault_kind::divergence;
    found.by = {number_, -1};
    std::map<std::string, std::vector<int>> groups;
    for (int lane = 0; lane < static_cast<int>(lanes_.size()); ++lane) groups[where_is(at(lane))].push_back(lane);
    for (const auto& [where, who] : groups) {
      if (!found.detail.empty()) found.detail += "; ";
      found.detail += "lanes " + lanes_text(who) + " " + where;
    }
    faults.add(std::move(found));
    abandon();
  }
  void abandon() { alive_ = 0; }
  /// The running lane must not go on, and so nobody can: does not return.
  [[noreturn]] void stop_current() {
    abandon();
    for (;;) at(current_).context.stop();
  }

  // --- what the running lane asks for ---

  int current() const noexcept { return current_; }
  int lane_of_warp() const noexcept { return current_ % options_.warp_size; }
  memory_zone& shared() noexcept { return *shared_; }

  accessor who(int lane) const {
    return {.block = number_,
            .lane = lane,
            .time = &times_[static_cast<std::size_t>(lane)],
            .interval = lanes_[static_cast<std::size_t>(lane)].interval};
  }
  /// Lane `lane` of the running lane's warp.
  int of_warp(int lane) const noexcept { return current_ / options_.warp_size * options_.warp_size + lane; }

  void meet(const char* what, std::uint64_t mask, void* argument, warp_act act, bool orders, const site& where) {
    lane_state& me = at(current_);
    int skipped = -1;
    if (orders) skipped = me.passed.warp_syncs++;
    me.waits = {.what = what, .mask = mask, .argument = argument, .id = 0, .threads = 0, .mine = false, .where = where};
    me.doing = lane_doing::in_warp;
    if ((mask >> lane_of_warp() & 1) == 0) {
      disagree(me, "a lane meets others with a mask that leaves it out");
      me.waits.mask = mask | std::uint64_t{1} << lane_of_warp();
    }
    const int first = of_warp(0);
    std::vector<int>& who = who_;
    who.clear();
    void* arguments[64] = {};
    for (int i = 0; i < options_.warp_size; ++i) {
      if ((me.waits.mask >> i & 1) == 0) continue;
      const int lane = first + i;
      if (lane >= static_cast<int>(lanes_.size())) continue;
      const lane_state& other = at(lane);
      if (other.doing != lane_doing::in_warp || other.waits.mask != me.waits.mask) return wait(me);
      arguments[i] = other.waits.argument;
      who.push_back(lane);
    }
    for (const int lane : who) {
      const waiting& other = at(lane).waits;
      if (!same_place(other, me.waits) || std::strcmp(other.what, what) != 0) {
        disagree(at(lane), std::string("lanes of a warp meet at different places: ") + place_of(other) + " and " +
                               place_of(me.waits));
        break;
      }
    }
    ++counts_.meetings;
    if (act != nullptr) act(*host_, arguments);
    if (orders && !is_mistake(sabotage_kind::skip_warp_sync, skipped)) simt::meet(times_, who);
    for (const int lane : who) at(lane).doing = lane_doing::ready;
    me.doing = lane_doing::running;
  }

  bool barrier(int id, int threads, bool mine, const site& where) {
    lane_state& me = at(current_);
    const int number = me.passed.barriers++;
    if (is_mistake(sabotage_kind::skip_barrier, number)) return mine;
    if (threads == 0) threads = static_cast<int>(lanes_.size());
    barrier_state& here = barriers_[id];
    me.waits = {.what = "a barrier",
                .mask = 0,
                .argument = nullptr,
                .id = id,
                .threads = threads,
                .mine = mine,
                .where = where};
    me.doing = lane_doing::at_barrier;
    if (!here.lanes.empty() && at(here.lanes.front()).waits.threads != threads)
      disagree(me, "barrier " + std::to_string(id) + " is for " + std::to_string(at(here.lanes.front()).waits.threads) +
                       " lanes and for " + std::to_string(threads));
    here.any = here.any || mine;
    here.lanes.push_back(current_);
    if (static_cast<int>(here.lanes.size()) < at(here.lanes.front()).waits.threads) {
      wait(me);
      return me.waits.mine;
    }
    // The last one opens it.
    std::vector<int> who = std::move(here.lanes);
    const bool any = here.any;
    here = {};
    for (std::size_t i = 0; i < who.size(); ++i) {
      const lane_state& one = at(who[i]);
      const lane_state& other = at(first_of_warp(who, who[i]));
      if (!same_place(one.waits, other.waits)) {
        disagree(one,
                 "lanes of a warp are at different barriers: " + place_of(one.waits) + " and " + place_of(other.waits));
        break;
      }
    }
    simt::meet(times_, who);
    for (const int lane : who) {
      lane_state& one = at(lane);
      one.waits.mine = any;
      one.doing = lane_doing::ready;
      if (who.size() == lanes_.size()) ++one.interval;
    }
    me.doing = lane_doing::running;
    return any;
  }

  // --- copies ---

  std::uint32_t window() const noexcept { return shared_window; }
  std::byte* in_shared(std::uint32_t address) const noexcept { return shared_->data() + address - shared_window; }

  /// A copy of lane `lane` begins; false when it cannot.
  bool begin_copy(const pending_copy& copy) {
    const auto to = reinterpret_cast<std::uintptr_t>(copy.to);
    const accessor by = who(copy.lane);
    if (to % static_cast<unsigned>(copy.bytes) != 0 ||
        reinterpret_cast<std::uintptr_t>(copy.from) % static_cast<unsigned>(copy.from_bytes) != 0) {
      faults_->add(memory::describe(fault_kind::misaligned, *shared_, to - shared_->begin,
                                    static_cast<std::size_t>(copy.bytes), true, by));
      return false;
    }
    return memory_.begin_copy(*shared_, to, static_cast<std::size_t>(copy.bytes), by, *faults_);
  }
  void land(const pending_copy& copy) {
    const auto bytes = static_cast<std::size_t>(copy.bytes);
    std::memset(copy.to, 0, bytes);
    if (copy.from != nullptr) std::memcpy(copy.to, copy.from, static_cast<std::size_t>(copy.from_bytes));
    memory_.end_copy(*shared_, reinterpret_cast<std::uintptr_t>(copy.to), bytes, who(copy.lane));
  }
  void copy_of_lane(const pending_copy& copy) {
    if (begin_copy(copy)) at(current_).open.push_back(copy);
  }
  void commit() {
    lane_state& me = at(current_);
    me.groups.push_back(std::move(me.open));
    me.open.clear();
  }
  void wait_groups(int pending) {
    lane_state& me = at(current_);
    if (is_mistake(sabotage_kind::skip_wait, me.passed.waits++)) return;
    while (static_cast<int>(me.groups.size()) > pending) {
      for (const pending_copy& copy : me.groups.front()) land(copy);
      me.groups.pop_front();
    }
  }
  void count_load() { at(current_).loads.emplace_back(); }
  void load_of_lane(const pending_copy& copy) {
    if (begin_copy(copy)) at(copy.lane).loads.push_back(copy);
  }
  void wait_loads_of_warp(int pending) {
    const int first = of_warp(0);
    for (int lane = first; lane < first + options_.warp_size && lane < static_cast<int>(lanes_.size()); ++lane) {
      lane_state& one = at(lane);
      if (is_mistake(sabotage_kind::skip_wait, one.passed.waits++)) continue;
      while (static_cast<int>(one.loads.size()) > pending) {
        if (one.loads.front().to != nullptr) land(one.loads.front());
        one.loads.pop_front();
      }
    }
  }

  std::byte* shared_array(const void* name, std::size_t bytes, std::size_t alignment) {
    const std::size_t place = (next_array_ + alignment - 1) / alignment * alignment;
    const auto [array, is_new] = arrays_.try_emplace(name, place);
    if (is_new) next_array_ = place + bytes;
    return shared_->data() + array->second;
  }

  void disagree(std::string how) { disagree(at(current_), std::move(how)); }
  lane_time& time() noexcept { return times_[static_cast<std::size_t>(current_)]; }
  fault_list& faults() noexcept { return *faults_; }

 private:
  static constexpr std::uint32_t shared_window = 1024;  ///< CUDA's first KiB of shared memory is the system's

  struct barrier_state {
    std::vector<int> lanes;
    bool any = false;
  };

  lane_state& at(int lane) noexcept { return lanes_[static_cast<std::size_t>(lane)]; }

  static void run_kernel(void* block) {
    auto& self = *static_cast<block_run*>(block);
    const std::function<void()>& kernel = *self.kernel_;
    self.enter();
    kernel();
    now = {};
    const lane_state& me = self.at(self.current_);
    self.counts_.barriers = std::max(self.counts_.barriers, me.passed.barriers);
    self.counts_.waits = std::max(self.counts_.waits, me.passed.waits);
    self.counts_.warp_syncs = std::max(self.counts_.warp_syncs, me.passed.warp_syncs);
  }

  bool go_on(lane_state& lane) {
    lane.doing = lane_doing::running;
    const bool ended = lane.context.resume();
    now = {};
    return ended;
  }
  /// The running lane stops until somebody makes it ready again.
  void wait(lane_state& me) { me.context.stop(); }

 public:
  /// Everything that kernel code looks at is about the running lane again.
  void enter() noexcept {
    threadIdx = {static_cast<unsigned>(current_), 0, 0};
    blockIdx = {number_ % geometry_.grid, number_ / geometry_.grid % geometry_.grid_y,
                number_ / geometry_.grid / geometry_.grid_y};
    blockDim = {geometry_.block, 1, 1};
    gridDim = {geometry_.grid, geometry_.grid_y, geometry_.grid_z};
    const fiber& context = at(current_).context;
    now = {.running = host_, .stack = context.stack(), .stack_bytes = context.stack_bytes()};
  }

 private:
  bool is_mistake(sabotage_kind kind, int number) const noexcept {
    return options_.mistake.kind == kind && options_.mistake.index == number;
  }

  int first_of_warp(const std::vector<int>& who, int lane) const {
    int first = lane;
    for (const int other : who)
      if (other / options_.warp_size == lane / options_.warp_size && other < first) first = other;
    return first;
  }
  void disagree(const lane_state& lane, std::string how) {
    fault found;
    found.kind = fault_kind::wrong_arguments;
    found.by = {number_, static_cast<int>(&lane - lanes_.data())};
    found.detail = std::move(how);
    faults_->add(std::move(found));
  }

  memory& memory_;
  grid_options options_;
  grid_geometry geometry_;
  memory_zone* shared_ = nullptr;
  unsigned number_ = 0;
  const std::function<void()>* kernel_ = nullptr;
  machine* host_ = nullptr;
  fault_list* faults_ = nullptr;
  std::vector<lane_state> lanes_;
  std::vector<lane_time> times_;
  std::map<const void*, std::size_t> arrays_;  // of shared memory, by name
  std::size_t next_array_ = 0;
  std::map<int, barrier_state> barriers_;
  std::vector<int> order_, who_;
  int alive_ = 0;
  int current_ = 0;
  grid_counts counts_;
};

}  // namespace tilefit::inline v0::simt
