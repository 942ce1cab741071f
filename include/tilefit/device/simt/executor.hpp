// L4: runs a grid of a kernel on the CPU, lane by lane, and says what is wrong with it.
// Knows: blocks side by side, their order, what their lanes ask for (machine.hpp).
// Must not know: kernels, instructions.
// Kernels are compiled with -fsanitize=thread,alignment and without their libraries: the loads and stores that the
// compiler then announces end up here (hooks.hpp). This header belongs into code that is compiled without it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "block.hpp"
#include "hooks.hpp"

namespace tilefit::inline v0::simt {

struct grid_result {
  fault_list faults;
  grid_counts counts;
  bool right() const noexcept { return faults.count == 0; }
};

class executor final : public machine {
 public:
  explicit executor(memory& where) : memory_(where) {}

  /// kernel(arguments...) for every lane of the grid. Never throws for what the kernel does wrong.
  template <class... Parameters>
  grid_result run(const grid_geometry& geometry, const grid_options& options, void (*kernel)(Parameters...),
                  const std::type_identity_t<Parameters>&... arguments) {
    return run_lanes(geometry, options, [&] { kernel(arguments...); });
  }

  grid_result run_lanes(const grid_geometry& geometry, const grid_options& options,
                        const std::function<void()>& kernel) {
    grid_result result;
    result.faults.most = options.most_faults;
    options_ = options;
    std::mt19937_64 random(options.seed);
    std::mt19937_64* const shuffles = options.seed == 0 ? nullptr : &random;
    std::vector<unsigned> numbers(std::size_t{geometry.grid} * geometry.grid_y * geometry.grid_z);
    std::iota(numbers.begin(), numbers.end(), 0u);
    if (shuffles != nullptr) std::shuffle(numbers.begin(), numbers.end(), random);
    const std::size_t buffers = memory_.size();
    {
      std::vector<std::unique_ptr<block_run>> blocks;
      std::size_t next = 0;
      for (; next < numbers.size() && static_cast<int>(next) < options.blocks_at_once; ++next) {
        blocks.push_back(std::make_unique<block_run>(memory_, options, geometry));
        blocks.back()->start(numbers[next], kernel, *this);
      }
      while (!blocks.empty()) {
        const std::size_t at = shuffles != nullptr ? random() % blocks.size() : 0;
        block_ = blocks[at].get();
        if (!step(shuffles, result.faults) && !block_->ended()) block_->give_up(result.faults);
        if (!block_->ended()) continue;
        if (next < numbers.size()) {
          block_->start(numbers[next++], kernel, *this);
        } else {
          add_counts(result.counts, block_->counts());
          blocks.erase(blocks.begin() + static_cast<std::ptrdiff_t>(at));
        }
      }
    }
    block_ = nullptr;
    memory_.keep(buffers);
    memory_.end_grid();
    counters_.clear();
    if (const std::string names = memory_.broken_guards(); !names.empty()) {
      fault found;
      found.kind = fault_kind::out_of_bounds;
      found.detail = "bytes were changed beside " + names;
      result.faults.add(std::move(found));
    }
    return result;
  }

  // --- what lanes ask for ---

  void meet(const char* what, std::uint64_t mask, void* argument, warp_act act, const site& where) override {
    now = {};
    block_run& block = *block_;
    block.meet(what, mask, argument, act, false, where);
    block.enter();
  }
  void sync_warp(std::uint64_t mask, const site& where) override {
    now = {};
    block_run& block = *block_;
    block.meet("a warp's barrier", mask, nullptr, nullptr, true, where);
    block.enter();
  }
  bool barrier(int id, int threads, bool mine, const site& where) override {
    now = {};
    block_run& block = *block_;
    const bool any = block.barrier(id, threads, mine, where);
    block.enter();
    return any;
  }
  int warp_size() const noexcept override { return options_.warp_size; }
  int lane_of_warp() const noexcept override { return block_->lane_of_warp(); }

  std::byte* shared_memory() noexcept override { return block_->shared().data(); }
  std::uint32_t shared_address(const void* pointer) override {
    return static_cast<std::uint32_t>(static_cast<const std::byte*>(pointer) - block_->shared().data()) +
           block_->window();
  }
  const std::byte* read_shared(int lane, std::uint32_t address, int bytes, read_kind kind) override {
    static constexpr auto nothing = [] {
      struct {
        alignas(64) unsigned char bytes[64];
      } all{};
      for (unsigned char& byte : all.bytes) byte = memory::poison;
      return all;
    }();
    const std::byte* const from = block_->in_shared(address);
    const auto at = reinterpret_cast<std::uintptr_t>(from);
    const accessor who = block_->who(block_->of_warp(lane));
    const auto size = static_cast<std::size_t>(bytes);
    if (at % size != 0)
      block_->faults().add(
          memory::describe(fault_kind::misaligned, block_->shared(), at - block_->shared().begin, size, false, who));
    const bool there = memory_.access(block_->shared(), at, size, false,
                                      kind == read_kind::value || options_.strict_matrix, who, block_->faults());
    return there ? from : reinterpret_cast<const std::byte*>(nothing.bytes);
  }

  void access(const void* address, std::size_t bytes, bool stores, std::size_t alignment) override {
    const running_lane lane = std::exchange(now, {});
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    if (memory_zone* const zone = memory_.zone_at(at); zone != nullptr) {
      const accessor who = block_->who(block_->current());
      if (at % alignment != 0)
        block_->faults().add(memory::describe(fault_kind::misaligned, *zone, at - zone->begin, bytes, stores, who));
      if (zone->owner != nullptr && zone->owner != block_)
        elsewhere(at, bytes, stores, "shared memory of another block");
      else
        memory_.access(*zone, at, bytes, stores, true, who, block_->faults());
    } else if (stores || at < lowest_address || memory_.in_arena(at)) {
      elsewhere(at, bytes, stores, "memory that was never given to the kernel");
      stop_here();
    }
    now = lane;
  }

  void misaligned(const void* pointer, std::size_t alignment, bool stores, const char* file, unsigned line) override {
    const running_lane lane = std::exchange(now, {});
    const auto at = reinterpret_cast<std::uintptr_t>(pointer);
    fault found;
    found.kind = fault_kind::misaligned;
    found.by = {block_->number(), block_->current()};
    found.stores = stores;
    found.bytes = static_cast<std::int64_t>(alignment);
    if (const memory_zone* const zone = memory_.zone_at(at); zone != nullptr) {
      found.memory = zone->name;
      found.byte = static_cast<std::int64_t>(at) - static_cast<std::int64_t>(zone->begin);
    }
    const std::string name = file;
    found.detail = name.substr(name.rfind('/') + 1) + ":" + std::to_string(line);
    block_->faults().add(std::move(found));
    now = lane;
  }

  std::uint32_t count(std::uint32_t* counter, std::uint32_t last, bool ordered) override {
    const running_lane lane = std::exchange(now, {});
    const auto at = reinterpret_cast<std::uintptr_t>(counter);
    memory_zone* const zone = memory_.zone_at(at);
    std::uint32_t before = 0;
    if (zone == nullptr || !memory_.inside(*zone, at, 4, true, block_->who(block_->current()), block_->faults())) {
      if (zone == nullptr) elsewhere(at, 4, true, "memory that was never given to the kernel");
    } else {
      before = *counter;
      *counter = before >= last ? 0 : before + 1;
      if (ordered) counters_[counter].acquire_and_release(block_->number(), block_->current(), block_->time());
    }
    now = lane;
    return before;
  }

  void add(std::int32_t* sum, std::int32_t value) override {
    const running_lane lane = std::exchange(now, {});
    const auto at = reinterpret_cast<std::uintptr_t>(sum);
    if (memory_zone* const zone = memory_.zone_at(at); zone == nullptr)
      elsewhere(at, 4, true, "memory that was never given to the kernel");
    else if (memory_.access(*zone, at, 4, true, true, block_->who(block_->current()), block_->faults(), true))
      *sum += value;
    now = lane;
  }

  void copy_async(std::uint32_t to, const void* from, int bytes) override {
    const running_lane lane = std::exchange(now, {});
    if (from == nullptr || readable(block_->current(), from, bytes))
      block_->copy_of_lane({block_->in_shared(to), from, bytes, block_->current(), bytes});
    now = lane;
  }
  void commit_copies() override {
    const running_lane lane = std::exchange(now, {});
    block_->commit();
    now = lane;
  }
  void wait_copies(int pending) override {
    const running_lane lane = std::exchange(now, {});
    block_->wait_groups(pending);
    now = lane;
  }
  void count_load() override {
    const running_lane lane = std::exchange(now, {});
    block_->count_load();
    now = lane;
  }
  void load_to_shared(int lane, std::byte* to, int bytes, const void* from, int from_bytes) override {
    const int number = block_->of_warp(lane);
    if (from == nullptr || readable(number, from, from_bytes))
      block_->load_of_lane({to, from, bytes, number, from_bytes});
  }
  void wait_loads(int pending) override { block_->wait_loads_of_warp(pending); }
  void disagree(const char* about) override { block_->disagree(about); }
  std::byte* shared_array(const void* name, std::size_t bytes, std::size_t alignment) override {
    const running_lane lane = std::exchange(now, {});
    std::byte* const array = block_->shared_array(name, bytes, alignment);
    now = lane;
    return array;
  }

  bool sabotaged(sabotage_kind kind) const noexcept override { return options_.mistake.kind == kind; }

 private:
  static constexpr std::uintptr_t lowest_address = 65'536;

  /// Lets one warp of the block go on.
  bool step(std::mt19937_64* shuffles, fault_list& faults) {
    const int warps = block_->warps();
    const int first = shuffles != nullptr ? static_cast<int>((*shuffles)() % static_cast<unsigned>(warps)) : 0;
    bool any = false;
    for (int i = 0; i < warps; ++i) {
      if (!block_->step((first + i) % warps, shuffles, faults)) continue;
      any = true;
      if (shuffles != nullptr) break;
    }
    return any;
  }

  bool readable(int lane, const void* from, int bytes) {
    const auto at = reinterpret_cast<std::uintptr_t>(from);
    const auto size = static_cast<std::size_t>(bytes);
    if (memory_zone* const zone = memory_.zone_at(at); zone != nullptr)
      return memory_.access(*zone, at, size, false, true, block_->who(lane), block_->faults());
    elsewhere(at, size, false, "memory that was never given to the kernel");
    return false;
  }

  void elsewhere(std::uintptr_t, std::size_t bytes, bool stores, const char* what) {
    fault found;
    found.kind = fault_kind::out_of_bounds;
    found.by = {block_->number(), block_->current()};
    found.stores = stores;
    found.memory = what;
    found.bytes = static_cast<std::int64_t>(bytes);
    block_->faults().add(std::move(found));
  }
  /// What the lane is about to do would do harm: its block ends here.
  void stop_here() { block_->stop_current(); }

  static void add_counts(grid_counts& to, const grid_counts& from) {
    to.barriers = std::max(to.barriers, from.barriers);
    to.waits = std::max(to.waits, from.waits);
    to.warp_syncs = std::max(to.warp_syncs, from.warp_syncs);
    to.meetings += from.meetings;
  }

  memory& memory_;
  grid_options options_;
  block_run* block_ = nullptr;
  std::unordered_map<const std::uint32_t*, release_point> counters_;
};

}  // namespace tilefit::inline v0::simt
