// Measured sweeps as JSON files: written by `sweep`, read again by `sweep --from`, `report` and the plots.
// Knows: the members of the files. Must not know: how anything is measured or drawn.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "gpu_sweep.hpp"
#include "safetensors.hpp"

namespace tilefit::inline v0::bench {

/// Recorded times of another implementation: a JSON file with "columns" and "rows" (arrays in their order), of which
/// model, tokens, active_experts, gate_up_us and down_us are read.
struct anchor_row {
  std::string model;
  std::int64_t tokens = 0;
  int active_experts = 0;
  double sum_us = 0;
};

result<std::vector<anchor_row>> read_anchor(const std::string& path);

const anchor_row* find_anchor(const std::vector<anchor_row>& anchor, std::string_view model, std::int64_t tokens);

nlohmann::ordered_json json_of(const opt_flags& flags);
nlohmann::ordered_json json_of(const time_summary& time);
nlohmann::ordered_json json_of(const tile_time& tile);
nlohmann::ordered_json json_of(const layer_times& times, const rate_ceilings& rates, const anchor_row* anchor);
/// Head of a file of results: machine, ceilings, and an empty array of rows. `date`: now, UTC.
nlohmann::ordered_json json_head(const gpu_facts& facts, const rate_ceilings& rates, int repeats);
std::string date_now();
/// "13.0" for 13000.
std::string cuda_version(int number);

/// What pictures and tables need of a row of a file.
struct sweep_row {
  std::string model;
  std::int64_t tokens = 0;
  double sum_us = 0;
  double floor_us = 0;
  double anchor_us = 0;  ///< 0: none
  double bytes = 0, flops = 0;
};

struct sweep_file {
  std::string device;
  std::string date;  ///< as "2026-11-21"
  rate_ceilings rates{};
  std::vector<sweep_row> rows;  ///< by model as they come, then by tokens
};

/// The first member that is missing or of another kind is named.
result<sweep_file> read_sweep(const nlohmann::ordered_json& json);
result<sweep_file> read_sweep_file(const std::string& path);

/// An SVG picture: a roofline with the measured ceilings, and the time over the floor for every token count, with
/// the anchor's.
std::string draw_sweep(const sweep_file& sweep);

}  // namespace tilefit::inline v0::bench
