#include "tilefit/routing.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "catch.hpp"

using namespace tilefit;

namespace {

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

struct choice {
  std::vector<std::int32_t> index;
  std::vector<float> weight;
};

choice choose(int topk, const std::vector<float>& logits) {
  const routing_shape shape{1, static_cast<int>(logits.size()), topk};
  choice out{std::vector<std::int32_t>(static_cast<std::size_t>(topk), -7),
             std::vector<float>(static_cast<std::size_t>(topk), -7.0f)};
  REQUIRE(choose_experts<float>(shape, logits, out.index, out.weight) == status_code::ok);
  return out;
}

using indices = std::vector<std::int32_t>;
using weights = std::vector<float>;

struct sorted {
  indices histogram, offsets, gather, scatter;
  weights gammas;
  status_code status;
};

sorted sort(const routing_shape& shape, const indices& index, const weights& weight, const indices& map = {},
            int local = -1) {
  const auto rows = static_cast<std::size_t>(shape.rows());
  const auto experts = static_cast<std::size_t>(local < 0 ? shape.experts : local);
  sorted out{indices(experts, -7), indices(experts + 1, -7), indices(rows, -7),
             indices(rows, -7),    weights(rows, -7.0f),     status_code::ok};
  out.status = sort_rows(shape, index, weight, map, {out.histogram, out.offsets, out.gather, out.scatter, out.gammas});
  return out;
}

}  // namespace

TEST_CASE("routing: highest first, ties to the lower expert, NaN last", "[routing]") {
  CHECK(choose(2, {1.0f, 3.0f, 2.0f}).index == indices{1, 2});
  CHECK(choose(3, {1.0f, 1.0f, 1.0f, 1.0f}).index == indices{0, 1, 2});
  CHECK(choose(2, {0.0f, 5.0f, 0.0f, 5.0f}).index == indices{1, 3});
  CHECK(choose(2, {-0.0f, 0.0f}).index == indices{0, 1});
  CHECK(choose(2, {nan_value, -infinity, 1.0f}).index == indices{2, 1});
  CHECK(choose(3, {nan_value, -infinity, nan_value, 1.0f}).index == indices{3, 1, 0});

  CHECK(choose(2, {nan_value, 1.0f}).weight == weights{1.0f, 0.0f});
  CHECK(choose(2, {infinity, 1.0f, infinity}).weight == weights{0.5f, 0.5f});
  CHECK(choose(2, {-infinity, -infinity}).weight == weights{0.5f, 0.5f});
  CHECK(choose(2, {1.0f, infinity}).weight == weights{1.0f, 0.0f});
  const choice nothing = choose(2, {nan_value, nan_value, nan_value});
  CHECK(nothing.index == indices{0, 1});
  CHECK(std::isnan(nothing.weight[0]));
  CHECK(std::isnan(nothing.weight[1]));

  const choice usual = choose(2, {std::log(3.0f), 0.0f, -50.0f});
  CHECK(std::abs(usual.weight[0] - 0.75f) < 1e-6f);
  CHECK(std::abs(usual.weight[1] - 0.25f) < 1e-6f);
}

TEST_CASE("routing: the same choice as a full sort", "[routing]") {
  std::mt19937 random(3);
  for (const int experts : {1, 4, 32, 128})
    for (const int topk : {1, 2, 4})
      for (int repeat = 0; repeat < 20 && topk <= experts; ++repeat) {
        std::vector<float> logits(static_cast<std::size_t>(experts));
        for (float& logit : logits) logit = static_cast<float>(random() % 7);  // many ties
        indices order(static_cast<std::size_t>(experts));
        std::iota(order.begin(), order.end(), 0);
        std::sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
          const float first = logits[static_cast<std::size_t>(a)], second = logits[static_cast<std::size_t>(b)];
          return first != second ? first > second : a < b;
        });
        order.resize(static_cast<std::size_t>(topk));
        const choice chosen = choose(topk, logits);
        CHECK(chosen.index == order);
        CHECK(std::abs(std::accumulate(chosen.weight.begin(), chosen.weight.end(), 0.0f) - 1.0f) < 1e-5f);
      }
}

TEST_CASE("routing: rows by expert, tokens in order", "[routing]") {
  const sorted rows = sort({3, 4, 2}, {2, 0, 0, 3, 2, 0}, {1, 2, 3, 4, 5, 6});
  REQUIRE(rows.status == status_code::ok);
  CHECK(rows.histogram == indices{3, 0, 2, 1});
  CHECK(rows.offsets == indices{0, 3, 3, 5, 6});
  CHECK(rows.gather == indices{0, 1, 2, 0, 2, 1});
  CHECK(rows.scatter == indices{1, 2, 5, 0, 4, 3});
  CHECK(rows.gammas == weights{2, 3, 6, 1, 5, 4});
}

TEST_CASE("routing: experts that live elsewhere", "[routing]") {
  // Experts 2 and 0 are here, as 0 and 1.
  const sorted rows = sort({3, 4, 2}, {2, 0, 0, 3, 2, 1}, {1, 2, 3, 4, 5, 6}, {1, -1, 0, -1}, 2);
  REQUIRE(rows.status == status_code::ok);
  CHECK(rows.histogram == indices{2, 2});
  CHECK(rows.offsets == indices{0, 2, 4});
  CHECK(rows.gather == indices{0, 2, 0, 1, -1, -1});
  CHECK(rows.scatter == indices{0, 4, 1, 2, -1, -1});
  CHECK(rows.gammas == weights{1, 5, 2, 3, 0, 0});

  const sorted none = sort({2, 2, 1}, {0, 1}, {1, 1}, {-1, -1}, 1);
  REQUIRE(none.status == status_code::ok);
  CHECK(none.offsets == indices{0, 0});
  CHECK(none.gather == indices{-1, -1});
}

TEST_CASE("routing: no tokens", "[routing]") {
  const sorted rows = sort({0, 4, 2}, {}, {});
  CHECK(rows.status == status_code::empty);
  CHECK(rows.offsets == indices{0, 0, 0, 0, 0});
}

TEST_CASE("routing: refused calls write nothing", "[routing]") {
  const auto refuse = [](const routing_shape& shape, const indices& index, const indices& map, int local) {
    const sorted rows = sort(shape, index, weights(index.size(), 1.0f), map, local);
    CHECK(rows.status == status_code::invalid_argument);
    for (const indices* written : {&rows.histogram, &rows.offsets, &rows.gather, &rows.scatter})
      CHECK(std::all_of(written->begin(), written->end(), [](std::int32_t i) { return i == -7; }));
  };
  refuse({2, 4, 1}, {0, 4}, {}, -1);
  refuse({2, 4, 1}, {0, -1}, {}, -1);
  refuse({2, 4, 1}, {0}, {}, -1);
  refuse({2, 4, 1}, {0, 1}, {}, 3);
  refuse({2, 4, 1}, {0, 1}, {0, 1, 2}, 4);
  refuse({2, 4, 1}, {0, 1}, {0, 0, -1, -1}, 1);
  refuse({2, 4, 1}, {0, 1}, {0, 1, -1, -1}, 1);
  refuse({2, 4, 1}, {0, 1}, {0, -2, -1, -1}, 1);

  std::vector<float> logits(8), weight(2, -7.0f);
  indices index(2, -7);
  for (const routing_shape shape :
       {routing_shape{2, 3, 1}, routing_shape{2, 4, 0}, routing_shape{2, 4, 5}, routing_shape{-1, 4, 1},
        routing_shape{2, 0, 1}, routing_shape{1, 4, 1}, routing_shape{std::int64_t{1} << 40, 4, 1}})
    CHECK(choose_experts<float>(shape, logits, index, weight) == status_code::invalid_argument);
  CHECK(index == indices{-7, -7});
  CHECK(weight == weights{-7.0f, -7.0f});
}

TEST_CASE("routing: row tiles", "[routing]") {
  const indices offsets{0, 0, 5, 5, 9, 17};
  std::vector<row_tile> tiles(5);
  REQUIRE(row_tile_count(offsets.data(), 5, 4) == 5);
  REQUIRE(make_row_tiles(offsets, 4, tiles) == status_code::ok);
  CHECK(tiles == std::vector<row_tile>{{1, 0, 4}, {1, 4, 1}, {3, 5, 4}, {4, 9, 4}, {4, 13, 4}});
  std::vector<row_tile> none;
  CHECK(make_row_tiles(indices{0, 0}, 4, none) == status_code::empty);
  CHECK(make_row_tiles(offsets, 4, none) == status_code::invalid_argument);
  CHECK(make_row_tiles(offsets, 0, tiles) == status_code::invalid_argument);
  CHECK(make_row_tiles(indices{0, 2, 1}, 1, tiles) == status_code::invalid_argument);
}
