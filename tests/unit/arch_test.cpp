// Look-up by name and merging with a device report.
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "catch.hpp"
#include "tilefit/arch_lookup.hpp"
#include "tilefit/arch_table.hpp"
#include "tilefit/device_report.hpp"

namespace {

using namespace tilefit;

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return out;
}

/// What must hold of any merged device, whatever the driver said.
void check_sane(const arch_traits& row, const resolved_arch& device) {
  const arch_traits& merged = device.traits;
  const int granule = row.smem_granularity_bytes;
  const int rounded = (merged.smem_block_bytes + granule - 1) / granule * granule;
  CHECK(merged.smem_block_bytes > 0);
  CHECK(merged.smem_block_bytes <= row.smem_block_bytes);
  CHECK(merged.smem_sm_bytes <= row.smem_sm_bytes);
  CHECK(merged.smem_reserved_bytes >= row.smem_reserved_bytes);
  CHECK(rounded + merged.smem_reserved_bytes <= merged.smem_sm_bytes);
  CHECK(merged.smem_static_bytes <= merged.smem_block_bytes);
  CHECK(merged.sm_count > 0);
  CHECK(merged.xcd_count > 0);
  CHECK(merged.l2_bytes > 0);
  CHECK(merged.clock_mhz > 0);
  CHECK(merged.dram_gbps > 0);
  CHECK((merged.bf16_gflops > 0) == (row.bf16_gflops > 0));
  CHECK((merged.fp8_gflops > 0) == (row.fp8_gflops > 0));
  CHECK((merged.fp4_gflops > 0) == (row.fp4_gflops > 0));
  CHECK(merged.id == row.id);
  CHECK(merged.features == row.features);
  for (std::size_t i = 0; i < report_field_count; ++i) CHECK(static_cast<std::size_t>(device.notes[i].field) == i);
  CHECK(device.note(report_field::smem_optin).used == merged.smem_block_bytes);
  CHECK(device.note(report_field::smem_optin).table == row.smem_block_bytes);
  CHECK(device.note(report_field::bf16_gflops).used == merged.bf16_gflops);
}

}  // namespace

TEST_CASE("every row is found by its name, in either case, and by its version", "[arch]") {
  for (const arch_traits& row : arch_table) {
    INFO(row.name);
    CHECK(traits_of(row.id).name == row.name);
    CHECK(find_arch(row.name) == row.id);
    CHECK(find_arch(upper(row.name)) == row.id);
    const std::optional<arch_lookup> found = resolve_arch(row.name);
    REQUIRE(found);
    CHECK(found->traits.id == row.id);
    CHECK(found->match == (row.is_generic() ? arch_match::generic : arch_match::exact));
    if (row.is_generic()) continue;

    if (row.vendor == vendor_id::amd) {
      CHECK(find_arch(std::string(row.name) + ":sramecc+:xnack-") == row.id);
      continue;
    }
    const std::string number(row.name.substr(3));
    const std::string dotted = number.substr(0, number.size() - 1) + "." + number.back();
    for (const std::string& text :
         {"sm" + number, "sm_" + number + "a", "sm_" + number + "f", "SM" + number, "compute_" + number,
          "compute_" + number + "a", dotted, dotted + "a", "cc " + dotted, "CC" + dotted,
          "compute capability " + dotted, "Compute Capability " + dotted, " sm_" + number + " "}) {
      INFO(text);
      CHECK(find_arch(text) == row.id);
    }
    const auto version = resolve_arch({.major = row.compute_capability / 10, .minor = row.compute_capability % 10});
    REQUIRE(version);
    CHECK(version->traits.id == row.id);
    CHECK(version->match == arch_match::exact);
  }
}

TEST_CASE("other names of rows", "[arch]") {
  CHECK(find_arch("nvidia") == arch_id::nvidia_generic);
  CHECK(find_arch("CUDA") == arch_id::nvidia_generic);
  CHECK(find_arch("AMD") == arch_id::amd_cdna_generic);
  CHECK(find_arch("cdna") == arch_id::amd_cdna_generic);
  CHECK(find_arch("rdna") == arch_id::amd_rdna_generic);
  CHECK(find_arch("amd_rdna") == arch_id::amd_rdna_generic);
  CHECK(find_arch("GFX90A") == arch_id::gfx90a);
  CHECK(find_arch("gfx950:xnack+") == arch_id::gfx950);
  // Jetson Thor before CUDA 13 renamed it.
  CHECK(find_arch("sm_101") == arch_id::sm_110);
  CHECK(find_arch("10.1") == arch_id::sm_110);
}

TEST_CASE("text that names no row is nothing", "[arch]") {
  for (const char* text : {"",
                           " ",
                           "sm_",
                           "sm",
                           "sm_1",
                           "sm_9",
                           "sm_0120",
                           "sm_1200",
                           "sm_12000000000000",
                           "sm_120x",
                           "sm_120aa",
                           "sm_12.0",
                           "sm_-120",
                           "sm 120",
                           "sm_120,",
                           "120",
                           "90a",
                           "12",
                           "12.",
                           ".0",
                           "12.00",
                           "012.0",
                           "12.0.0",
                           "12.10",
                           "-12.0",
                           "0.0",
                           "cc",
                           "cc ",
                           "compute capability",
                           "compute capability twelve",
                           "compute_",
                           "gfx",
                           "gfx9",
                           "gfx90",
                           "gfx95",
                           "gfx950x",
                           "gfx9500000",
                           "gfx950:",
                           "gfx950:xnack",
                           "gfx950:+",
                           "gfx950::xnack+",
                           "gfx950 xnack+",
                           "gfx0950",
                           "gfxabc",
                           "gfx-generic",
                           "gfx9-generic",
                           "gfx11-generic",
                           "amdgpu",
                           "NVIDIA H200",
                           "RTX 5090",
                           "generic",
                           "sm_75",
                           "sm_88",
                           "sm_107",
                           "sm_130",
                           "gfx908",
                           "gfx940",
                           "gfx1030",
                           "gfx1102",
                           "gfx1200",
                           "gfx1250"}) {
    INFO(text);
    CHECK_FALSE(find_arch(text));
  }
  CHECK_FALSE(find_arch(std::string_view("sm_120\0", 7)));
  CHECK_FALSE(find_arch(std::string(100'000, '9')));
  CHECK_FALSE(find_arch("gfx" + std::string(100'000, ':')));
}

TEST_CASE("an unlisted device gets a row that holds for it", "[arch]") {
  struct expectation {
    const char* text;
    arch_id row;
    arch_match match;
  };
  for (const expectation& expect : {
           expectation{"sm_75", arch_id::nvidia_generic, arch_match::limited},
           {"7.0", arch_id::nvidia_generic, arch_match::limited},
           {"sm_88", arch_id::nvidia_generic, arch_match::generic},
           {"sm_101", arch_id::sm_110, arch_match::exact},
           {"sm_107a", arch_id::nvidia_generic, arch_match::generic},
           {"cc 13.0", arch_id::nvidia_generic, arch_match::generic},
           {"sm_130", arch_id::nvidia_generic, arch_match::generic},
           {"gfx803", arch_id::amd_cdna_generic, arch_match::limited},
           {"gfx906:sramecc-:xnack-", arch_id::amd_cdna_generic, arch_match::limited},
           {"gfx908", arch_id::amd_cdna_generic, arch_match::limited},
           {"gfx90c", arch_id::amd_cdna_generic, arch_match::limited},
           {"gfx940", arch_id::amd_cdna_generic, arch_match::generic},
           {"gfx941", arch_id::amd_cdna_generic, arch_match::generic},
           {"gfx9-4-generic", arch_id::amd_cdna_generic, arch_match::generic},
           {"gfx9-generic", arch_id::amd_cdna_generic, arch_match::limited},
           {"gfx1030", arch_id::amd_rdna_generic, arch_match::limited},
           {"gfx10-3-generic", arch_id::amd_rdna_generic, arch_match::limited},
           {"gfx1101", arch_id::amd_rdna_generic, arch_match::generic},
           {"gfx1150", arch_id::amd_rdna_generic, arch_match::generic},
           {"gfx11-generic", arch_id::amd_rdna_generic, arch_match::generic},
           {"gfx1200", arch_id::amd_rdna_generic, arch_match::generic},
           {"gfx12-generic", arch_id::amd_rdna_generic, arch_match::generic},
           {"gfx1250", arch_id::amd_rdna_generic, arch_match::limited},
           {"gfx1310", arch_id::amd_rdna_generic, arch_match::limited},
       }) {
    INFO(expect.text);
    const std::optional<arch_lookup> found = resolve_arch(expect.text);
    REQUIRE(found);
    CHECK(found->traits.id == expect.row);
    CHECK(found->match == expect.match);
    CHECK((found->traits.features.bits == 0) == (expect.match == arch_match::limited));
    CHECK((found->traits.bf16_gflops == 0) == (expect.match == arch_match::limited));
    check_sane(found->traits, merge(found->traits, {}));
  }
  for (const char* text : {"", "sm_", "sm_9", "gfx95", "RTX 5090", "0.0", "sm_120x"}) {
    INFO(text);
    CHECK_FALSE(resolve_arch(text));
  }
  CHECK_FALSE(resolve_arch({.major = 0, .minor = 0}));
  CHECK_FALSE(resolve_arch({.major = -1, .minor = 0}));
  CHECK_FALSE(resolve_arch({.major = 12, .minor = -1}));
  CHECK_FALSE(resolve_arch({.major = 12, .minor = 10}));
  CHECK_FALSE(resolve_arch({.major = std::numeric_limits<int>::max(), .minor = 9}));
  CHECK(resolve_arch({.major = 99, .minor = 9})->match == arch_match::generic);
  // Before Ampere there is no reservation, and 48 KiB without an opt-in.
  CHECK(resolve_arch("sm_75")->traits.smem_block_bytes == 49'152);
  CHECK(resolve_arch("sm_75")->traits.smem_sm_bytes == 49'152);
  CHECK(resolve_arch("sm_75")->traits.smem_reserved_bytes == 0);
}

TEST_CASE("no report, or one that agrees, leaves a row as it is", "[device_report]") {
  for (const arch_traits& row : arch_table) {
    INFO(row.name);
    const resolved_arch silent = merge(row, {});
    check_sane(row, silent);
    CHECK(silent.traits.smem_block_bytes == row.smem_block_bytes);
    CHECK(silent.traits.smem_static_bytes == row.smem_static_bytes);
    CHECK(silent.traits.bf16_gflops == row.bf16_gflops);
    CHECK(silent.traits.xcd_count == row.xcd_count);
    CHECK_FALSE(silent.has_complaint());
    for (const report_note& note : silent.notes) CHECK(note.verdict == report_verdict::not_reported);

    const resolved_arch same = merge(row, {.sm_count = row.sm_count,
                                           .xcd_count = row.xcd_count,
                                           .smem_optin = static_cast<std::int64_t>(row.smem_block_bytes),
                                           .smem_per_sm = static_cast<std::int64_t>(row.smem_sm_bytes),
                                           .smem_reserved = static_cast<std::int64_t>(row.smem_reserved_bytes),
                                           .l2_bytes = static_cast<std::int64_t>(row.l2_bytes),
                                           .clock_mhz = row.clock_mhz,
                                           .dram_gbps = row.dram_gbps,
                                           .bf16_gflops = row.bf16_gflops,
                                           .fp8_gflops = row.fp8_gflops,
                                           .fp4_gflops = row.fp4_gflops});
    check_sane(row, same);
    CHECK_FALSE(same.has_complaint());
    for (const report_note& note : same.notes)
      CHECK(note.verdict == (note.table == 0 ? report_verdict::not_reported : report_verdict::agrees));
  }
}

TEST_CASE("opt-in bytes that cannot be are cut to the table", "[device_report]") {
  const arch_traits& row = traits_of(arch_id::sm_120);
  struct expectation {
    std::int64_t reported;
    report_verdict verdict;
    int used;
  };
  for (const expectation& expect : {
           expectation{0, report_verdict::not_reported, 101'376},
           {0x100000001, report_verdict::clamped, 101'376},
           {101'377, report_verdict::clamped, 101'376},
           {101'376, report_verdict::agrees, 101'376},
           {101'375, report_verdict::taken, 101'375},
           {98'304, report_verdict::taken, 98'304},
           {49'152, report_verdict::taken, 49'152},
           {49'151, report_verdict::ignored, 101'376},
           {1, report_verdict::ignored, 101'376},
           {-1, report_verdict::ignored, 101'376},
           {-101'376, report_verdict::ignored, 101'376},
           {std::numeric_limits<std::int64_t>::min(), report_verdict::ignored, 101'376},
           {std::numeric_limits<std::int64_t>::max(), report_verdict::clamped, 101'376},
       }) {
    INFO(expect.reported);
    const resolved_arch device = merge(row, {.smem_optin = expect.reported});
    check_sane(row, device);
    CHECK(device.traits.smem_block_bytes == expect.used);
    const report_note& note = device.note(report_field::smem_optin);
    CHECK(note.verdict == expect.verdict);
    CHECK(note.reported == expect.reported);
    CHECK(note.table == 101'376);
    CHECK(note.used == expect.used);
    CHECK(device.has_complaint() ==
          (expect.verdict == report_verdict::clamped || expect.verdict == report_verdict::ignored));
  }
  // The same numbers on every row.
  for (const arch_traits& each : arch_table)
    for (const std::int64_t bytes : {std::int64_t{0}, std::int64_t{1}, std::int64_t{49'152}, std::int64_t{65'535},
                                     std::int64_t{100'000}, std::int64_t{0x100000001}, ~std::int64_t{0}}) {
      INFO(each.name << " " << bytes);
      check_sane(each, merge(each, {.smem_optin = bytes}));
      check_sane(each, merge(each, {.smem_per_sm = bytes}));
      check_sane(each, merge(each, {.smem_optin = bytes, .smem_per_sm = bytes, .smem_reserved = bytes}));
    }
}

TEST_CASE("a block and its reservation still fit one multiprocessor", "[device_report]") {
  const arch_traits& row = traits_of(arch_id::sm_120);
  SECTION("less capacity lowers the block") {
    const resolved_arch device = merge(row, {.smem_per_sm = 66'000});
    check_sane(row, device);
    CHECK(device.traits.smem_sm_bytes == 66'000);
    CHECK(device.traits.smem_block_bytes == 64'896);  // (66,000 - 1,024) down to a multiple of 128
    CHECK(device.note(report_field::smem_optin).verdict == report_verdict::derived);
  }
  SECTION("also one that was reported") {
    const resolved_arch device = merge(row, {.smem_optin = 101'376, .smem_per_sm = 66'000});
    check_sane(row, device);
    CHECK(device.traits.smem_block_bytes == 64'896);
    CHECK(device.note(report_field::smem_optin).verdict == report_verdict::clamped);
  }
  SECTION("a larger reservation lowers the block") {
    const resolved_arch device = merge(row, {.smem_reserved = 2048});
    check_sane(row, device);
    CHECK(device.traits.smem_reserved_bytes == 2048);
    CHECK(device.traits.smem_block_bytes == 100'352);
    CHECK(device.note(report_field::smem_reserved).verdict == report_verdict::taken);
  }
  SECTION("a smaller reservation is not believed") {
    const resolved_arch device = merge(row, {.smem_reserved = 512});
    CHECK(device.traits.smem_reserved_bytes == 1024);
    CHECK(device.note(report_field::smem_reserved).verdict == report_verdict::clamped);
  }
  SECTION("nor one that leaves nothing") {
    const resolved_arch device = merge(row, {.smem_reserved = 0x100000001});
    CHECK(device.traits.smem_reserved_bytes == 1024);
    CHECK(device.note(report_field::smem_reserved).verdict == report_verdict::ignored);
  }
  SECTION("nor a capacity below a block's least") {
    const resolved_arch device = merge(row, {.smem_per_sm = 50'000});  // 48 KiB + 1 KiB = 50,176
    CHECK(device.traits.smem_sm_bytes == 102'400);
    CHECK(device.note(report_field::smem_per_sm).verdict == report_verdict::ignored);
  }
  SECTION("nor a capacity above the table") {
    const resolved_arch device = merge(row, {.smem_per_sm = 233'472});
    CHECK(device.traits.smem_sm_bytes == 102'400);
    CHECK(device.note(report_field::smem_per_sm).verdict == report_verdict::clamped);
  }
}

TEST_CASE("AMD reports", "[device_report]") {
  SECTION("HIP repeats the workgroup's limit as the capacity of an RDNA workgroup processor") {
    const resolved_arch device = merge(traits_of(arch_id::gfx1100), {.smem_optin = 65'536, .smem_per_sm = 65'536});
    CHECK(device.traits.smem_sm_bytes == 131'072);
    CHECK(device.note(report_field::smem_per_sm).verdict == report_verdict::ignored);
  }
  SECTION("a driver that knows 64 KiB of gfx950's LDS is followed") {
    const resolved_arch device = merge(traits_of(arch_id::gfx950), {.smem_optin = 65'536});
    CHECK(device.traits.smem_block_bytes == 65'536);
    CHECK(device.traits.smem_static_bytes == 65'536);
  }
  SECTION("partitions have fewer dies") {
    const arch_traits& row = traits_of(arch_id::gfx942);
    CHECK(merge(row, {.sm_count = 38}).traits.xcd_count == 1);   // CPX
    CHECK(merge(row, {.sm_count = 152}).traits.xcd_count == 4);  // DPX
    CHECK(merge(row, {.sm_count = 228}).traits.xcd_count == 6);  // MI300A
    CHECK(merge(row, {.sm_count = 80}).traits.xcd_count == 8);   // other dies: not known
    CHECK(merge(row, {.sm_count = 608}).traits.xcd_count == 8);
    CHECK(merge(row, {.sm_count = 38}).note(report_field::xcd_count).verdict == report_verdict::derived);
    CHECK(merge(row, {.sm_count = 80, .xcd_count = 4}).traits.xcd_count == 4);
    CHECK(merge(row, {.sm_count = 38, .xcd_count = 8}).traits.xcd_count == 8);
    CHECK(merge(row, {.xcd_count = -1}).note(report_field::xcd_count).verdict == report_verdict::ignored);
    CHECK(merge(traits_of(arch_id::sm_90), {.sm_count = 16}).traits.xcd_count == 1);
  }
}

TEST_CASE("counts and speeds", "[device_report]") {
  const arch_traits& row = traits_of(arch_id::sm_90);
  SECTION("math rates scale with the multiprocessors") {
    const resolved_arch half = merge(row, {.sm_count = 66});
    CHECK(half.traits.sm_count == 66);
    CHECK(half.traits.bf16_gflops == row.bf16_gflops / 2);
    CHECK(half.traits.fp8_gflops == row.fp8_gflops / 2);
    CHECK(half.traits.fp4_gflops == 0);
    CHECK(half.traits.dram_gbps == row.dram_gbps);
    CHECK(half.note(report_field::sm_count).verdict == report_verdict::taken);
    CHECK(half.note(report_field::bf16_gflops).verdict == report_verdict::derived);
    CHECK_FALSE(half.has_complaint());
    CHECK(merge(row, {.sm_count = 264}).traits.bf16_gflops == row.bf16_gflops * 2);
  }
  SECTION("and with a lower clock, but not with a higher one") {
    CHECK(merge(row, {.clock_mhz = 915}).traits.bf16_gflops == row.bf16_gflops / 2);
    CHECK(merge(row, {.clock_mhz = 1980}).traits.bf16_gflops == row.bf16_gflops);
    CHECK(merge(row, {.clock_mhz = 1980}).traits.clock_mhz == 1980);
    CHECK(merge(row, {.sm_count = 66, .clock_mhz = 915}).traits.bf16_gflops == row.bf16_gflops / 4);
  }
  SECTION("a reported rate wins over both") {
    const resolved_arch device = merge(row, {.sm_count = 66, .bf16_gflops = 694'000});
    CHECK(device.traits.bf16_gflops == 694'000);
    CHECK(device.note(report_field::bf16_gflops).verdict == report_verdict::taken);
    CHECK(device.traits.fp8_gflops == row.fp8_gflops / 2);
    // Reporting exactly the board's rate is an answer, too.
    CHECK(merge(row, {.sm_count = 66, .bf16_gflops = row.bf16_gflops}).traits.bf16_gflops == row.bf16_gflops);
  }
  SECTION("a rate without an instruction is ignored") {
    const resolved_arch device = merge(row, {.fp4_gflops = 9'000'000});
    CHECK(device.traits.fp4_gflops == 0);
    CHECK(device.note(report_field::fp4_gflops).verdict == report_verdict::ignored);
  }
  SECTION("nonsense is ignored") {
    const resolved_arch device = merge(row, {.sm_count = -132,
                                             .l2_bytes = 0x100000001,
                                             .clock_mhz = 1'980'000,
                                             .dram_gbps = -4800,
                                             .bf16_gflops = -1,
                                             .fp8_gflops = std::numeric_limits<int>::min()});
    check_sane(row, device);
    CHECK(device.traits.sm_count == row.sm_count);
    CHECK(device.traits.l2_bytes == row.l2_bytes);
    CHECK(device.traits.clock_mhz == row.clock_mhz);
    CHECK(device.traits.dram_gbps == row.dram_gbps);
    CHECK(device.traits.bf16_gflops == row.bf16_gflops);
    CHECK(device.traits.fp8_gflops == row.fp8_gflops);
    for (const report_field field : {report_field::sm_count, report_field::l2_bytes, report_field::clock_mhz,
                                     report_field::dram_gbps, report_field::bf16_gflops, report_field::fp8_gflops})
      CHECK(device.note(field).verdict == report_verdict::ignored);
    CHECK(device.note(report_field::sm_count).reported == -132);
    CHECK(merge(row, {.sm_count = 1025}).traits.sm_count == row.sm_count);
  }
  SECTION("plausible ones are taken") {
    const resolved_arch device =
        merge(row, {.l2_bytes = 52'428'800, .clock_mhz = 1755, .dram_gbps = 3350});  // as an H100 would say
    CHECK(device.traits.l2_bytes == 52'428'800);
    CHECK(device.traits.clock_mhz == 1755);
    CHECK(device.traits.dram_gbps == 3350);
    CHECK(device.note(report_field::dram_gbps).verdict == report_verdict::taken);
  }
  SECTION("extremes do not overflow") {
    for (const arch_traits& each : arch_table) {
      INFO(each.name);
      check_sane(each, merge(each, {.sm_count = 1024, .clock_mhz = 10'000, .dram_gbps = 100'000}));
      check_sane(each, merge(each, {.sm_count = 1, .clock_mhz = 100, .dram_gbps = 1}));
    }
    arch_traits huge = row;
    huge.bf16_gflops = std::numeric_limits<int>::max();
    huge.sm_count = 1;
    CHECK(merge(huge, {.sm_count = 1024}).traits.bf16_gflops == std::numeric_limits<int>::max());
    // A row of zeros, as a user might start one from, divides nothing by zero.
    const resolved_arch nothing = merge(arch_traits{}, {.sm_count = 10, .smem_optin = 101'376, .clock_mhz = 1000});
    CHECK(nothing.traits.sm_count == 10);
    CHECK(nothing.traits.smem_block_bytes == 0);
  }
}

TEST_CASE("every member and verdict of a report has a name", "[device_report]") {
  for (std::size_t i = 0; i < report_field_count; ++i) {
    CHECK(name_of(static_cast<report_field>(i)) != "?");
    CHECK(unit_of(static_cast<report_field>(i)) != "?");
  }
  for (int i = 0; i <= static_cast<int>(report_verdict::derived); ++i)
    CHECK(name_of(static_cast<report_verdict>(i)) != "?");
}
