// What the executor must find in kernels that are wrong, and must not find in those that are right.
#include <numeric>
#include <set>

#include "../support/catch.hpp"
#include "fault_kernels.hpp"
#include "matmul_case.hpp"

using namespace tilefit_simt;
using simt::fault_kind;

namespace {

struct run_of_ints {
  simt::grid_result grid;
  std::vector<std::int32_t> out;
};

run_of_ints run(int_kernel kernel, const simt::grid_options& options = {}, unsigned blocks = 1) {
  simt::memory memory(std::size_t{1} << 24);
  auto* const in = memory.take<std::int32_t>(64, "in", simt::memory_use::input);
  std::iota(in, in + 64, 100);
  const std::int64_t count = std::max<std::int64_t>(256, 64 * blocks + 2);
  auto* const out = memory.take<std::int32_t>(count, "out", simt::memory_use::output);
  std::fill_n(out, count, 0);
  simt::executor executor(memory);
  run_of_ints result;
  result.grid = executor.run({.grid = blocks, .block = 64, .shared_bytes = 256}, options, kernel, out, in);
  result.out.assign(out, out + count);
  return result;
}

/// The fault that must be the first one.
simt::fault first_fault(int_kernel kernel, const simt::grid_options& options = {}, unsigned blocks = 1) {
  const run_of_ints result = run(kernel, options, blocks);
  INFO(result.grid.faults.text());
  REQUIRE(result.grid.faults.count > 0);
  return result.grid.faults.kept.front();
}

}  // namespace

TEST_CASE("simt faults: right kernels are right in every order", "[simt]") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const simt::grid_options options{.seed = seed};
    const run_of_ints shifted = run(shift_right, options);
    CHECK(shifted.grid.faults.text() == "");
    for (int i = 0; i < 64; ++i) CHECK(shifted.out[static_cast<std::size_t>(i)] == 100 + (i + 1) % 64);
    const run_of_ints copied = run(copy, options);
    CHECK(copied.grid.faults.text() == "");
    for (int i = 0; i < 64; ++i) CHECK(copied.out[static_cast<std::size_t>(i)] == 100 + i);
    CHECK(run(exchange_in_warp, options).grid.faults.text() == "");
    const run_of_ints met = run(blocks_meet, options, 5);
    CHECK(met.grid.faults.text() == "");
    CHECK(met.out[5 * 64 + 1] == 5 * 63 * 32);
    CHECK(run(store_sizes, options).grid.faults.text() == "");
  }
}

TEST_CASE("simt faults: accesses of every size are announced", "[simt]") {
  // Without the instrumentation nothing else here would mean anything.
  simt::memory memory(std::size_t{1} << 24);
  auto* const out = memory.take<std::int32_t>(256, "out", simt::memory_use::input);
  simt::executor executor(memory);
  const auto result = executor.run({.block = 64}, {.most_faults = 256}, store_sizes, out, nullptr);
  std::set<int> lanes;
  for (const simt::fault& found : result.faults.kept) {
    CHECK(found.kind == fault_kind::read_only);
    const int sizes[] = {1, 2, 4, 8, 16};
    const int size = sizes[found.by.lane % 5];
    if (size < 16) CHECK(found.bytes == size);  // the widest may come in pieces
    if (lanes.insert(found.by.lane).second) CHECK(found.byte == 16 * found.by.lane);
  }
  CHECK(lanes.size() == 64);
}

TEST_CASE("simt faults: races", "[simt]") {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const simt::grid_options options{.seed = seed};
    const run_of_ints shifted = run(shift_without_barrier, options);
    CHECK((shifted.grid.faults.has(fault_kind::race) || shifted.grid.faults.has(fault_kind::never_written)));
    simt::fault found = first_fault(write_twice, options);
    CHECK(found.kind == fault_kind::race);
    CHECK(found.byte == 0);
    CHECK(found.stores);
    CHECK(found.other_stores);
    CHECK(std::minmax(found.by.lane, found.other.lane) == std::pair<const int&, const int&>(0, 63));
    found = first_fault(write_after_read, options);
    CHECK(found.kind == fault_kind::race);
    CHECK(found.by.lane + found.other.lane == 63);
    CHECK(found.stores != found.other_stores);
    const run_of_ints exchanged = run(exchange_in_warp_unordered, options);
    CHECK((exchanged.grid.faults.has(fault_kind::race) || exchanged.grid.faults.has(fault_kind::never_written)));
    // Without the barrier, what lanes 1.. wrote is not covered by lane 0's release.
    found = first_fault(blocks_meet_early, options, 3);
    CHECK(found.kind == fault_kind::race);
    CHECK(found.memory == "out");
    found = first_fault(blocks_do_not_meet, options, 2);
    CHECK(found.kind == fault_kind::race);
    CHECK(found.by.block != found.other.block);
  }
}

TEST_CASE("simt faults: memory", "[simt]") {
  simt::fault found = first_fault(read_never_written);
  CHECK(found.kind == fault_kind::never_written);
  CHECK(found.by.lane == 17);
  CHECK(found.byte == 68);
  found = first_fault(read_behind_shared);
  CHECK(found.text() == "block 0, lane 63 loads 4 bytes, byte 256 of shared memory: out of bounds (it has 256 bytes)");
  found = first_fault(write_before_out);
  CHECK(found.text() == "block 0, lane 0 stores 4 bytes, byte -4 of out: out of bounds (it has 1024 bytes)");
  found = first_fault(write_input);
  CHECK(found.kind == fault_kind::read_only);
  CHECK(found.by.lane == 5);
  CHECK(found.memory == "in");
  found = first_fault(write_stray);
  CHECK(found.kind == fault_kind::out_of_bounds);
  CHECK(found.by.lane == 40);
  found = first_fault(read_misaligned);
  CHECK(found.kind == fault_kind::misaligned);
  CHECK(found.by.lane == 3);
}

TEST_CASE("simt faults: divergence", "[simt]") {
  simt::fault found = first_fault(leave_early);
  CHECK(found.kind == fault_kind::divergence);
  INFO(found.text());
  CHECK(found.detail.find("lanes 32-63 have ended") != std::string::npos);
  CHECK(found.detail.find("lanes 0-31 wait at barrier 0 for 64 lanes at fault_kernels.cpp:") != std::string::npos);
  CHECK(first_fault(wait_elsewhere).kind == fault_kind::wrong_arguments);
  found = first_fault(wait_at_other_barrier);
  CHECK(found.kind == fault_kind::divergence);
  CHECK(found.detail.find("lanes 32-63 wait at barrier 2") != std::string::npos);
  found = first_fault(shuffle_in_half);
  CHECK(found.kind == fault_kind::divergence);
  CHECK(found.detail.find("wait in a shuffle") != std::string::npos);
  CHECK(first_fault(different_shuffles).kind == fault_kind::wrong_arguments);
}

TEST_CASE("simt faults: asynchronous copies", "[simt]") {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const simt::grid_options options{.seed = seed};
    CHECK(first_fault(copy_without_wait, options).kind == fault_kind::copy_under_way);
    CHECK(first_fault(copy_wrong_group, options).kind == fault_kind::copy_under_way);
    const run_of_ints early = run(copy_without_barrier, options);
    CHECK(early.grid.faults.count > 0);
    const run_of_ints over = run(copy_over_reads, options);
    CHECK((over.grid.faults.has(fault_kind::race) || over.grid.faults.has(fault_kind::copy_under_way)));
    CHECK(first_fault(copy_misaligned, options).kind == fault_kind::misaligned);
    const simt::fault found = first_fault(copy_from_behind, options);
    CHECK(found.kind == fault_kind::out_of_bounds);
    CHECK(found.by.lane == 15);
    CHECK(found.memory == "in");
  }
}

// --- the same mistakes in the generic matmul ------------------------------------------------------------------------

TEST_CASE("simt faults: a matmul with a barrier or a wait less", "[simt]") {
  for (const matmul_kernel& kernel : generic_kernels()) {
    if (kernel.x != dtype::bf16) continue;
    matmul_case matmul({.rows = {3, 0, kernel.flags.block_m + 9}, .n = 96, .k = 416, .y = dtype::fp32});
    const verdict right = matmul.run(kernel, 2, 1);
    REQUIRE(right.text(error_limit(dtype::fp32)) == "");
    INFO("block_m " << kernel.flags.block_m);
    CHECK(right.grid.counts.barriers >= 8);
    // The last one of each stands before the end, where nobody reads anything any more.
    for (int i = 0; i + 1 < right.grid.counts.barriers; ++i) {
      INFO("barrier " << i);
      const verdict wrong = matmul.run(kernel, 2, 1, {.mistake = {simt::sabotage_kind::skip_barrier, i}});
      CHECK(wrong.grid.faults.count > 0);
    }
    for (int i = 0; i + 1 < right.grid.counts.waits; ++i) {
      INFO("wait " << i);
      const verdict wrong = matmul.run(kernel, 2, 1, {.mistake = {simt::sabotage_kind::skip_wait, i}});
      CHECK(wrong.grid.faults.has(fault_kind::copy_under_way));
    }
  }
}

TEST_CASE("simt faults: a matmul with a wrong lane map, or less shared memory", "[simt]") {
  for (const matmul_kernel& kernel : generic_kernels()) {
    // All rows of the tile are there, so nothing of the matrix loads may be unwritten.
    matmul_case matmul({.rows = {kernel.flags.block_m}, .n = 128, .k = 256, .x = kernel.x, .y = dtype::fp32});
    INFO("block_m " << kernel.flags.block_m);
    CHECK(matmul.run(kernel, 1, 1, {.strict_matrix = true}).text(error_limit(dtype::fp32)) == "");
    CHECK(!(matmul.run(kernel, 1, 1, {.mistake = {simt::sabotage_kind::rotate_lanes, 0}}).error <= 0.1));
    // The plan's last region is rounded up to 128 bytes: one byte less than what is in it.
    const std::int64_t padding = (128 - 8 * kernel.flags.block_m % 128) % 128;
    CHECK(matmul.run(kernel, 1, 1, {}, padding).text(error_limit(dtype::fp32)) == "");
    const verdict small = matmul.run(kernel, 1, 1, {}, padding + 1);
    CHECK(small.grid.faults.has(fault_kind::out_of_bounds));
  }
}

TEST_CASE("simt faults: a split matmul that meets without order", "[simt]") {
  const matmul_kernel& kernel = generic_kernels().front();
  matmul_case matmul({.rows = {5}, .n = 128, .k = 1280, .y = dtype::fp32});
  const verdict right = matmul.run(kernel, 2, 16);
  REQUIRE(right.text(error_limit(dtype::fp32)) == "");
  // The barrier before the arrival is counted is the last but one: behind it comes the one that tells the result.
  int found = 0;
  for (int i = 0; i < right.grid.counts.barriers; ++i) {
    const verdict wrong = matmul.run(kernel, 2, 16, {.mistake = {simt::sabotage_kind::skip_barrier, i}});
    for (const simt::fault& fault : wrong.grid.faults.kept)
      if (fault.kind == fault_kind::race && fault.memory == "partials") {
        ++found;
        break;
      }
  }
  CHECK(found >= 1);
}
