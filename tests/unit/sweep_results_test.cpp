// Files of measured sweeps: what is written can be read again, pictures hold every point, stale texts are noticed.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "catch.hpp"
#include "sweep_results.hpp"

using namespace tilefit;
using namespace tilefit::bench;

namespace {

layer_times made_row(std::int64_t tokens, double us) {
  layer_times row{.model = models[0], .tokens = tokens, .active_experts = 4};
  for (int which = 0; which < 2; ++which) {
    row.parts[which].choice = {.flags = {.block_m = 8, .block_n = 128, .block_k = 256},
                               .entry = 0,
                               .chosen = true,
                               .in_full = true,
                               .time = summarise({us, us + 1, us + 2})};
    row.bytes[which] = 1e9;
    row.flops[which] = 2e9 * static_cast<double>(tokens);
  }
  return row;
}

constexpr rate_ceilings rates_of() { return {.copy_gbps = 4000, .read_gbps = 4000, .gemm_tflops = 800}; }

std::size_t count_of(std::string_view text, std::string_view part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

}  // namespace

TEST_CASE("order statistics") {
  CHECK(summarise({}).count == 0);
  const time_summary one = summarise({7});
  CHECK(one.median == 7);
  CHECK(one.spread() == 0);
  const time_summary many = summarise({10, 1, 9, 2, 8, 3, 7, 4, 6, 5, 100});
  CHECK(many.median == 6);
  CHECK(many.least == 1);
  CHECK(many.p10 == 2);
  CHECK(many.p90 == 10);
  CHECK(many.spread() > wide_spread);
  CHECK(summarise({1, 2}).median == 1.5);
}

TEST_CASE("the best tile is one that was timed in full and ran") {
  matmul_times times;
  times.choice = {.flags = {.block_m = 8}, .in_full = true, .time = summarise({100})};
  CHECK(times.best() == nullptr);
  times.all.push_back({.flags = {.block_m = 16}, .in_full = false, .time = summarise({10})});
  times.all.push_back({.flags = {.block_m = 32}, .in_full = true, .time = summarise({20}), .fault = "wrong"});
  times.all.push_back({.flags = {.block_m = 64}, .in_full = true, .time = summarise({90})});
  times.all.push_back({.flags = {.block_m = 8}, .in_full = true, .time = summarise({95})});
  REQUIRE(times.best() != nullptr);
  CHECK(times.best()->flags.block_m == 64);
  CHECK(times.time_of_choice() == 95);
  times.all.back().time = summarise({110});  // later than the choice by itself, and beside the others
  times.all[2].time = summarise({105});
  CHECK(times.best()->flags.block_m == 64);
  CHECK(times.time_of_choice() == 110);
  CHECK(cuda_version(13000) == "13.0");
  times.choice.fault = "wrong";
  CHECK(times.best() == nullptr);
}

TEST_CASE("a floor is the larger of moving and multiplying") {
  const layer_times few = made_row(1, 10), many = made_row(100'000, 10);
  CHECK(few.floor_us(rates_of()) == Approx(2e9 / 4000e9 * 1e6));
  CHECK(many.floor_us(rates_of()) == Approx(4e14 / 800e12 * 1e6));
  CHECK(few.floor_us({}) == 0);
}

TEST_CASE("a sweep that was written can be read and drawn") {
  auto file = json_head({.device = "A <device> & more", .multiprocessors = 132}, rates_of(), 30);
  const anchor_row anchor{.model = "gpt-oss-20b", .tokens = 4, .active_experts = 4, .sum_us = 2000};
  file["rows"].push_back(json_of(made_row(4, 600), rates_of(), &anchor));
  file["rows"].push_back(json_of(made_row(1, 500), rates_of(), nullptr));
  const auto again = nlohmann::ordered_json::parse(file.dump());
  const result<sweep_file> sweep = read_sweep(again);
  REQUIRE(sweep);
  CHECK(sweep->device == "A <device> & more");
  REQUIRE(sweep->rows.size() == 2);
  CHECK(sweep->rows[0].tokens == 1);  // in order
  CHECK(sweep->rows[1].sum_us == Approx(1202));
  CHECK(sweep->rows[1].anchor_us == 2000);
  CHECK(sweep->rows[0].anchor_us == 0);

  const std::string picture = draw_sweep(*sweep);
  CHECK(count_of(picture, "<circle") == 4);  // two points in each panel
  CHECK(count_of(picture, "stroke-dasharray") == 2);
  CHECK(count_of(picture, "nan") == 0);
  CHECK(count_of(picture, "A &lt;device&gt; &amp; more") == 1);
  CHECK(picture == draw_sweep(*sweep));

  auto broken = again;
  broken["rows"][0].erase("sum_us");
  const result<sweep_file> refused = read_sweep(broken);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().find("sum_us") != std::string::npos);
  broken["rows"] = nlohmann::ordered_json::array();
  CHECK_FALSE(read_sweep(broken));
}

TEST_CASE("anchors are read by the names of their columns") {
  const std::string path = (std::filesystem::temp_directory_path() / "tilefit_anchor_test.json").string();
  const auto write = [&](std::string_view text) { std::ofstream(path) << text; };
  write(R"({"columns": ["tokens", "model", "down_us", "gate_up_us", "active_experts"],
            "rows": [[8, "gpt-oss-20b", 40.5, 70.25, 21]]})");
  const result<std::vector<anchor_row>> anchor = read_anchor(path);
  REQUIRE(anchor);
  REQUIRE(find_anchor(*anchor, "gpt-oss-20b", 8) != nullptr);
  CHECK(find_anchor(*anchor, "gpt-oss-20b", 8)->sum_us == Approx(110.75));
  CHECK(find_anchor(*anchor, "gpt-oss-20b", 9) == nullptr);
  CHECK(find_anchor(*anchor, "mixtral", 8) == nullptr);
  write(R"({"columns": ["tokens", "model"], "rows": [[8, "gpt-oss-20b"]]})");
  CHECK_FALSE(read_anchor(path));
  write(R"({"columns": [], "rows": []})");
  CHECK_FALSE(read_anchor(path));
  std::remove(path.c_str());
  CHECK_FALSE(read_anchor(path));
}
