// A chip that the table does not have, or a part of one that it has: a row of your own, at compile time and at run
// time.
#include <tilefit/explain.hpp>
#include <tilefit/tilefit.hpp>

#include <cstdio>

namespace {

/// Start from the nearest row, so that what you do not know has a sound value. Here: a Blackwell part for notebooks
/// whose driver gives blocks 64 KiB, with half of the multiprocessors and a third of the bandwidth.
constexpr tilefit::arch_traits notebook = [] {
  tilefit::arch_traits row = tilefit::arch_v<tilefit::arch_id::sm_120>;
  row.sm_count = 82;
  row.smem_block_bytes = 65'536;
  row.dram_gbps = 672;
  return row;
}();

constexpr tilefit::matmul_problem prompt{.m = 520 * 4, .n = 5760, .k = 2880, .experts = 32, .topk = 4};

// The choice can be a constant, and "it fits" a static_assert.
constexpr tilefit::selection choice = tilefit::make_opt_flags(notebook, prompt);
static_assert(choice.ok());
static_assert(choice.plan.total_bytes() <= notebook.smem_block_bytes);

}  // namespace

int main() {
  std::fputs(tilefit::explain(notebook, prompt).text().c_str(), stdout);

  // At run time what a driver reports is merged into a row: what cannot be right counts for nothing, here the number
  // that some drivers of RTX 50 boards give for the bytes of a block.
  constexpr tilefit::device_report report{.sm_count = 82, .smem_optin = 0x1'0000'0001};
  const tilefit::arch_traits device = tilefit::merge(tilefit::arch_v<tilefit::arch_id::sm_120>, report).traits;
  std::printf("\na driver reports %lld B for a block: %d B are used, on %d multiprocessors\n",
              static_cast<long long>(report.smem_optin), device.smem_block_bytes, device.sm_count);
  return device.smem_block_bytes == 101'376 && device.sm_count == 82 ? 0 : 1;
}
