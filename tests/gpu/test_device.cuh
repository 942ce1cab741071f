// What outlives a single case on the device: a stream, memory to reuse, sets of random weights.
// Knows: how a recipe becomes row-major and packed weights.
// Must not know: what is multiplied with them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "device_support.cuh"
#include "reference.cuh"

namespace tilefit_gpu {

/// Weights on the device, row-major for the reference and packed for the library.
struct weight_set {
  explicit weight_set(bool separate) : memory(separate) {}
  weight_recipe recipe;
  guarded_memory memory;
  std::uint8_t* values = nullptr;
  std::uint8_t* scales = nullptr;
  std::uint8_t* packed = nullptr;
  std::int64_t bytes = 0;
};

inline void make_weights(cudaStream_t stream, const weight_recipe& recipe, weight_set& set) {
  constexpr weight_layout layout = weight_layout::mma_m16k64;
  const weight_shape shape{recipe.experts, recipe.n, recipe.k};
  const std::int64_t rows = recipe.experts * recipe.n;
  const std::int64_t packed_bytes = recipe.experts * bytes_per_expert(layout, recipe.n, recipe.k);
  set.recipe = recipe;
  set.bytes = rows * recipe.k / 2 + rows * recipe.k / 32 + packed_bytes;
  set.values = set.memory.take<std::uint8_t>(stream, rows * recipe.k / 2, "W values of the reference");
  set.scales = set.memory.take<std::uint8_t>(stream, rows * recipe.k / 32, "W scales of the reference");
  set.packed = set.memory.take<std::uint8_t>(stream, packed_bytes, "W");
  enqueue(stream, {blocks_for(rows * recipe.k / 2)}, fill_codes_kernel, set.values, rows * recipe.k / 2, recipe.codes,
          recipe.seed);
  enqueue(stream, {blocks_for(rows * recipe.k / 32)}, fill_scales_kernel, set.scales, rows * recipe.k / 32, recipe);
  check(cudaMemsetAsync(set.packed, 0, static_cast<std::size_t>(packed_bytes), stream), "weights");
  enqueue(stream, {blocks_for(packed_bytes / 17)}, pack_kernel, shape, set.values, set.scales, set.packed);
}

/// Memory of one case at a time. Cases that live side by side have a lane each.
struct lane {
  explicit lane(bool separate) : memory(separate), workspace(separate) {}
  guarded_memory memory;
  guarded_memory workspace;
};

/// What outlives a case: a stream, memory that is reused, weights that many cases share.
class device {
 public:
  explicit device(bool separate_buffers) : separate_(separate_buffers) {
    check(cudaMalloc(&counts, sizeof *counts), "device");
    check(cudaMalloc(&hash, sizeof *hash), "device");
  }
  ~device() {
    static_cast<void>(cudaFree(counts));
    static_cast<void>(cudaFree(hash));
  }
  device(const device&) = delete;
  device& operator=(const device&) = delete;

  const weight_set& weights(const weight_recipe& recipe) {
    std::int64_t held = 0;
    for (const auto& set : sets_) {
      if (set->recipe == recipe) return *set;
      held += set->bytes;
    }
    if (held > most_weight_bytes) sets_.clear();
    sets_.push_back(std::make_unique<weight_set>(separate_));
    make_weights(main, recipe, *sets_.back());
    return *sets_.back();
  }
  lane& lane_at(std::size_t number) {
    while (lanes_.size() <= number) lanes_.push_back(std::make_unique<lane>(separate_));
    return *lanes_[number];
  }
  /// Weights that were written next to.
  std::string broken_weights() {
    std::string text;
    for (const auto& set : sets_) text += set->memory.broken_guards(main);
    return text;
  }

  stream main;
  comparison_counts* counts = nullptr;
  unsigned long long* hash = nullptr;
  double most_wait_seconds = 8;

 private:
  static constexpr std::int64_t most_weight_bytes = std::int64_t{12} << 30;
  bool separate_;
  std::vector<std::unique_ptr<lane>> lanes_;
  std::vector<std::unique_ptr<weight_set>> sets_;
};

}  // namespace tilefit_gpu
