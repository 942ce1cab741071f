// L4: where a compiler's announcements of loads and stores arrive.
// Knows: the functions that code compiled with -fsanitize=thread calls (GCC: gcc/sanitizer.def; LLVM:
// compiler-rt/lib/tsan/rtl/tsan_interface.h), of which the executor takes the place of the library.
// Must not know: what an access means.
// Compilers take wide loads apart where only parts are used, so alignment is checked by -fsanitize=alignment instead,
// whose report of a misaligned pointer arrives here as well (LLVM: compiler-rt/lib/ubsan/ubsan_handlers.h).
// Atomic operations of the C++ library are not instrumented accesses of kernels: kernels count through machine::count.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "machine.hpp"

// The names are the compiler's. NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming)

namespace tilefit::inline v0::simt {

inline void announce(const void* address, std::size_t bytes, bool stores, std::size_t alignment) {
  const running_lane& lane = now;
  if (lane.running == nullptr) return;
  if (reinterpret_cast<std::uintptr_t>(address) - lane.stack < lane.stack_bytes) return;
  lane.running->access(address, bytes, stores, alignment);
}

/// What the compiler knows of the place and the type.
struct mismatch_data {
  const char* file;
  std::uint32_t line, column;
  const void* type;
  unsigned char log_alignment;
  unsigned char check;  ///< 0: load, 1: store, others: pointers that are only made
};

inline void announce_mismatch(const mismatch_data& data, const void* pointer) {
  const running_lane& lane = now;
  if (lane.running != nullptr)
    lane.running->misaligned(pointer, std::size_t{1} << data.log_alignment, data.check == 1, data.file, data.line);
}

}  // namespace tilefit::inline v0::simt

// The names are the compilers'.
extern "C" {
[[gnu::used]] inline void __tsan_init() {}
[[gnu::used]] inline void __tsan_func_entry(void*) {}
[[gnu::used]] inline void __tsan_func_exit() {}
[[gnu::used]] inline void __tsan_read1(void* at) { tilefit::simt::announce(at, 1, false, 1); }
[[gnu::used]] inline void __tsan_read2(void* at) { tilefit::simt::announce(at, 2, false, 2); }
[[gnu::used]] inline void __tsan_read4(void* at) { tilefit::simt::announce(at, 4, false, 4); }
[[gnu::used]] inline void __tsan_read8(void* at) { tilefit::simt::announce(at, 8, false, 8); }
[[gnu::used]] inline void __tsan_read16(void* at) { tilefit::simt::announce(at, 16, false, 16); }
[[gnu::used]] inline void __tsan_write1(void* at) { tilefit::simt::announce(at, 1, true, 1); }
[[gnu::used]] inline void __tsan_write2(void* at) { tilefit::simt::announce(at, 2, true, 2); }
[[gnu::used]] inline void __tsan_write4(void* at) { tilefit::simt::announce(at, 4, true, 4); }
[[gnu::used]] inline void __tsan_write8(void* at) { tilefit::simt::announce(at, 8, true, 8); }
[[gnu::used]] inline void __tsan_write16(void* at) { tilefit::simt::announce(at, 16, true, 16); }
[[gnu::used]] inline void __tsan_unaligned_read2(const void* at) { tilefit::simt::announce(at, 2, false, 1); }
[[gnu::used]] inline void __tsan_unaligned_read4(const void* at) { tilefit::simt::announce(at, 4, false, 1); }
[[gnu::used]] inline void __tsan_unaligned_read8(const void* at) { tilefit::simt::announce(at, 8, false, 1); }
[[gnu::used]] inline void __tsan_unaligned_read16(const void* at) { tilefit::simt::announce(at, 16, false, 1); }
[[gnu::used]] inline void __tsan_unaligned_write2(void* at) { tilefit::simt::announce(at, 2, true, 1); }
[[gnu::used]] inline void __tsan_unaligned_write4(void* at) { tilefit::simt::announce(at, 4, true, 1); }
[[gnu::used]] inline void __tsan_unaligned_write8(void* at) { tilefit::simt::announce(at, 8, true, 1); }
[[gnu::used]] inline void __tsan_unaligned_write16(void* at) { tilefit::simt::announce(at, 16, true, 1); }
[[gnu::used]] inline void __tsan_read_range(void* at, std::size_t bytes) {
  tilefit::simt::announce(at, bytes, false, 1);
}
[[gnu::used]] inline void __tsan_write_range(void* at, std::size_t bytes) {
  tilefit::simt::announce(at, bytes, true, 1);
}
// clang announces copies of whole structs like this, from version 16 on. Before, it calls memcpy and says nothing:
// faults in such copies are not seen then.
[[gnu::used]] inline void* __tsan_memcpy(void* to, const void* from, std::size_t bytes) {
  tilefit::simt::announce(from, bytes, false, 1);
  tilefit::simt::announce(to, bytes, true, 1);
  return std::memcpy(to, from, bytes);
}
[[gnu::used]] inline void* __tsan_memmove(void* to, const void* from, std::size_t bytes) {
  tilefit::simt::announce(from, bytes, false, 1);
  tilefit::simt::announce(to, bytes, true, 1);
  return std::memmove(to, from, bytes);
}
[[gnu::used]] inline void* __tsan_memset(void* to, int value, std::size_t bytes) {
  tilefit::simt::announce(to, bytes, true, 1);
  return std::memset(to, value, bytes);
}
/// For the guards of static variables in functions.
[[gnu::used]] inline unsigned char __tsan_atomic8_load(const volatile unsigned char* at, int order) {
  return __atomic_load_n(at, order == 0 ? __ATOMIC_RELAXED : __ATOMIC_ACQUIRE);
}
[[gnu::used]] inline void __tsan_vptr_update(void**, void*) {}
[[gnu::used]] inline void __tsan_vptr_read(void**) {}
[[gnu::used]] inline void __ubsan_handle_type_mismatch_v1(void* data, void* pointer) {
  tilefit::simt::announce_mismatch(*static_cast<const tilefit::simt::mismatch_data*>(data), pointer);
}
}

// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)
