// Routing in the executor against choose_experts and sort_rows: indices exactly, weights to 1e-6; and with a barrier
// less.
#include "../../support/routing_cases.hpp"

#include "../../support/catch.hpp"
#include "executor_stream.hpp"
#include "layer_kernels.hpp"

using namespace tilefit_simt;
using namespace routing_test;
using simt::memory_use;
using simt::sabotage_kind;

namespace {

template <class T>
T* place(simt::memory& memory, const std::vector<T>& values, const char* name) {
  T* const to = memory.take<T>(static_cast<std::int64_t>(values.size()), name, memory_use::input);
  std::copy(values.begin(), values.end(), to);
  return to;
}

/// A routing in watched memory.
class watched_routing {
 public:
  explicit watched_routing(const routing_case& c)
      : case_(c),
        random_(static_cast<unsigned>(c.shape.tokens * 1000 + c.shape.experts * 10 + c.shape.topk)),
        map_(make_map(c.map, c.shape.experts)),
        logits_(make_logits(c.shape, random_)) {
    const auto rows = static_cast<std::int64_t>(c.shape.rows());
    expected_.expert_index.resize(static_cast<std::size_t>(rows));
    expected_.expert_weight.resize(static_cast<std::size_t>(rows));
    const auto scratch = [&]<class T>(T*& to, std::int64_t count, const char* name) {
      to = memory.take<T>(count, name, memory_use::scratch);
    };
    args = {.shape = c.shape,
            .local_experts = map_.map.empty() ? 0 : map_.local,
            .expert_map = map_.map.empty() ? nullptr : place(memory, map_.map, "expert_map")};
    scratch(args.expert_index, rows, "expert_index");
    scratch(args.expert_weight, rows, "expert_weight");
    scratch(args.histogram, map_.local, "histogram");
    scratch(args.offsets, std::int64_t{map_.local} + 1, "offsets");
    scratch(args.gather_indx, rows, "gather_indx");
    scratch(args.scatter_indx, rows, "scatter_indx");
    if (c.gammas) scratch(args.gammas, rows, "gammas");
    if (c.given) {
      make_choices(c.shape, random_, expected_);
      args.given = {place(memory, expected_.expert_index, "given experts"),
                    c.gammas ? place(memory, expected_.expert_weight, "given weights") : nullptr};
    } else {
      const std::int64_t stride = c.shape.experts + 3;
      args.logits = {place(memory, encode(c.type, logits_, c.shape, stride), "logits"), c.type, stride};
    }
    args.scratch_bytes = gpu::routing_scratch_bytes(args);
    if (args.scratch_bytes != 0) args.scratch = memory.take(args.scratch_bytes, "scratch", memory_use::scratch);
  }

  /// What went wrong, or nothing. tokens_per_block: not those of the plan.
  std::string run(executor_stream& stream, int tokens_per_block = 0) {
    const gpu::launch_status status = tokens_per_block == 0
                                          ? tilefit_simt::route(args, stream)
                                          : tilefit_simt::route_in_blocks(args, tokens_per_block, stream);
    if (status.code != (case_.shape.tokens == 0 ? status_code::empty : status_code::ok))
      return "answer " + std::string(name_of(status.code));
    if (!stream.faults.empty()) return stream.faults;
    const auto rows = static_cast<std::size_t>(case_.shape.rows());
    if (!case_.given) {
      expected_.expert_index.assign(args.expert_index, args.expert_index + rows);
      expected_.expert_weight.assign(args.expert_weight, args.expert_weight + rows);
      const std::string wrong = wrong_weights(case_, logits_, expected_.expert_index, expected_.expert_weight);
      if (!wrong.empty()) return wrong;
    }
    if (!sort_on_host(case_, map_, expected_)) return "the reference refuses";
    const auto same = [](const auto& wanted, const auto* got) {
      return wanted.empty() || std::memcmp(wanted.data(), got, wanted.size() * sizeof wanted[0]) == 0;
    };
    if (!same(expected_.histogram, args.histogram)) return "histogram";
    if (!same(expected_.offsets, args.offsets)) return "offsets";
    if (!same(expected_.gather, args.gather_indx)) return "gather_indx";
    if (!same(expected_.scatter, args.scatter_indx)) return "scatter_indx";
    return !case_.gammas || same(expected_.gammas, args.gammas) ? "" : "gammas";
  }

  simt::memory memory;
  gpu::routing_args args;

 private:
  routing_case case_;
  std::mt19937 random_;
  local_map map_;
  floats logits_;
  routed expected_;
};

void check(const routing_case& c, int kernels) {
  INFO(text_of(c));
  watched_routing routing(c);
  executor_stream stream(routing.memory);
  CHECK(routing.run(stream) == "");
  CHECK(stream.kernels == kernels);
}

}  // namespace

TEST_CASE("simt routing: one block", "[simt]") {
  unsigned turn = 0;
  for (const routing_shape shape :
       {routing_shape{1, 1, 1}, {1, 32, 4}, {7, 8, 8}, {3, 33, 3}, {64, 128, 4}, {5, 256, 8}})
    for (const dtype type : {dtype::fp32, dtype::bf16, dtype::fp16}) {
      ++turn;
      check({.shape = shape, .type = type, .map = all_maps[turn % 5], .gammas = turn % 4 != 0}, 1);
      if (type == dtype::fp32) check({.shape = shape, .map = all_maps[turn % 5], .given = true}, 1);
    }
}

TEST_CASE("simt routing: several blocks", "[simt]") {
  unsigned turn = 0;
  for (const routing_shape shape :
       {routing_shape{65, 8, 2}, {33, 300, 9}, {70, 60, 4}, {20, 1020, 32}, {100, 700, 4}}) {
    ++turn;
    check({.shape = shape, .type = turn % 2 == 0 ? dtype::bf16 : dtype::fp32, .map = all_maps[turn % 5]}, 2);
    check({.shape = shape, .map = all_maps[(turn + 1) % 5], .given = true, .gammas = turn % 2 == 0}, 2);
  }
}

TEST_CASE("simt routing: all tokens to the same experts", "[simt]") {
  for (const std::int64_t tokens : {40, 90}) {
    routing_case c{.shape = {tokens, 16, 4}, .given = true};
    watched_routing routing(c);
    auto* const given = const_cast<std::int32_t*>(routing.args.given.expert_index);
    for (std::int64_t row = 0; row < tokens * 4; ++row) given[row] = static_cast<std::int32_t>(3 + row % 4);
    executor_stream stream(routing.memory);
    REQUIRE(tilefit_simt::route(routing.args, stream).code == status_code::ok);
    CHECK(stream.faults == "");
    for (int e = 0; e < 16; ++e)
      CHECK(routing.args.histogram[e] == (e >= 3 && e < 7 ? static_cast<std::int32_t>(tokens) : 0));
    for (std::int64_t row = 0; row < tokens * 4; ++row) {
      CHECK(routing.args.gather_indx[row] == row % tokens);
      CHECK(routing.args.scatter_indx[row] == row % tokens * 4 + row / tokens);
    }
  }
}

TEST_CASE("simt routing: no tokens", "[simt]") {
  watched_routing routing({.shape = {0, 8, 4}});
  executor_stream stream(routing.memory);
  CHECK(tilefit_simt::route(routing.args, stream).code == status_code::empty);
  CHECK(stream.kernels == 0);
  CHECK(stream.memsets == 2);
  for (int e = 0; e < 8; ++e) CHECK(routing.args.histogram[e] == 0);
  for (int e = 0; e <= 8; ++e) CHECK(routing.args.offsets[e] == 0);
}

TEST_CASE("simt routing: waves that go over several rounds of rows", "[simt]") {
  for (const map_kind map : {map_kind::none, map_kind::half_elsewhere}) {
    const routing_case c{.shape = {500, 900, 8}, .map = map, .given = true};
    watched_routing routing(c);
    executor_stream stream(routing.memory);
    CHECK(routing.run(stream, 400) == "");
  }
}

TEST_CASE("simt routing: mistakes", "[simt]") {
  struct mistaken {
    routing_case c;
    int tokens_per_block;
  };
  for (const mistaken& one :
       {mistaken{{.shape = {9, 128, 4}, .given = true}, 0}, mistaken{{.shape = {200, 900, 8}, .given = true}, 200}}) {
    const routing_case& c = one.c;
    const int tokens_per_block = one.tokens_per_block;
    INFO(text_of(c));
    watched_routing right(c);
    executor_stream stream(right.memory);
    REQUIRE(right.run(stream, tokens_per_block) == "");
    const simt::grid_counts counts = stream.last.counts;  // of the last kernel
    const auto found = [&](sabotage_kind kind, int index) {
      watched_routing routing(c);
      executor_stream wrong(routing.memory, {.seed = 1, .mistake = {kind, index}});
      return routing.run(wrong, tokens_per_block) != "";
    };
    REQUIRE(counts.barriers > 2);
    for (int i = 0; i < counts.barriers; ++i) CHECK(found(sabotage_kind::skip_barrier, i));
    // Not all matter: behind the last round of a wave comes a barrier, and rows of different experts do not meet.
    int needed = 0;
    for (int i = 0; i < counts.warp_syncs; ++i) needed += found(sabotage_kind::skip_warp_sync, i) ? 1 : 0;
    CHECK(needed >= (tokens_per_block > 0 ? counts.warp_syncs / 2 : 0));
    CHECK((counts.warp_syncs > 0) == (tokens_per_block > 0));
  }
}
