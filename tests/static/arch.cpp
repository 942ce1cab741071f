// The architecture table, checked while compiling: complete rows, consistent capacities, published constants, and
// generic rows that claim no more than any row of their family has.
#include <cstddef>
#include <string_view>
#include <type_traits>

#include "tilefit/arch.hpp"
#include "tilefit/arch_lookup.hpp"
#include "tilefit/arch_table.hpp"
#include "tilefit/device_report.hpp"

namespace {

using namespace tilefit;
using namespace std::literals;

/// Name of the first row that breaks the rule, empty when none does: the compiler's message shows it.
template <class Rule>
constexpr std::string_view first_offender(Rule holds) {
  for (const arch_traits& row : arch_table)
    if (!holds(row)) return row.name;
  return "";
}

constexpr bool is_nvidia(const arch_traits& row) { return row.vendor == vendor_id::nvidia; }
constexpr bool is_cdna(const arch_traits& row) { return row.vendor == vendor_id::amd && row.wave_size == 64; }
constexpr bool is_rdna(const arch_traits& row) { return row.vendor == vendor_id::amd && row.wave_size == 32; }

// --- rows -----------------------------------------------------------------------------------------------------------

static_assert(arch_count == static_cast<std::size_t>(arch_id::amd_rdna_generic) + 1, "one row per enumerator");
static_assert(first_offender([](const arch_traits& row) {
                return arch_table[static_cast<std::size_t>(row.id)].name == row.name && &traits_of(row.id) == &row;
              }) == ""sv,
              "rows stand in the order of arch_id");

static_assert(first_offender([](const arch_traits& row) {
                return !row.name.empty() && row.smem_static_bytes > 0 && row.smem_block_bytes > 0 &&
                       row.smem_sm_bytes > 0 && row.smem_granularity_bytes > 0 && row.regs_per_sm > 0 &&
                       row.regs_per_thread > 0 && row.threads_per_block > 0 && row.threads_per_sm > 0 &&
                       row.blocks_per_sm > 0 && row.l2_bytes > 0 && row.sm_count > 0 && row.xcd_count > 0 &&
                       row.clock_mhz > 0 && row.dram_gbps > 0 && row.bf16_gflops > 0 && row.features.bits != 0;
              }) == ""sv,
              "a fact is missing");

static_assert(first_offender([](const arch_traits& row) {
                return (row.compute_capability != 0) == is_nvidia(row) && (row.agprs_per_thread != 0) == is_cdna(row) &&
                       (row.smem_reserved_bytes != 0) == is_nvidia(row) &&
                       (is_nvidia(row) ? row.wave_size == 32 : true);
              }) == ""sv,
              "vendor columns");

static_assert(first_offender([](const arch_traits& row) {
                return (row.fp8_gflops != 0) == row.features.has(feature::fp8_mma) &&
                       (row.fp4_gflops != 0) ==
                           (row.features.has(feature::mma_block_scaled) || row.features.has(feature::tcgen05) ||
                            row.features.has(feature::mfma_scale));
              }) == ""sv,
              "a rate and its instruction go together");

static_assert(first_offender([](const arch_traits& row) {
                const int granule = row.smem_granularity_bytes;
                const int rounded = (row.smem_block_bytes + granule - 1) / granule * granule;
                return row.smem_static_bytes <= row.smem_block_bytes &&
                       rounded + row.smem_reserved_bytes <= row.smem_sm_bytes &&
                       row.threads_per_block <= row.threads_per_sm &&
                       row.regs_per_sm >= 64 * row.threads_per_block / 2 && row.sm_count % row.xcd_count == 0;
              }) == ""sv,
              "capacities contradict each other");

// Dense rates are sm_count * clock * a power of two operations; sparse figures or wrong clocks are not.
constexpr bool is_near(double value, double target) { return value > 0.96 * target && value < 1.04 * target; }

static_assert(first_offender([](const arch_traits& row) {
                if (row.is_generic()) return true;  // the least of several boards
                const double per_clock = 1e3 * row.bf16_gflops / (static_cast<double>(row.sm_count) * row.clock_mhz);
                for (double power = 256; power <= 8192; power *= 2)
                  if (is_near(per_clock, power)) return true;
                return false;
              }) == ""sv,
              "BF16 operations per clock and SM");

static_assert(first_offender([](const arch_traits& row) {
                const double bf16 = row.bf16_gflops;
                const double fp4 = row.fp4_gflops / bf16;
                // 512 a clock is the half rate of GeForce boards since Ada, which FP4 does not share.
                const bool is_half_rate = is_near(1e3 * bf16 / (1.0 * row.sm_count * row.clock_mhz), 512);
                return (row.fp8_gflops == 0 || is_near(row.fp8_gflops / bf16, 2)) &&
                       (row.fp4_gflops == 0 || (is_half_rate ? is_near(fp4, 8) : is_near(fp4, 4) || is_near(fp4, 6)));
              }) == ""sv,
              "FP8 and FP4 against BF16");

// --- published constants --------------------------------------------------------------------------------------------

static_assert(arch_v<arch_id::sm_80>.smem_block_bytes == 166'912);
static_assert(arch_v<arch_id::sm_86>.smem_block_bytes == 101'376);
static_assert(arch_v<arch_id::sm_87>.smem_block_bytes == 166'912);
static_assert(arch_v<arch_id::sm_89>.smem_block_bytes == 101'376);
static_assert(arch_v<arch_id::sm_90>.smem_block_bytes == 232'448);
static_assert(arch_v<arch_id::sm_100>.smem_block_bytes == 232'448);
static_assert(arch_v<arch_id::sm_103>.smem_block_bytes == 232'448);
static_assert(arch_v<arch_id::sm_110>.smem_block_bytes == 232'448);
static_assert(arch_v<arch_id::sm_120>.smem_block_bytes == 101'376);
static_assert(arch_v<arch_id::sm_121>.smem_block_bytes == 101'376);
static_assert(arch_v<arch_id::gfx90a>.smem_block_bytes == 65'536);
static_assert(arch_v<arch_id::gfx942>.smem_block_bytes == 65'536);
static_assert(arch_v<arch_id::gfx950>.smem_block_bytes == 163'840);
static_assert(arch_v<arch_id::gfx1100>.smem_block_bytes == 65'536);
static_assert(arch_v<arch_id::gfx1151>.smem_block_bytes == 65'536);
static_assert(arch_v<arch_id::gfx1201>.smem_block_bytes == 65'536);

static_assert(arch_v<arch_id::sm_120>.smem_sm_bytes == 102'400 && arch_v<arch_id::sm_90>.smem_sm_bytes == 233'472);
static_assert(arch_v<arch_id::gfx950>.smem_granularity_bytes == 1280 && 163'840 % 1280 == 0);

static_assert(arch_v<arch_id::sm_80>.sm_count == 108 && arch_v<arch_id::sm_89>.sm_count == 128);
static_assert(arch_v<arch_id::sm_90>.sm_count == 132 && arch_v<arch_id::sm_100>.sm_count == 148);
static_assert(arch_v<arch_id::sm_120>.sm_count == 170 && arch_v<arch_id::sm_121>.sm_count == 48);
static_assert(arch_v<arch_id::gfx942>.sm_count == 304 && arch_v<arch_id::gfx942>.xcd_count == 8);
static_assert(arch_v<arch_id::gfx950>.sm_count == 256 && arch_v<arch_id::gfx950>.xcd_count == 8);

// Two blocks of 50,176 B share an SM of the RTX 5090, three of 33,024 B; a byte more and they do not.
constexpr int resident_blocks(const arch_traits& row, int bytes) {
  const int granule = row.smem_granularity_bytes;
  return row.smem_sm_bytes / ((bytes + granule - 1) / granule * granule + row.smem_reserved_bytes);
}
static_assert(resident_blocks(arch_v<arch_id::sm_120>, 50'176) == 2);
static_assert(resident_blocks(arch_v<arch_id::sm_120>, 50'177) == 1);
static_assert(resident_blocks(arch_v<arch_id::sm_120>, 33'024) == 3);
static_assert(resident_blocks(arch_v<arch_id::sm_120>, 33'025) == 2);
static_assert(resident_blocks(arch_v<arch_id::sm_120>, 101'376) == 1);
static_assert(resident_blocks(arch_v<arch_id::gfx950>, 81'920) == 2);
static_assert(resident_blocks(arch_v<arch_id::gfx950>, 81'921) == 1);

// --- generic rows ---------------------------------------------------------------------------------------------------

/// True when what fits `generic` fits `member` too, and no speed or instruction is claimed that `member` lacks.
constexpr bool is_conservative(const arch_traits& generic, const arch_traits& member) {
  return generic.wave_size == member.wave_size && generic.compute_capability <= member.compute_capability &&
         generic.smem_static_bytes <= member.smem_static_bytes && generic.smem_block_bytes <= member.smem_block_bytes &&
         generic.smem_sm_bytes <= member.smem_sm_bytes && generic.smem_reserved_bytes >= member.smem_reserved_bytes &&
         generic.smem_granularity_bytes % member.smem_granularity_bytes == 0 &&
         generic.regs_per_sm <= member.regs_per_sm && generic.regs_per_thread <= member.regs_per_thread &&
         generic.agprs_per_thread <= member.agprs_per_thread && generic.threads_per_block <= member.threads_per_block &&
         generic.threads_per_sm <= member.threads_per_sm && generic.blocks_per_sm <= member.blocks_per_sm &&
         generic.l2_bytes <= member.l2_bytes && generic.sm_count <= member.sm_count &&
         generic.xcd_count <= member.xcd_count && generic.clock_mhz <= member.clock_mhz &&
         generic.dram_gbps <= member.dram_gbps && generic.bf16_gflops <= member.bf16_gflops &&
         generic.fp8_gflops <= member.fp8_gflops && generic.fp4_gflops <= member.fp4_gflops &&
         (generic.features.bits & ~member.features.bits) == 0;
}

static_assert(first_offender([](const arch_traits& row) {
                const arch_id family = is_nvidia(row) ? arch_id::nvidia_generic
                                       : is_cdna(row) ? arch_id::amd_cdna_generic
                                                      : arch_id::amd_rdna_generic;
                return is_conservative(traits_of(family), row);
              }) == ""sv,
              "the family's generic row claims more than this row has");
static_assert(arch_v<arch_id::nvidia_generic>.is_generic() && arch_v<arch_id::amd_cdna_generic>.is_generic() &&
              arch_v<arch_id::amd_rdna_generic>.is_generic() && !arch_v<arch_id::gfx1201>.is_generic());
static_assert(is_rdna(arch_v<arch_id::amd_rdna_generic>));

// A device outside every family can do with the limited row what its generic row allows, and less.
static_assert(resolve_arch("sm_75")->traits.smem_block_bytes <= 65'536);
static_assert(!resolve_arch("gfx1030")->traits.features.has(feature::wmma));

// --- everything works in constant expressions -----------------------------------------------------------------------

static_assert(find_arch("sm_120a") == arch_id::sm_120);
static_assert(find_arch("gfx942:sramecc+:xnack-") == arch_id::gfx942);
static_assert(!find_arch("Voodoo2"));
static_assert(merge(arch_v<arch_id::sm_120>, {.smem_optin = 0x100000001}).traits.smem_block_bytes == 101'376);
static_assert(std::is_nothrow_invocable_v<decltype(merge), const arch_traits&, const device_report&>);
static_assert(noexcept(find_arch("")) && noexcept(resolve_arch("")));

}  // namespace
