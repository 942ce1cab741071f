// What programs that run on a GPU share: errors, buffers between guard zones, random contents, packed weights.
// Knows: the CUDA runtime, formats, weight layouts.
// Must not know: matmuls, tests. Timing is in graph_timing.cuh.
// Kernels are enqueued through cudaLaunchKernelEx, and those that synchronise a block have 128 threads.
#pragma once

#include <cuda_runtime.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tilefit/dtype.hpp"
#include "tilefit/float_formats.hpp"
#include "tilefit/weights.hpp"

namespace tilefit_gpu {

using namespace tilefit;

/// A call of the CUDA runtime that failed.
struct gpu_failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Work that does not end.
struct gpu_hang : gpu_failure {
  using gpu_failure::gpu_failure;
};

inline void check(cudaError_t code, const char* what) {
  if (code != cudaSuccess) throw gpu_failure(std::string(what) + ": " + cudaGetErrorString(code));
}

/// True when the context is lost: every further call would fail.
inline bool context_lost() noexcept {
  static_cast<void>(cudaGetLastError());  // a failed launch alone is forgotten with this
  const cudaError_t now = cudaStreamQuery(nullptr);
  return now != cudaSuccess && now != cudaErrorNotReady;
}

/// The same, seen from a failure: behind a kernel that hangs nothing runs either.
inline bool is_lost(const std::exception& failure) noexcept {
  return dynamic_cast<const gpu_hang*>(&failure) != nullptr || context_lost();
}

/// Waits until the stream is through. Throws when that takes longer than `most_seconds` (0 = no limit): a kernel hangs.
inline void wait_for(cudaStream_t stream, double most_seconds = 20) {
  const auto start = std::chrono::steady_clock::now();
  for (long polls = 0;; ++polls) {
    const cudaError_t state = cudaStreamQuery(stream);
    if (state == cudaSuccess) return;
    if (state != cudaErrorNotReady) check(state, "waiting for the stream");
    const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - start;
    if (most_seconds > 0 && waited.count() > most_seconds)
      throw gpu_hang("hang: the stream is not through after " + std::to_string(waited.count()) + " s");
    if (polls > 20000) std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

/// A stream that does not wait for the default one.
class stream {
 public:
  stream() { check(cudaStreamCreateWithFlags(&handle_, cudaStreamNonBlocking), "cudaStreamCreate"); }
  ~stream() { static_cast<void>(cudaStreamDestroy(handle_)); }
  stream(const stream&) = delete;
  stream& operator=(const stream&) = delete;
  operator cudaStream_t() const noexcept { return handle_; }

 private:
  cudaStream_t handle_ = nullptr;
};

struct launch_shape {
  std::int64_t blocks = 1;
  int threads = 256;
};

template <class... Parameters, class... Arguments>
void enqueue(cudaStream_t stream, launch_shape shape, void (*kernel)(Parameters...), const Arguments&... arguments) {
  if (shape.blocks < 1) return;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(shape.blocks));
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), "launch of a test kernel");
}

/// Blocks of 256 threads for a loop over `count` items that takes several items a thread when there are many.
inline std::int64_t blocks_for(std::int64_t count) noexcept {
  const std::int64_t blocks = (count + 255) / 256;
  return blocks < 16384 ? blocks : 16384;
}

__device__ inline std::int64_t first_item() { return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline std::int64_t item_stride() { return static_cast<std::int64_t>(gridDim.x) * blockDim.x; }

// --- poison and random numbers --------------------------------------------------------------------------------------

/// Byte of the pattern for memory that nobody has written: 0xFFA5 in 16 bits at an even address, a NaN in bf16, fp16
/// and fp32 that no arithmetic makes, and as an index far out of range.
TILEFIT_HD constexpr std::uint8_t poison_byte(std::uintptr_t address) noexcept {
  return address % 2 == 0 ? 0xA5 : 0xFF;
}

__global__ void poison_kernel(std::uint8_t* data, std::int64_t bytes) {
  for (std::int64_t i = first_item(); i < bytes; i += item_stride())
    data[i] = poison_byte(reinterpret_cast<std::uintptr_t>(data + i));
}

inline void poison(cudaStream_t stream, void* data, std::size_t bytes) {
  const auto count = static_cast<std::int64_t>(bytes);
  enqueue(stream, {blocks_for(count)}, poison_kernel, static_cast<std::uint8_t*>(data), count);
}

/// Number `index` of the random sequence `seed` (SplitMix64's output function, Steele, Lea, Flood 2014).
TILEFIT_HD constexpr std::uint64_t random_bits(std::uint64_t seed, std::uint64_t index) noexcept {
  std::uint64_t z = (seed * 0xD1342543DE82EF95u + index + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

/// Close to normal, mean 0 and variance 1: the sum of four evenly spread numbers (each of variance 1 / 12).
TILEFIT_HD constexpr float random_normal(std::uint64_t seed, std::uint64_t index) noexcept {
  const std::uint64_t bits = random_bits(seed, index);
  float sum = -2.0f;
  for (int i = 0; i < 4; ++i) sum += (static_cast<float>(bits >> (16 * i) & 0xFFFF) + 0.5f) * 0x1p-16f;
  return sum * 1.7320508f;
}

/// Element `i` of an array of fp32, bf16 or fp16.
TILEFIT_HD inline float load_element(dtype type, const void* data, std::int64_t i) noexcept {
  if (type == dtype::fp32) return static_cast<const float*>(data)[i];
  const std::uint16_t code = static_cast<const std::uint16_t*>(data)[i];
  return type == dtype::bf16 ? bf16_to_float(code) : fp16_to_float(code);
}

TILEFIT_HD inline void store_element(dtype type, void* data, std::int64_t i, float value) noexcept {
  if (type == dtype::fp32)
    static_cast<float*>(data)[i] = value;
  else
    static_cast<std::uint16_t*>(data)[i] = type == dtype::bf16 ? float_to_bf16(value) : float_to_fp16(value);
}

/// A matrix in memory: `stride` elements from one row to the next.
struct matrix_place {
  void* data = nullptr;
  dtype type = dtype::bf16;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t stride = 0;
};

/// Normal numbers times `factor` in the columns of every row; what lies between two rows is left alone.
__global__ void fill_normal_kernel(matrix_place to, float factor, std::uint64_t seed) {
  for (std::int64_t i = first_item(); i < to.rows * to.columns; i += item_stride())
    store_element(to.type, to.data, i / to.columns * to.stride + i % to.columns,
                  random_normal(seed, static_cast<std::uint64_t>(i)) * factor);
}

inline void fill_normal(cudaStream_t stream, const matrix_place& to, float factor, std::uint64_t seed) {
  enqueue(stream, {blocks_for(to.rows * to.columns)}, fill_normal_kernel, to, factor, seed);
}

// --- weights --------------------------------------------------------------------------------------------------------

enum class code_choice : std::uint8_t {
  any,         ///< all 16 codes alike
  small,       ///< magnitudes up to 1.5
  seldom_big,  ///< magnitudes up to 1.5, one in 64 of 2 and more
};

/// What random weights are made of.
struct weight_recipe {
  int experts = 1;
  std::int64_t n = 32;
  std::int64_t k = 32;
  int lowest_scale = 116;   ///< E8M0 codes, evenly spread from here ...
  int highest_scale = 124;  ///< ... to here
  code_choice codes = code_choice::any;
  int nan_scales = 0;  ///< so many scales of a thousand are 255
  std::uint64_t seed = 1;

  friend bool operator==(const weight_recipe&, const weight_recipe&) = default;
};

TILEFIT_HD constexpr std::uint8_t random_code(code_choice codes, std::uint64_t bits) noexcept {
  const auto code = static_cast<std::uint8_t>(bits & 15);
  if (codes == code_choice::any || (codes == code_choice::seldom_big && (bits >> 4 & 63) == 0)) return code;
  return static_cast<std::uint8_t>(code & 0xB);
}

__global__ void fill_codes_kernel(std::uint8_t* values, std::int64_t bytes, code_choice codes, std::uint64_t seed) {
  for (std::int64_t i = first_item(); i < bytes; i += item_stride()) {
    const std::uint64_t bits = random_bits(seed, static_cast<std::uint64_t>(i));
    values[i] = static_cast<std::uint8_t>(random_code(codes, bits) | random_code(codes, bits >> 32) << 4);
  }
}

__global__ void fill_scales_kernel(std::uint8_t* scales, std::int64_t count, weight_recipe recipe) {
  for (std::int64_t i = first_item(); i < count; i += item_stride()) {
    const std::uint64_t bits = random_bits(recipe.seed + 0x5CA1E, static_cast<std::uint64_t>(i));
    const auto choices = static_cast<std::uint64_t>(recipe.highest_scale - recipe.lowest_scale + 1);
    const bool nan = static_cast<int>((bits >> 32) % 1000) < recipe.nan_scales;
    scales[i] =
        nan ? e8m0_nan : static_cast<std::uint8_t>(static_cast<std::uint64_t>(recipe.lowest_scale) + bits % choices);
  }
}

/// Packs row-major weights into mma_m16k64 with the library's own description of a block. A thread has one block of two
/// neighbouring rows, which share their words; `to` must be zero.
__global__ void pack_kernel(weight_shape shape, const std::uint8_t* values, const std::uint8_t* scales,
                            std::uint8_t* to) {
  constexpr weight_layout layout = weight_layout::mma_m16k64;
  const std::int64_t pairs = detail::align_up(shape.n, weight_atom::group_rows) / 2;
  const std::int64_t blocks = detail::align_up(shape.k, atom_of(layout).k) / 32;
  const std::int64_t bytes = bytes_per_expert(layout, shape.n, shape.k);
  for (std::int64_t i = first_item(); i < shape.experts * pairs * blocks; i += item_stride()) {
    const std::int64_t expert = i / (pairs * blocks), pair = i / blocks % pairs, kb = i % blocks;
    for (std::int64_t row = 2 * pair; row < 2 * pair + 2; ++row) {
      detail::weight_block block;
      if (row < shape.n && kb < shape.k / 32)
        block =
            detail::get_block(weight_layout::row_major, shape.n, shape.k, expert * shape.n + row, kb, {values, scales});
      detail::put_block(layout, shape.n, shape.k, row, kb, block, {to + expert * bytes, nullptr});
    }
  }
}

// --- memory ---------------------------------------------------------------------------------------------------------

/// Zones to look at in one kernel: guards, or inputs whose contents are summed up.
struct zone_list {
  static constexpr int most = 48;
  const std::uint8_t* begin[most] = {};
  std::int64_t bytes[most] = {};
  int count = 0;
};

/// broken[z] counts the bytes of zone z that are not the pattern any more.
__global__ void look_at_guards_kernel(zone_list zones, unsigned* broken) {
  for (int z = 0; z < zones.count; ++z)
    for (std::int64_t i = first_item(); i < zones.bytes[z]; i += item_stride())
      if (zones.begin[z][i] != poison_byte(reinterpret_cast<std::uintptr_t>(zones.begin[z] + i)))
        atomicAdd(broken + z, 1u);
}

/// Adds up a hash of every byte and its place.
__global__ void hash_kernel(zone_list zones, unsigned long long* sum) {
  unsigned long long own = 0;
  for (int z = 0; z < zones.count; ++z)
    for (std::int64_t i = first_item(); i < zones.bytes[z]; i += item_stride())
      own += random_bits(zones.begin[z][i] + 1u, static_cast<std::uint64_t>(i * zone_list::most + z));
  if (own != 0) atomicAdd(sum, own);
}

/// Device memory that is handed out in pieces with 512 bytes of pattern on both sides of each, and taken back as a
/// whole. With `separate` every piece is an allocation of exactly its size without guards, for tools that watch those.
class guarded_memory {
 public:
  static constexpr std::size_t guard = 512;
  static constexpr std::size_t alignment = 256;

  explicit guarded_memory(bool separate = false) noexcept : separate_(separate) {}
  ~guarded_memory() {
    release();
    static_cast<void>(cudaFree(counts_));
  }
  guarded_memory(const guarded_memory&) = delete;
  guarded_memory& operator=(const guarded_memory&) = delete;

  /// `bytes` bytes that start `shift` behind a multiple of 256. Contents: whatever was there. Guards are written in
  /// stream order.
  void* take(cudaStream_t stream, std::size_t bytes, const char* name, std::size_t shift = 0) {
    if (separate_) {
      void* piece = nullptr;
      check(cudaMalloc(&piece, bytes + shift > 0 ? bytes + shift : 1), name);
      chunks_.push_back({piece, bytes + shift});
      return static_cast<std::uint8_t*>(piece) + shift;
    }
    const std::size_t needed = bytes + shift + 2 * guard + 2 * alignment;
    while (chunk_ < chunks_.size() && used_ + needed > chunks_[chunk_].bytes) {
      ++chunk_;
      used_ = 0;
    }
    if (chunk_ == chunks_.size()) {
      const std::size_t size = needed > chunk_bytes ? needed : chunk_bytes;
      void* memory = nullptr;
      check(cudaMalloc(&memory, size), name);
      chunks_.push_back({memory, size});
    }
    std::uint8_t* const base = static_cast<std::uint8_t*>(chunks_[chunk_].data);
    const std::size_t start = (used_ + guard + alignment - 1) / alignment * alignment + shift;
    add_guard(stream, base + start - guard, name);
    add_guard(stream, base + start + bytes, name);
    used_ = start + bytes + guard;
    return base + start;
  }
  template <class T>
  T* take(cudaStream_t stream, std::int64_t count, const char* name, std::size_t shift = 0) {
    return static_cast<T*>(take(stream, static_cast<std::size_t>(count) * sizeof(T), name, shift));
  }

  /// All pieces are taken back; nothing may be running on them.
  void clear() {
    guards_.count = 0;
    names_.clear();
    std::size_t held = 0;
    for (const chunk& each : chunks_) held += each.bytes;
    if (separate_ || held > most_held) release();
    chunk_ = used_ = 0;
  }

  /// Pieces that were written next to, or "".
  std::string broken_guards(cudaStream_t stream) {
    if (guards_.count == 0) return {};
    unsigned host[zone_list::most] = {};
    if (counts_ == nullptr) check(cudaMalloc(&counts_, sizeof host), "guards");
    check(cudaMemsetAsync(counts_, 0, sizeof host, stream), "guards");
    enqueue(stream, {2}, look_at_guards_kernel, guards_, counts_);
    wait_for(stream);
    check(cudaMemcpy(host, counts_, sizeof host, cudaMemcpyDeviceToHost), "guards");
    std::string text;
    for (int z = 0; z < guards_.count; ++z)
      if (host[z] != 0)
        text += std::string(text.empty() ? "" : ", ") + std::to_string(host[z]) + " B " +
                (z % 2 == 0 ? "before " : "behind ") + names_[static_cast<std::size_t>(z)];
    return text;
  }

 private:
  static constexpr std::size_t chunk_bytes = std::size_t{4} << 20;
  static constexpr std::size_t most_held = std::size_t{20} << 30;
  struct chunk {
    void* data;
    std::size_t bytes;
  };

  void add_guard(cudaStream_t stream, std::uint8_t* at, const char* name) {
    if (guards_.count == zone_list::most) throw gpu_failure("too many buffers for one guard list");
    poison(stream, at, guard);
    guards_.begin[guards_.count] = at;
    guards_.bytes[guards_.count++] = static_cast<std::int64_t>(guard);
    names_.push_back(name);
  }
  void release() noexcept {
    for (const chunk& each : chunks_) static_cast<void>(cudaFree(each.data));
    chunks_.clear();
  }

  bool separate_;
  unsigned* counts_ = nullptr;
  std::vector<chunk> chunks_;
  std::size_t chunk_ = 0, used_ = 0;
  zone_list guards_;
  std::vector<const char*> names_;
};

template <class T>
void upload(cudaStream_t stream, T* to, const std::vector<T>& from) {
  if (from.empty()) return;
  check(cudaMemcpyAsync(to, from.data(), from.size() * sizeof(T), cudaMemcpyHostToDevice, stream), "upload");
}

template <class T>
std::vector<T> download(const T* from, std::size_t count) {
  std::vector<T> to(count);
  if (count > 0) check(cudaMemcpy(to.data(), from, count * sizeof(T), cudaMemcpyDeviceToHost), "download");
  return to;
}

}  // namespace tilefit_gpu
