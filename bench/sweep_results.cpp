#include "sweep_results.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace tilefit::inline v0::bench {
namespace {

using json = nlohmann::ordered_json;

result<json> read_json(const std::string& path) {
  std::ifstream file(path);
  if (!file) return file_error{"it cannot be opened"};
  json value = json::parse(file, nullptr, false);
  if (value.is_discarded()) return file_error{"it is no JSON"};
  return value;
}

}  // namespace

result<std::vector<anchor_row>> read_anchor(const std::string& path) {
  const result<json> file = read_json(path);
  if (!file) return file_error{file.error()};
  try {
    std::map<std::string, std::size_t> column;
    const json& names = file->at("columns");
    for (std::size_t i = 0; i < names.size(); ++i) column[names[i].get<std::string>()] = i;
    std::vector<anchor_row> rows;
    for (const json& row : file->at("rows"))
      rows.push_back(
          {.model = row.at(column.at("model")).get<std::string>(),
           .tokens = row.at(column.at("tokens")).get<std::int64_t>(),
           .active_experts = row.at(column.at("active_experts")).get<int>(),
           .sum_us = row.at(column.at("gate_up_us")).get<double>() + row.at(column.at("down_us")).get<double>()});
    if (rows.empty()) return file_error{"it has no rows"};
    return rows;
  } catch (const std::exception& error) {
    return file_error{fmt::format("columns model, tokens, active_experts, gate_up_us, down_us and rows are wanted ({})",
                                  error.what())};
  }
}

const anchor_row* find_anchor(const std::vector<anchor_row>& anchor, std::string_view model, std::int64_t tokens) {
  for (const anchor_row& row : anchor)
    if (row.model == model && row.tokens == tokens) return &row;
  return nullptr;
}

json json_of(const opt_flags& f) {
  return {{"block_m", f.block_m},
          {"block_n", f.block_n},
          {"block_k", f.block_k},
          {"num_warps", f.num_warps},
          {"num_stages", f.num_stages},
          {"group_m", f.group_m},
          {"split_k", f.split_k},
          {"is_persistent", f.is_persistent},
          {"epilogue_subtile", f.epilogue_subtile},
          {"idle_sms", f.idle_sms}};
}

json json_of(const time_summary& time) {
  return {{"median_us", time.median},
          {"min_us", time.least},
          {"p10_us", time.p10},
          {"p90_us", time.p90},
          {"replays", time.count}};
}

json json_of(const tile_time& tile) {
  json out = {{"entry", tile.entry},
              {"chosen", tile.chosen},
              {"timed_in_full", tile.in_full},
              {"flags", json_of(tile.flags)},
              {"time", json_of(tile.time)}};
  if (tile.time.spread() > wide_spread) out["spread"] = tile.time.spread();
  if (tile.launch_host_us > 0) out["launch_host_us"] = tile.launch_host_us;
  out["sum_of_magnitudes"] = tile.sum_of_magnitudes;
  if (!tile.fault.empty()) out["fault"] = tile.fault;
  return out;
}

json json_of(const layer_times& times, const rate_ceilings& rates, const anchor_row* anchor) {
  json out = {{"model", times.model.name},
              {"experts", times.model.experts},
              {"tokens", times.tokens},
              {"active_experts", times.active_experts}};
  constexpr const char* names[] = {"gate_up", "down"};
  for (int which = 0; which < 2; ++which) {
    const matmul_times& part = times.parts[which];
    json one = {{"choice", json_of(part.choice)}};
    if (const tile_time* best = part.best()) one["best"] = json_of(*best);
    for (const tile_time& each : part.all) one["sweep"].push_back(json_of(each));
    out[names[which]] = std::move(one);
  }
  out["sum_us"] = times.sum_us();
  out["floor_us"] = times.floor_us(rates);
  out["ratio_to_floor"] = times.sum_us() / times.floor_us(rates);
  for (int which = 0; which < 2; ++which) {
    out[fmt::format("bytes_{}", names[which])] = times.bytes[which];
    out[fmt::format("flops_{}", names[which])] = times.flops[which];
  }
  if (times.joint.count > 0) out["joint"] = json_of(times.joint);
  if (anchor != nullptr) {
    out["anchor_us"] = anchor->sum_us;
    out["anchor_active_experts"] = anchor->active_experts;
  }
  return out;
}

std::string date_now() {
  const std::time_t now = std::time(nullptr);
  char text[32] = {};
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  return text;
}

std::string cuda_version(int number) { return fmt::format("{}.{}", number / 1000, number % 1000 / 10); }

json json_head(const gpu_facts& facts, const rate_ceilings& rates, int repeats) {
  return {{"machine",
           {{"device", facts.device},
            {"multiprocessors", facts.multiprocessors},
            {"driver", facts.driver},
            {"toolkit", facts.toolkit},
            {"date", date_now()},
            {"catalogue", facts.generic ? "generic" : "device"},
            {"repeats", repeats},
            {"protocol", "each matmul in a CUDA graph, L2 emptied before each replay, median of replays"}}},
          {"ceilings",
           {{"copy_GBps_read_plus_write", rates.copy_gbps},
            {"read_GBps", rates.read_gbps},
            {"bf16_gemm_TFLOPs", rates.gemm_tflops},
            {"bf16_gemm_source", rates.gemm_source}}},
          {"rows", json::array()}};
}

result<sweep_file> read_sweep(const json& file) {
  try {
    sweep_file out;
    const json &machine = file.at("machine"), &ceilings = file.at("ceilings");
    out.device = machine.at("device").get<std::string>();
    out.date = machine.at("date").get<std::string>().substr(0, 10);
    out.rates = {.copy_gbps = ceilings.at("copy_GBps_read_plus_write").get<double>(),
                 .read_gbps = ceilings.at("read_GBps").get<double>(),
                 .gemm_tflops = ceilings.at("bf16_gemm_TFLOPs").get<double>(),
                 .gemm_source = ceilings.at("bf16_gemm_source").get<std::string>()};
    std::vector<std::string> names;
    std::multimap<std::pair<std::ptrdiff_t, std::int64_t>, sweep_row>
        sorted;  // by model, then tokens, else as they come
    for (const json& row : file.at("rows")) {
      sweep_row read{.model = row.at("model").get<std::string>(),
                     .tokens = row.at("tokens").get<std::int64_t>(),
                     .sum_us = row.at("sum_us").get<double>(),
                     .floor_us = row.at("floor_us").get<double>(),
                     .anchor_us = row.value("anchor_us", 0.0),
                     .bytes = row.at("bytes_gate_up").get<double>() + row.at("bytes_down").get<double>(),
                     .flops = row.at("flops_gate_up").get<double>() + row.at("flops_down").get<double>()};
      const auto name = std::find(names.begin(), names.end(), read.model);
      const std::pair place{name - names.begin(), read.tokens};
      if (name == names.end()) names.push_back(read.model);
      sorted.emplace(place, std::move(read));
    }
    for (auto& [place, row] : sorted) out.rows.push_back(std::move(row));
    if (out.rows.empty()) return file_error{"it has no rows"};
    return out;
  } catch (const std::exception& error) {
    return file_error{fmt::format("it is no sweep ({})", error.what())};
  }
}

result<sweep_file> read_sweep_file(const std::string& path) {
  const result<json> file = read_json(path);
  if (!file) return file_error{file.error()};
  return read_sweep(*file);
}

}  // namespace tilefit::inline v0::bench
