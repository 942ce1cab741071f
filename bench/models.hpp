// Shapes of published MoE models.
// Knows: sizes from the models' config.json. Must not know: anything else about them.
#pragma once

#include <cstdint>
#include <string_view>

namespace tilefit::inline v0::bench {

/// One expert layer. gate_up is [2 * intermediate, hidden], down is [hidden, intermediate], per expert.
struct model_shape {
  std::string_view name;
  int experts = 0;
  int topk = 0;
  std::int64_t hidden = 0;
  std::int64_t intermediate = 0;
};

/// Sources: the models' pages at https://huggingface.co, file config.json (num_local_experts or n_routed_experts,
/// num_experts_per_tok, hidden_size, intermediate_size or moe_intermediate_size).
inline constexpr model_shape models[] = {
    {"gpt-oss-20b", 32, 4, 2880, 2880},    // openai/gpt-oss-20b
    {"gpt-oss-120b", 128, 4, 2880, 2880},  // openai/gpt-oss-120b
    {"deepseek-v3", 256, 8, 7168, 2048},   // deepseek-ai/DeepSeek-V3
    {"kimi-k2", 384, 8, 7168, 2048},       // moonshotai/Kimi-K2-Instruct
    {"qwen3-moe", 128, 8, 2048, 768},      // Qwen/Qwen3-30B-A3B
    {"mixtral", 8, 2, 4096, 14336},        // mistralai/Mixtral-8x7B-v0.1
};

}  // namespace tilefit::inline v0::bench
