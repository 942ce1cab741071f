// L4: what kernel code can ask of the executor that runs it: the interface between code that is compiled with
// instrumentation (kernels) and code that is not (the executor).
// Knows: lanes, warps, barriers, shared memory, asynchronous copies, as a kernel sees them.
// Must not know: how they are run. Executor: executor.hpp; instructions: cuda_ops.hpp, amd_ops.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tilefit::inline v0 {

/// As in CUDA and HIP. Set by the executor whenever a lane goes on.
struct grid_place {
  unsigned x = 0, y = 0, z = 0;
};
// NOLINTBEGIN(readability-identifier-naming)
inline thread_local constinit grid_place threadIdx;
inline thread_local constinit grid_place blockIdx;
inline thread_local constinit grid_place blockDim;
inline thread_local constinit grid_place gridDim;
// NOLINTEND(readability-identifier-naming)

namespace simt {

/// Where in the source a lane is. (clang 14 does not know std::source_location.)
struct site {
  const char* file = "";
  unsigned line = 0;

  /// As a default argument: where the function is called.
  static constexpr site current(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) noexcept {
    return {file, line};
  }
};

class machine;

/// What the lanes of a warp do together once all are there. `arguments[i]`: of lane i of the warp; null when the mask
/// leaves it out.
using warp_act = void (*)(machine&, void* const* arguments);

/// How a model reads shared memory.
enum class read_kind : std::uint8_t {
  value,   ///< what is read counts: never written bytes are a fault
  matrix,  ///< for a matrix instruction, where rows that nobody asks for may be anything. Never written bytes are NaN.
};

/// Mistakes that the executor makes on purpose, so that tests see them found.
enum class sabotage_kind : std::uint8_t {
  none,
  skip_barrier,   ///< no lane waits at its barrier number `index`
  skip_wait,      ///< no lane waits at its wait for copies number `index`
  rotate_lanes,   ///< matrix loads give every lane what its neighbour should have
  skip_warp_sync  ///< lanes do not order their memory accesses at a warp's synchronisation number `index`
};
struct sabotage {
  sabotage_kind kind = sabotage_kind::none;
  int index = 0;
};

/// One for a run of a grid; all calls are about the lane that calls.
class machine {
 public:
  // --- meetings ---

  /// Waits until all lanes of the warp in `mask` are here, lets `act` happen once, and goes on. Orders no memory.
  virtual void meet(const char* what, std::uint64_t mask, void* argument, warp_act act, const site& where) = 0;
  /// Like it; what lanes of the mask did comes before what they do.
  virtual void sync_warp(std::uint64_t mask, const site& where) = 0;
  /// Waits until `threads` lanes of the block (0 = all) are at barrier `id`. True when `mine` is for any of them.
  virtual bool barrier(int id, int threads, bool mine, const site& where) = 0;
  virtual int warp_size() const noexcept = 0;
  virtual int lane_of_warp() const noexcept = 0;

  // --- memory ---

  /// First byte of the block's shared memory, at a multiple of 1,024 bytes.
  virtual std::byte* shared_memory() noexcept = 0;
  /// A block's array of shared memory that goes by the name `name`, of `bytes`: one behind the other, as they are asked
  /// for first.
  virtual std::byte* shared_array(const void* name, std::size_t bytes, std::size_t alignment) = 0;
  /// Address in the shared window.
  virtual std::uint32_t shared_address(const void* pointer) = 0;
  /// Bytes of shared memory that lane `lane` of the warp reads in a meeting. What comes back is always readable.
  virtual const std::byte* read_shared(int lane, std::uint32_t address, int bytes, read_kind kind) = 0;
  /// The calling lane uses a pointer that is no multiple of `alignment`.
  virtual void misaligned(const void* pointer, std::size_t alignment, bool stores, const char* file, unsigned line) = 0;
  /// A load or store of the calling lane that the compiler or a model announces. `alignment`: 1 = any.
  virtual void access(const void* address, std::size_t bytes, bool stores, std::size_t alignment) = 0;
  /// Adds 1 to a counter, or sets it to 0 when it is `last`; the value before. `ordered`: acquire and release.
  virtual std::uint32_t count(std::uint32_t* counter, std::uint32_t last, bool ordered) = 0;
  /// Adds to a number that other lanes add to as well. Orders nothing.
  virtual void add(std::int32_t* sum, std::int32_t value) = 0;

  // --- asynchronous copies: they land no sooner than at the wait that covers them ---

  /// Of the calling lane, `bytes` to `to`; zeros when `from` is null.
  virtual void copy_async(std::uint32_t to, const void* from, int bytes) = 0;
  /// Closes the lane's group of copies.
  virtual void commit_copies() = 0;
  /// Waits until at most `pending` of the lane's groups are under way.
  virtual void wait_copies(int pending) = 0;

  // --- loads that AMD's waves count, and wait for in the order in which they were asked for ---

  /// The calling lane's load into registers: it counts.
  virtual void count_load() = 0;
  /// In a meeting, of lane `lane` of the warp: `from_bytes` straight into `bytes` of shared memory, of which the rest
  /// becomes zeros; all of it when `from` is null. It counts.
  virtual void load_to_shared(int lane, std::byte* to, int bytes, const void* from, int from_bytes) = 0;
  /// In a meeting: from here on at most `pending` loads of each lane of the warp are under way.
  virtual void wait_loads(int pending) = 0;

  /// The running lane's warp disagrees about something that must be the same in all its lanes.
  virtual void disagree(const char* about) = 0;
  virtual bool sabotaged(sabotage_kind kind) const noexcept = 0;

 protected:
  ~machine() = default;
};

/// The machine whose lane is running, what the instrumentation of a load or store looks at first. `running` is null
/// while the executor itself is at work.
struct running_lane {
  machine* running = nullptr;
  std::uintptr_t stack = 0;  ///< the lane's own: accesses to it are nobody's business
  std::size_t stack_bytes = 0;
};
inline thread_local constinit running_lane now;

/// A meeting of whole warps with an argument that `act` may write results to.
template <class Argument>
inline void meet_all(const char* what, Argument& argument, warp_act act, const site& where) {
  machine& m = *now.running;
  m.meet(what, m.warp_size() == 64 ? ~std::uint64_t{0} : 0xFFFF'FFFFu, &argument, act, where);
}

}  // namespace simt
}  // namespace tilefit::inline v0
