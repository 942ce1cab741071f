// One expert layer on the device, with random weights in the packed layout and room for the largest batch.
// Knows: routing, the two calls of the layer, what they have to move and multiply.
// Must not know: tiles, timing.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <random>
#include <vector>

#include "gpu_ceilings.cuh"
#include "models.hpp"
#include "tilefit/matmul_args.hpp"
#include "tilefit/routing.hpp"

namespace tilefit_gpu {

/// Random values, and scales of 2^-9 to 2^-1, right in the packed layout: every byte of an atom's values is valid.
__global__ void fill_packed_kernel(std::uint8_t* packed, std::int64_t bytes, weight_atom atom, std::uint64_t seed) {
  for (std::int64_t i = first_item(); i < bytes; i += item_stride()) {
    const std::uint64_t bits = random_bits(seed, static_cast<std::uint64_t>(i)) >> 20;
    packed[i] = static_cast<std::uint8_t>(i % atom.bytes < atom.value_bytes ? bits : 118 + bits % 9);
  }
}

/// What stands in Y: enough to notice a kernel that writes nothing, or something else than another one.
struct contents {
  unsigned long long not_written = 0;
  unsigned long long not_finite = 0;
  double sum = 0;          ///< of magnitudes
  double difference2 = 0;  ///< from the other Y, if there is one
  double norm2 = 0;
};

__global__ void look_at_kernel(const std::uint16_t* y, const std::uint16_t* other, std::int64_t count, contents* out) {
  contents own;
  for (std::int64_t i = first_item(); i < count; i += item_stride()) {
    const double value = static_cast<double>(bf16_to_float(y[i]));
    const double reference = other != nullptr ? static_cast<double>(bf16_to_float(other[i])) : value;
    if (y[i] == 0xFFA5) {
      ++own.not_written;
    } else if (!(fabs(value) < 1e38)) {
      ++own.not_finite;
    } else {
      own.sum += fabs(value);
      own.difference2 += (value - reference) * (value - reference);
      own.norm2 += reference * reference;
    }
  }
  atomicAdd(&out->not_written, own.not_written);
  atomicAdd(&out->not_finite, own.not_finite);
  atomicAdd(&out->sum, own.sum);
  atomicAdd(&out->difference2, own.difference2);
  atomicAdd(&out->norm2, own.norm2);
}

/// The experts of one layer and room for the largest batch.
class layer {
 public:
  layer(cudaStream_t stream, const bench::model_shape& shape, std::int64_t most_tokens)
      : model(shape), stream_(stream), most_rows_(most_tokens * shape.topk) {
    const std::int64_t hidden = model.hidden, inter = model.intermediate, experts = model.experts;
    weights_[0] = make_weights(2 * inter, hidden, 1);
    weights_[1] = make_weights(hidden, inter, 2);
    bias_[0] = make<float>(experts * 2 * inter, dtype::fp32, 3);
    bias_[1] = make<float>(experts * hidden, dtype::fp32, 4);
    x_ = make<std::uint16_t>(most_tokens * hidden, dtype::bf16, 5);
    between_ = memory_.take<std::uint16_t>(stream, most_rows_ * inter, "between");
    y_ = memory_.take<std::uint16_t>(stream, most_rows_ * hidden, "Y");
    other_ = memory_.take<std::uint16_t>(stream, most_rows_ * std::max(hidden, inter), "Y of the choice");
    offsets_ = memory_.take<std::int32_t>(stream, experts + 1, "offsets");
    gather_ = memory_.take<std::int32_t>(stream, most_rows_, "gather");
    scatter_ = memory_.take<std::int32_t>(stream, most_rows_, "scatter");
    gammas_ = memory_.take<float>(stream, most_rows_, "gammas");
    contents_ = memory_.take<contents>(stream, 1, "contents");
    wait_for(stream);
  }

  /// Rows of `tokens` tokens that choose their experts by random logits. With `wanted` > 0 seeds are tried until so
  /// many experts have rows, or the nearest to it. Returns how many have.
  int route(std::int64_t tokens, int wanted) {
    const auto rows = static_cast<std::size_t>(tokens * model.topk), experts = static_cast<std::size_t>(model.experts);
    const routing_shape shape{tokens, model.experts, model.topk};
    std::vector<float> logits(static_cast<std::size_t>(tokens) * experts), weight(rows);
    std::vector<std::int32_t> index(rows);
    unsigned best_seed = 1;
    int best = -1;
    const int tries = wanted > 0 ? (tokens <= 256 ? 400 : 3) : 1;
    const auto choose = [&](unsigned seed) {
      std::mt19937 random(seed);
      std::normal_distribution<float> normal;
      for (float& logit : logits) logit = normal(random);
      if (choose_experts<float>(shape, logits, index, weight) != status_code::ok) throw gpu_failure("no routing");
      std::vector<bool> active(experts);
      for (const std::int32_t expert : index) active[static_cast<std::size_t>(expert)] = true;
      return static_cast<int>(std::count(active.begin(), active.end(), true));
    };
    for (unsigned seed = 1; seed <= static_cast<unsigned>(tries) && best != wanted; ++seed) {
      const int active = choose(seed);
      if (best < 0 || std::abs(active - wanted) < std::abs(best - wanted)) best = active, best_seed = seed;
    }
    best = choose(best_seed);
    std::vector<std::int32_t> histogram(experts), offsets(experts + 1), gather(rows), scatter(rows);
    std::vector<float> gammas(rows);
    if (sort_rows(shape, index, weight, {}, {histogram, offsets, gather, scatter, gammas}) != status_code::ok)
      throw gpu_failure("no row order");
    upload(stream_, offsets_, offsets);
    upload(stream_, gather_, gather);
    upload(stream_, scatter_, scatter);
    upload(stream_, gammas_, gammas);
    wait_for(stream_);
    tokens_ = tokens;
    return best;
  }

  /// gate_up: gather, bias, SwiGLU. down: bias, gammas, scatter to token * topk + rank, no sum.
  matmul_args args(int which) const {
    const std::int64_t rows = tokens_ * model.topk, hidden = model.hidden, inter = model.intermediate;
    const w_operand w{.data = weights_[which], .type = dtype::mxfp4, .layout = weight_layout::mma_m16k64};
    if (which == 0)
      return {.m = rows,
              .n = 2 * inter,
              .k = hidden,
              .experts = model.experts,
              .x = {.data = x_, .type = dtype::bf16, .rows = tokens_, .row_stride = hidden},
              .w = w,
              .y = {.data = between_, .type = dtype::bf16, .rows = rows, .row_stride = inter},
              .bias = bias_[0],
              .expert_offsets = offsets_,
              .gather_indx = gather_,
              .act = activation::swiglu};
    return {.m = rows,
            .n = hidden,
            .k = inter,
            .experts = model.experts,
            .x = {.data = between_, .type = dtype::bf16, .rows = rows, .row_stride = inter},
            .w = w,
            .y = {.data = y_, .type = dtype::bf16, .rows = rows, .row_stride = hidden},
            .bias = bias_[1],
            .expert_offsets = offsets_,
            .scatter_indx = scatter_,
            .gammas = gammas_};
  }

  void poison_y(int which) { poison(stream_, y_of(which), 2 * static_cast<std::size_t>(elements(which))); }
  /// Keeps Y of a matmul, for later looks to compare with.
  void keep_y(int which) {
    check(cudaMemcpyAsync(other_, y_of(which), 2 * static_cast<std::size_t>(elements(which)), cudaMemcpyDeviceToDevice,
                          stream_),
          "copy of Y");
  }
  contents look(int which, bool compare) {
    check(cudaMemsetAsync(contents_, 0, sizeof(contents), stream_), "contents");
    enqueue(stream_, {264}, look_at_kernel, y_of(which), compare ? other_ : nullptr, elements(which), contents_);
    wait_for(stream_);
    return download(contents_, 1)[0];
  }

  bench::model_shape model;

 private:
  std::int64_t elements(int which) const {
    return tokens_ * model.topk * (which == 0 ? model.intermediate : model.hidden);
  }
  std::uint16_t* y_of(int which) const { return which == 0 ? between_ : y_; }
  std::uint8_t* make_weights(std::int64_t n, std::int64_t k, std::uint64_t seed) {
    const std::int64_t bytes = model.experts * bytes_per_expert(weight_layout::mma_m16k64, n, k);
    auto* to = memory_.take<std::uint8_t>(stream_, bytes, "W");
    enqueue(stream_, {blocks_for(bytes)}, fill_packed_kernel, to, bytes, atom_of(weight_layout::mma_m16k64), seed);
    return to;
  }
  template <class T>
  T* make(std::int64_t count, dtype type, std::uint64_t seed) {
    T* to = memory_.take<T>(stream_, count, "random numbers");
    fill_normal(stream_, {to, type, 1, count, count}, 1.0f, seed);
    return to;
  }

  cudaStream_t stream_;
  std::int64_t most_rows_;
  std::int64_t tokens_ = 0;
  guarded_memory memory_;
  std::uint8_t* weights_[2] = {};
  float* bias_[2] = {};
  std::uint16_t *x_ = nullptr, *between_ = nullptr, *y_ = nullptr, *other_ = nullptr;
  std::int32_t *offsets_ = nullptr, *gather_ = nullptr, *scatter_ = nullptr;
  float* gammas_ = nullptr;
  contents* contents_ = nullptr;
};

/// What both matmuls of a layer have to move and multiply.
/// Bytes: values and scales of every expert that has rows, once; X once (tokens * hidden * 2); the activations between
/// the matmuls written and read (rows * intermediate * 2, twice); Y written (rows * hidden * 2). Biases and indices are
/// left out. Flops: 2 for each element of W and row.
inline void count_work(bench::layer_times& times) {
  const auto hidden = static_cast<double>(times.model.hidden), inter = static_cast<double>(times.model.intermediate);
  const auto rows = static_cast<double>(times.tokens * times.model.topk);
  constexpr double bytes_per_weight = 0.5 + 1.0 / 32.0;
  times.bytes[0] = times.active_experts * 2 * inter * hidden * bytes_per_weight +
                   static_cast<double>(times.tokens) * hidden * 2 + rows * inter * 2;
  times.bytes[1] = times.active_experts * inter * hidden * bytes_per_weight + rows * inter * 2 + rows * hidden * 2;
  times.flops[0] = 4 * rows * inter * hidden;
  times.flops[1] = 2 * rows * inter * hidden;
}

}  // namespace tilefit_gpu
