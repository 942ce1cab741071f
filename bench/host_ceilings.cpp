#include "host_ceilings.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "tilefit/detail/config.hpp"
#include "tilefit/host/dispatch.hpp"
#if TILEFIT_HOST_X86
#include <immintrin.h>
#endif

namespace tilefit::inline v0::bench {
namespace {

// Twelve independent sums hide the latency of a multiply-add on every core so far (5 cycles x 2 units at most).
constexpr int chains = 12;
constexpr long steps = 4'000'000;
constexpr long portable_steps = steps / 4;

// 0.5 x + 1 tends to 2: no overflow, no subnormals. `keep` stops the compiler from dropping the loop.
struct fma_loop {
  float (*run)(float keep);
  double macs;
};

float multiply_add_portable(float keep) {
  constexpr int lanes = 8;
  float sum[chains][lanes];
  for (auto& chain : sum)
    for (float& lane : chain) lane = keep;
  for (long i = 0; i < portable_steps; ++i)
    for (auto& chain : sum)
      for (float& lane : chain) lane = lane * 0.5f + 1.0f;
  float total = 0.0f;
  for (auto& chain : sum)
    for (const float lane : chain) total += lane;
  return total;
}

#if TILEFIT_HOST_X86
__attribute__((target("avx512f"))) float multiply_add_avx512(float keep) {
  __m512 sum[chains];
  for (auto& s : sum) s = _mm512_set1_ps(keep);
  const __m512 half = _mm512_set1_ps(0.5f);
  const __m512 one = _mm512_set1_ps(1.0f);
  for (long i = 0; i < steps; ++i)
#pragma GCC unroll 12
    for (int c = 0; c < chains; ++c) sum[c] = _mm512_fmadd_ps(sum[c], half, one);
  alignas(64) float lanes[16];
  for (int c = 1; c < chains; ++c) sum[0] = _mm512_add_ps(sum[0], sum[c]);
  _mm512_store_ps(lanes, sum[0]);
  return lanes[0];
}

__attribute__((target("avx2,fma"))) float multiply_add_avx2(float keep) {
  __m256 sum[chains];
  for (auto& s : sum) s = _mm256_set1_ps(keep);
  const __m256 half = _mm256_set1_ps(0.5f);
  const __m256 one = _mm256_set1_ps(1.0f);
  for (long i = 0; i < steps; ++i)
#pragma GCC unroll 12
    for (int c = 0; c < chains; ++c) sum[c] = _mm256_fmadd_ps(sum[c], half, one);
  alignas(32) float lanes[8];
  for (int c = 1; c < chains; ++c) sum[0] = _mm256_add_ps(sum[0], sum[c]);
  _mm256_store_ps(lanes, sum[0]);
  return lanes[0];
}
#endif

fma_loop best_fma_loop() {
#if TILEFIT_HOST_X86
  if (host::supports(host::isa::avx512)) return {multiply_add_avx512, 16.0 * chains * steps};
  if (host::supports(host::isa::avx2)) return {multiply_add_avx2, 8.0 * chains * steps};
#endif
  return {multiply_add_portable, 8.0 * chains * portable_steps};
}

// Four 64-bit sums per cache line and step; compilers vectorise it, and memory is the limit either way.
std::uint64_t read_all(const std::byte* from, std::size_t bytes) {
  std::uint64_t sum[16] = {};
  for (std::size_t at = 0; at + sizeof sum <= bytes; at += sizeof sum) {
    std::uint64_t words[16];
    std::memcpy(words, from + at, sizeof words);
    for (int i = 0; i < 16; ++i) sum[i] ^= words[i];
  }
  std::uint64_t all = 0;
  for (const std::uint64_t s : sum) all ^= s;
  return all;
}

/// Seconds that work(thread) takes on all threads at once.
template <class Work>
double timed(int threads, Work work) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t) others.emplace_back(work, t);
  work(0);
  for (std::thread& other : others) other.join();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

host_ceilings measure_host_ceilings(const ceiling_options& options) {
  const int threads =
      options.threads > 0 ? options.threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const fma_loop loop = best_fma_loop();
  const std::size_t share = options.read_bytes / static_cast<std::size_t>(threads);
  const std::unique_ptr<std::byte[]> memory(new (std::nothrow) std::byte[options.read_bytes]);
  if (memory) std::memset(memory.get(), 1, options.read_bytes);

  host_ceilings best;
  std::vector<std::uint64_t> sink(static_cast<std::size_t>(threads));
  for (int repeat = 0; repeat < options.repeats; ++repeat) {
    const double fma_seconds = timed(threads, [&](int t) {
      sink[static_cast<std::size_t>(t)] += static_cast<std::uint64_t>(loop.run(static_cast<float>(repeat)));
    });
    best.gmacs = std::max(best.gmacs, loop.macs * threads / fma_seconds * 1e-9);
    if (!memory) continue;
    const double read_seconds = timed(threads, [&](int t) {
      sink[static_cast<std::size_t>(t)] += read_all(memory.get() + static_cast<std::size_t>(t) * share, share);
    });
    best.read_gbps = std::max(best.read_gbps, static_cast<double>(share) * threads / read_seconds * 1e-9);
  }
  volatile std::uint64_t kept = 0;
  for (const std::uint64_t s : sink) kept = kept + s;
  return best;
}

}  // namespace tilefit::inline v0::bench
