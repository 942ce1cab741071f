// L0: a row merged with what a driver says about the device at hand.
// Knows: which reported values can be believed, and what follows from them.
// Must not know: how a driver is asked (runtime headers do that), formats, tiles.
//
// Rule: the table bounds what a block may use, the driver may only lower it; speeds and counts are the driver's
// where they are plausible. Nothing fails: a value that cannot be used is left out, and the answer says so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

#include "arch.hpp"
#include "detail/config.hpp"
#include "detail/math.hpp"

namespace tilefit::inline v0 {

/// What a driver, or a user who knows better, says of one device. 0 = not reported.
/// The CUDA attributes are those of cudaDeviceGetAttribute: some drivers fill cudaDeviceProp with nonsense.
struct device_report {
  int sm_count = 0;                ///< cudaDevAttrMultiProcessorCount, hipDeviceProp_t::multiProcessorCount
  int xcd_count = 0;               ///< dies with an L2 of their own; left 0 it follows from sm_count
  std::int64_t smem_optin = 0;     ///< cudaDevAttrMaxSharedMemoryPerBlockOptin, hipDeviceProp_t::sharedMemPerBlock
  std::int64_t smem_per_sm = 0;    ///< cudaDevAttrMaxSharedMemoryPerMultiprocessor
  std::int64_t smem_reserved = 0;  ///< cudaDevAttrReservedSharedMemoryPerBlock
  std::int64_t l2_bytes = 0;       ///< cudaDevAttrL2CacheSize
  int clock_mhz = 0;               ///< cudaDevAttrClockRate / 1000
  int dram_gbps = 0;               ///< 10^9 bytes per second
  int bf16_gflops = 0;             ///< dense, FP32 accumulation; wins over what sm_count and clock_mhz imply
  int fp8_gflops = 0;
  int fp4_gflops = 0;
};

/// Members of `device_report`, in their order.
enum class report_field : std::uint8_t {
  sm_count,
  xcd_count,
  smem_optin,
  smem_per_sm,
  smem_reserved,
  l2_bytes,
  clock_mhz,
  dram_gbps,
  bf16_gflops,
  fp8_gflops,
  fp4_gflops,
};

/// What became of one reported value.
enum class report_verdict : std::uint8_t {
  not_reported,  ///< 0: the table's value stands
  agrees,        ///< the table says the same
  taken,         ///< differs from the table and is used
  clamped,       ///< asks for more than is safe: cut to what the table and the other values allow
  ignored,       ///< no such device can exist: the table's value stands
  derived,       ///< not reported, but follows from another value that was
};

/// One line of the account: `reported` is what the driver said, `table` what the row says, `used` what the merged
/// traits have.
struct report_note {
  report_field field{};
  report_verdict verdict = report_verdict::not_reported;
  std::int64_t reported = 0;
  std::int64_t table = 0;
  std::int64_t used = 0;
};

inline constexpr std::size_t report_field_count = static_cast<std::size_t>(report_field::fp4_gflops) + 1;

/// The member in words, for "driver said 4294967297 B of opt-in shared memory".
constexpr std::string_view name_of(report_field field) noexcept {
  switch (field) {
    case report_field::sm_count: return "multiprocessors";
    case report_field::xcd_count: return "compute dies";
    case report_field::smem_optin: return "opt-in shared memory";
    case report_field::smem_per_sm: return "shared memory per multiprocessor";
    case report_field::smem_reserved: return "reserved shared memory per block";
    case report_field::l2_bytes: return "L2 cache";
    case report_field::clock_mhz: return "clock";
    case report_field::dram_gbps: return "memory bandwidth";
    case report_field::bf16_gflops: return "BF16 rate";
    case report_field::fp8_gflops: return "FP8 rate";
    case report_field::fp4_gflops: return "FP4 rate";
  }
  return "?";
}

/// Unit of the member's numbers; empty for counts.
constexpr std::string_view unit_of(report_field field) noexcept {
  switch (field) {
    case report_field::sm_count:
    case report_field::xcd_count: return "";
    case report_field::smem_optin:
    case report_field::smem_per_sm:
    case report_field::smem_reserved:
    case report_field::l2_bytes: return "B";
    case report_field::clock_mhz: return "MHz";
    case report_field::dram_gbps: return "GB/s";
    case report_field::bf16_gflops:
    case report_field::fp8_gflops:
    case report_field::fp4_gflops: return "GFLOP/s";
  }
  return "?";
}

constexpr std::string_view name_of(report_verdict verdict) noexcept {
  switch (verdict) {
    case report_verdict::not_reported: return "not reported";
    case report_verdict::agrees: return "agrees";
    case report_verdict::taken: return "taken";
    case report_verdict::clamped: return "clamped";
    case report_verdict::ignored: return "ignored";
    case report_verdict::derived: return "derived";
  }
  return "?";
}

/// Facts of the device at hand, and how each reported value entered them.
struct resolved_arch {
  arch_traits traits{};
  report_note notes[report_field_count]{};  ///< one per member of device_report, in its order

  /// What became of a reported value.
  constexpr const report_note& note(report_field field) const noexcept {
    return notes[static_cast<std::size_t>(field)];
  }
  /// True when a value could not be used as it was: worth a line to the user.
  constexpr bool has_complaint() const noexcept {
    for (const report_note& each : notes)
      if (each.verdict == report_verdict::clamped || each.verdict == report_verdict::ignored) return true;
    return false;
  }
};

namespace detail {

/// Least shared memory per block that is believed: what every block of every row has without asking.
inline constexpr std::int64_t least_smem_bytes = 49'152;
/// Most that a system is believed to keep for itself per block (the table knows of 1 KiB).
inline constexpr std::int64_t most_smem_reserved_bytes = 16'384;

/// A reported count or speed: the driver's where it lies within [low, high].
constexpr report_note settle(report_field field, std::int64_t reported, std::int64_t table, std::int64_t low,
                             std::int64_t high) noexcept {
  report_note note{.field = field, .reported = reported, .table = table, .used = table};
  if (reported == 0) return note;
  if (reported == table) {
    note.verdict = report_verdict::agrees;
  } else if (reported < low || reported > high) {
    note.verdict = report_verdict::ignored;
  } else {
    note.verdict = report_verdict::taken;
    note.used = reported;
  }
  return note;
}

/// A value that nobody reported but that others imply.
constexpr void imply(report_note& note, std::int64_t implied) noexcept {
  if (note.verdict == report_verdict::taken || note.verdict == report_verdict::agrees || implied == note.used) return;
  if (note.verdict == report_verdict::not_reported) note.verdict = report_verdict::derived;
  note.used = implied;
}

/// Bytes per multiprocessor. HIP repeats the per-block limit here on RDNA, where a workgroup processor has twice
/// that: such a report says nothing.
constexpr report_note settle_smem_per_sm(const arch_traits& row, std::int64_t reported,
                                         std::int64_t reserved) noexcept {
  report_note note = settle(report_field::smem_per_sm, reported, row.smem_sm_bytes, least_smem_bytes + reserved,
                            std::numeric_limits<std::int64_t>::max());
  if (note.verdict != report_verdict::taken) return note;
  if (reported > row.smem_sm_bytes) {
    note.verdict = report_verdict::clamped;
    note.used = row.smem_sm_bytes;
  } else if (row.vendor == vendor_id::amd && reported == row.smem_block_bytes) {
    note.verdict = report_verdict::ignored;
    note.used = row.smem_sm_bytes;
  }
  return note;
}

/// Bytes the system takes per block. Less than the table says is not believed: that would make tiles too large.
constexpr report_note settle_smem_reserved(const arch_traits& row, std::int64_t reported) noexcept {
  report_note note =
      settle(report_field::smem_reserved, reported, row.smem_reserved_bytes, 1, most_smem_reserved_bytes);
  if (note.verdict == report_verdict::taken && reported < row.smem_reserved_bytes) {
    note.verdict = report_verdict::clamped;
    note.used = row.smem_reserved_bytes;
  }
  return note;
}

/// Bytes per block: at most `limit`, which is what the table and the values above leave.
constexpr report_note settle_smem_optin(const arch_traits& row, std::int64_t reported, std::int64_t limit) noexcept {
  report_note note = settle(report_field::smem_optin, reported, row.smem_block_bytes, least_smem_bytes,
                            std::numeric_limits<std::int64_t>::max());
  const bool is_used = note.verdict == report_verdict::taken || note.verdict == report_verdict::agrees;
  if (!is_used) {
    imply(note, limit);
  } else if (reported > limit) {
    note.verdict = report_verdict::clamped;
    note.used = limit;
  }
  return note;
}

/// Math rate of the device when the board of the row has `rate`: in proportion to the multiprocessors, and lower at a
/// lower clock. A higher clock does not raise it: drivers report the top clock, rates are quoted at a sustained one.
constexpr std::int64_t scaled_rate(const arch_traits& row, std::int64_t rate, std::int64_t sm_count,
                                   std::int64_t clock_mhz) noexcept {
  if (row.sm_count > 0 && sm_count != row.sm_count) rate = saturating_mul(rate, sm_count) / row.sm_count;
  if (row.clock_mhz > 0 && clock_mhz < row.clock_mhz) rate = saturating_mul(rate, clock_mhz) / row.clock_mhz;
  return clamp(rate, 0, std::numeric_limits<int>::max());
}

/// Dies that `sm_count` multiprocessors fill when each has as many as on the board of the row (a partition of MI300X
/// with 38 CUs is one die), or the row's number when they do not come out even.
constexpr std::int64_t implied_xcd_count(const arch_traits& row, std::int64_t sm_count) noexcept {
  const int per_die = row.xcd_count > 1 ? row.sm_count / row.xcd_count : 0;
  if (per_die <= 0 || sm_count % per_die != 0 || sm_count / per_die > row.xcd_count) return row.xcd_count;
  return sm_count / per_die;
}

}  // namespace detail

/// `row` with `report` worked in. An all-zero report gives the row back.
/// Shared memory: a smaller plausible value of the driver wins (it may keep some for itself); zero, less than 48 KiB,
/// or more than the row gives the row's value. After that a block and its reservation still fit one multiprocessor.
/// Counts and speeds: the driver's where plausible. Math rates that nobody reported scale with the multiprocessors.
constexpr resolved_arch merge(const arch_traits& row, const device_report& report) noexcept {
  using detail::settle;
  resolved_arch result{.traits = row};
  arch_traits& out = result.traits;
  const auto note = [&result](const report_note& entry) {
    result.notes[static_cast<std::size_t>(entry.field)] = entry;
    return entry.used;
  };
  const auto note_int = [&note](const report_note& entry) { return static_cast<int>(note(entry)); };

  out.sm_count = note_int(settle(report_field::sm_count, report.sm_count, row.sm_count, 1, 1024));
  report_note dies = settle(report_field::xcd_count, report.xcd_count, row.xcd_count, 1, 64);
  detail::imply(dies, detail::implied_xcd_count(row, out.sm_count));
  out.xcd_count = note_int(dies);

  out.smem_reserved_bytes = note_int(detail::settle_smem_reserved(row, report.smem_reserved));
  out.smem_sm_bytes = note_int(detail::settle_smem_per_sm(row, report.smem_per_sm, out.smem_reserved_bytes));
  const int granule = row.smem_granularity_bytes > 0 ? row.smem_granularity_bytes : 1;
  const int room = (out.smem_sm_bytes - out.smem_reserved_bytes) / granule * granule;
  const int limit = room < row.smem_block_bytes ? room : row.smem_block_bytes;
  out.smem_block_bytes = note_int(detail::settle_smem_optin(row, report.smem_optin, limit));
  if (out.smem_static_bytes > out.smem_block_bytes) out.smem_static_bytes = out.smem_block_bytes;

  constexpr std::int64_t gib = std::int64_t{1} << 30;
  out.l2_bytes = note(settle(report_field::l2_bytes, report.l2_bytes, row.l2_bytes, 65'536, 4 * gib));
  out.clock_mhz = note_int(settle(report_field::clock_mhz, report.clock_mhz, row.clock_mhz, 100, 10'000));
  out.dram_gbps = note_int(settle(report_field::dram_gbps, report.dram_gbps, row.dram_gbps, 1, 100'000));

  const auto rate = [&](report_field field, int reported, int table) {
    // A rate for a format that the chip has no instruction for says nothing.
    const std::int64_t most = table > 0 ? std::numeric_limits<int>::max() : 0;
    report_note entry = settle(field, reported, table, 1, most);
    detail::imply(entry, detail::scaled_rate(row, table, out.sm_count, out.clock_mhz));
    return note_int(entry);
  };
  out.bf16_gflops = rate(report_field::bf16_gflops, report.bf16_gflops, row.bf16_gflops);
  out.fp8_gflops = rate(report_field::fp8_gflops, report.fp8_gflops, row.fp8_gflops);
  out.fp4_gflops = rate(report_field::fp4_gflops, report.fp4_gflops, row.fp4_gflops);
  return result;
}

}  // namespace tilefit::inline v0
