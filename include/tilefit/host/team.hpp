// L6: threads that share one call.
// Knows: starting, meeting and ending them.
// Must not know: what they work on.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>

#include "../detail/config.hpp"

namespace tilefit::inline v0::detail {

inline constexpr int max_team_size = 256;

/// What the members of a team see: work is dealt with `next`, phases are separated with `meet`.
class team {
 public:
  /// Waits until all members are here. Everything written before is visible to all afterwards.
  void meet() noexcept {
    const int phase = phase_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_.load(std::memory_order_relaxed)) {
      arrived_.store(0, std::memory_order_relaxed);
      phase_.fetch_add(1, std::memory_order_acq_rel);
      phase_.notify_all();
    } else {
      while (phase_.load(std::memory_order_acquire) == phase) phase_.wait(phase, std::memory_order_acquire);
    }
  }

  /// The next number of counter `which` (0 or 1), from 0 on.
  std::int64_t next(int which) noexcept {
    return next_[static_cast<std::size_t>(which)].fetch_add(1, std::memory_order_relaxed);
  }

  /// Calls work(*this, member) on up to `size` threads at once, this one included, and returns when all are done.
  /// Threads that the system refuses are done without: work must be complete with any number of members.
  template <class Work>
  void run(int size, Work& work) noexcept {
    std::array<std::thread, max_team_size> threads;
    int members = 1;
    for (bool more = true; more && members < size;) {
      TILEFIT_TRY {
        threads[static_cast<std::size_t>(members)] = std::thread([this, &work, members] {
          size_.wait(0, std::memory_order_acquire);
          work(*this, members);
        });
        ++members;
      }
      TILEFIT_CATCH { more = false; }
    }
    size_.store(members, std::memory_order_release);
    size_.notify_all();
    work(*this, 0);
    for (int i = 1; i < members; ++i) threads[static_cast<std::size_t>(i)].join();
  }

 private:
  std::atomic<int> size_{0};
  std::atomic<int> arrived_{0};
  std::atomic<int> phase_{0};
  std::array<std::atomic<std::int64_t>, 2> next_{};
};

/// Threads to use for a wish: 0 = all of the machine.
inline int team_size(int wished) noexcept {
  // The machine is asked only when it has to be: that may read a file.
  const int size = wished > 0 ? wished : static_cast<int>(std::thread::hardware_concurrency());
  return size < 1 ? 1 : size > max_team_size ? max_team_size : size;
}

}  // namespace tilefit::inline v0::detail
