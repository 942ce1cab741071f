// One GPT-OSS MoE layer for tools, tests and examples: read from a file or made from a seed.
// Knows: tensor names, shapes and the router. Must not know: tiles.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <tilefit/host/moe_mlp.hpp>

#include "models.hpp"
#include "safetensors.hpp"

namespace tilefit::inline v0::bench {

/// A layer and what it is asked: rows of X, and where known what should come out. Vectors are row-major.
struct moe_layer_data {
  std::int64_t tokens = 0;
  std::int64_t hidden = 0;
  std::int64_t intermediate = 0;
  int experts = 0;
  int topk = 0;
  std::vector<std::uint16_t> x;                                  ///< BF16 [tokens, hidden]
  std::vector<float> router_weight, router_bias;                 ///< [experts, hidden], [experts]
  std::vector<float> gate_up_bias, down_bias;                    ///< [experts, 2 * intermediate], [experts, hidden]
  std::span<const std::uint8_t> gate_up_blocks, gate_up_scales;  ///< [experts, 2 * intermediate, hidden / 32, 16 | 1]
  std::span<const std::uint8_t> down_blocks, down_scales;        ///< [experts, hidden, intermediate / 32, 16 | 1]
  swiglu_params swiglu;
  std::vector<std::int32_t> expected_index;  ///< [tokens, topk], or empty
  std::vector<float> expected_output;        ///< [tokens, hidden], or empty

  std::optional<safetensors_file> file;  ///< keeps the weights of a loaded layer alive
  std::vector<std::uint8_t> owned;       ///< those of a made one
};

struct layer_source {
  std::string path;
  std::string prefix;                  ///< "" = the names of tests/golden; "model.layers.0.mlp." = a checkpoint
  std::optional<std::int64_t> tokens;  ///< the first so many of the file's rows; rows to make where it has none
  std::uint64_t seed = 1;              ///< of the rows that are made
};

/// Reads a layer. Every shape is checked against the others; a failure is one sentence that starts with the path.
result<moe_layer_data> load_layer(const layer_source& source);

/// A layer with random weights of this shape and `tokens` random rows. The same seed gives the same bytes everywhere.
result<moe_layer_data> make_layer(const model_shape& model, std::int64_t tokens, std::uint64_t seed);

/// The layer as the CPU backend takes it. `x` is data.x, or its fp32 copy; y is [tokens, hidden] fp32.
host::moe_layer host_layer(const moe_layer_data& data, const x_operand& x, float* y);

/// Row `token` of the output in double precision throughout, with the given experts and weights.
std::vector<double> reference_row(const moe_layer_data& data, std::int64_t token, std::span<const std::int32_t> experts,
                                  std::span<const float> weights);

}  // namespace tilefit::inline v0::bench
