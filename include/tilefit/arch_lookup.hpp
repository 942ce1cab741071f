// L0: from what people and drivers call a device to its row.
// Knows: the spellings of NVIDIA compute capabilities and AMD gfx targets, and which row stands in for an unlisted one.
// Must not know: what a driver reports about memory or speed (device_report.hpp), formats, tiles.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "arch.hpp"
#include "arch_table.hpp"

namespace tilefit::inline v0 {

/// NVIDIA's version of a device: cudaDevAttrComputeCapabilityMajor and ...Minor.
struct compute_capability {
  int major = 0;
  int minor = 0;
};

/// How well a row describes the device that was asked for.
enum class arch_match : std::uint8_t {
  exact,    ///< the device's own row
  generic,  ///< no own row: the family's, which claims no more than any member of the family has
  limited,  ///< outside every family (older, or with other matrix instructions): memory only, no matrix instruction
};

/// Answer of `resolve_arch`: facts that hold for the device, and whether they are its own.
struct arch_lookup {
  arch_traits traits{};
  arch_match match = arch_match::exact;
};

namespace detail {

/// A parsed device name: an NVIDIA version, an AMD target, or a row by name.
struct device_name {
  enum class kind_id : std::uint8_t { unknown, row, nvidia, amd };
  kind_id kind = kind_id::unknown;
  arch_id row = arch_id::nvidia_generic;
  int major = 0;
  int minor = 0;
  int stepping = 0;  ///< AMD only; -1 = a target that covers several
};

constexpr char to_lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// Value of a decimal or hexadecimal digit in either case, or -1.
constexpr int digit_value(char c) noexcept {
  const char lower = to_lower(c);
  if (lower >= '0' && lower <= '9') return lower - '0';
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/// Position of the first colon, or the length of `text`.
constexpr std::size_t colon_of(std::string_view text) noexcept {
  std::size_t at = 0;
  while (at < text.size() && text[at] != ':') ++at;
  return at;
}

constexpr bool is_decimal(char c) noexcept { return c >= '0' && c <= '9'; }

/// Cuts `prefix` (lower case) off the front of `text`, in either case.
constexpr bool eat(std::string_view& text, std::string_view prefix) noexcept {
  if (text.size() < prefix.size()) return false;
  for (std::size_t i = 0; i < prefix.size(); ++i)
    if (to_lower(text[i]) != prefix[i]) return false;
  text.remove_prefix(prefix.size());
  return true;
}

/// Cuts a decimal number of one to three digits without leading zeros (but 0 itself) off the front, or answers -1.
constexpr int eat_number(std::string_view& text) noexcept {
  std::size_t length = 0;
  int value = 0;
  while (length < text.size() && is_decimal(text[length])) {
    if (length == 3) return -1;
    value = 10 * value + digit_value(text[length++]);
  }
  if (length == 0 || (length > 1 && text[0] == '0')) return -1;
  text.remove_prefix(length);
  return value;
}

/// Cuts the suffix of an architecture-specific (a) or family-specific (f) target off the front, if there is one.
constexpr void eat_target_suffix(std::string_view& text) noexcept {
  if (!eat(text, "a")) eat(text, "f");
}

/// "120", "120a", "90a": what follows sm_.
constexpr device_name parse_sm(std::string_view text) noexcept {
  const int number = eat_number(text);
  eat_target_suffix(text);
  if (number < 10 || !text.empty()) return {};
  return {.kind = device_name::kind_id::nvidia, .major = number / 10, .minor = number % 10};
}

/// "12.0", "12.0a".
constexpr device_name parse_dotted(std::string_view text) noexcept {
  const int major = eat_number(text);
  if (major < 1 || !eat(text, ".")) return {};
  const int minor = eat_number(text);
  eat_target_suffix(text);
  if (minor < 0 || minor > 9 || !text.empty()) return {};
  return {.kind = device_name::kind_id::nvidia, .major = major, .minor = minor};
}

/// ":sramecc+:xnack-" and the like, which ROCm appends to gcnArchName; nothing is right, too.
constexpr bool is_target_features(std::string_view text) noexcept {
  while (!text.empty()) {
    if (!eat(text, ":")) return false;
    const std::size_t end = colon_of(text);
    if (end < 2 || (text[end - 1] != '+' && text[end - 1] != '-')) return false;
    text.remove_prefix(end);
  }
  return true;
}

/// What follows gfx: "950", "1201", "90a" (the last two digits are hexadecimal), "9-4-generic", "11-generic".
constexpr device_name parse_gfx(std::string_view text) noexcept {
  const std::size_t colon = colon_of(text);
  if (!is_target_features(text.substr(colon))) return {};
  text = text.substr(0, colon);

  std::string_view rest = text;
  if (const int major = eat_number(rest); major > 0 && eat(rest, "-")) {
    int minor = 0;
    if (!rest.empty() && is_decimal(rest[0])) {
      minor = eat_number(rest);
      if (minor < 0 || !eat(rest, "-")) return {};
    }
    if (!eat(rest, "generic") || !rest.empty()) return {};
    return {.kind = device_name::kind_id::amd, .major = major, .minor = minor, .stepping = -1};
  }

  if (text.size() < 3 || text.size() > 5) return {};
  const int stepping = digit_value(text[text.size() - 1]);
  const int minor = digit_value(text[text.size() - 2]);
  text.remove_suffix(2);
  const int major = eat_number(text);
  if (major < 1 || minor < 0 || stepping < 0 || !text.empty()) return {};
  return {.kind = device_name::kind_id::amd, .major = major, .minor = minor, .stepping = stepping};
}

/// True when `text` is `name` in any case.
constexpr bool same_name(std::string_view text, std::string_view name) noexcept {
  return eat(text, name) && text.empty();
}

constexpr device_name parse_device_name(std::string_view text) noexcept {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);

  for (const arch_traits& row : arch_table)
    if (same_name(text, row.name)) return {.kind = device_name::kind_id::row, .row = row.id};
  struct family {
    std::string_view name;
    arch_id row;
  };
  constexpr family families[] = {
      {"nvidia", arch_id::nvidia_generic}, {"cuda", arch_id::nvidia_generic},
      {"amd", arch_id::amd_cdna_generic},  {"amd_cdna", arch_id::amd_cdna_generic},
      {"cdna", arch_id::amd_cdna_generic}, {"amd_rdna", arch_id::amd_rdna_generic},
      {"rdna", arch_id::amd_rdna_generic},
  };
  for (const family& each : families)
    if (same_name(text, each.name)) return {.kind = device_name::kind_id::row, .row = each.row};

  if (eat(text, "sm_") || eat(text, "compute_") || eat(text, "sm")) return parse_sm(text);
  if (eat(text, "gfx")) return parse_gfx(text);
  if (eat(text, "compute capability") || eat(text, "cc"))
    while (eat(text, " ")) continue;
  return parse_dotted(text);
}

/// The row of exactly this device. sm_101 is what CUDA 12 called sm_110 (CUDA 13.0 release notes).
constexpr std::optional<arch_id> row_of(const device_name& name) noexcept {
  switch (name.kind) {
    case device_name::kind_id::unknown: return std::nullopt;
    case device_name::kind_id::row: return name.row;
    case device_name::kind_id::nvidia: {
      const bool is_old_thor = name.major == 10 && name.minor == 1;
      const int version = is_old_thor ? 110 : 10 * name.major + name.minor;
      for (const arch_traits& row : arch_table)
        if (!row.is_generic() && row.compute_capability == version) return row.id;
      return std::nullopt;
    }
    case device_name::kind_id::amd:
      // Only targets with a row are spelled in full; their digits are the row's name.
      for (const arch_traits& row : arch_table) {
        if (row.is_generic() || row.vendor != vendor_id::amd) continue;
        const device_name own = parse_gfx(row.name.substr(3));
        if (own.major == name.major && own.minor == name.minor && own.stepping == name.stepping) return row.id;
      }
      return std::nullopt;
  }
  return std::nullopt;
}

/// A generic row without its matrix instruction and with the memory that even the devices outside its family have.
constexpr arch_lookup limited(arch_id id) noexcept {
  arch_traits row = traits_of(id);
  row.features = {};
  row.bf16_gflops = row.fp8_gflops = row.fp4_gflops = 0;
  row.agprs_per_thread = 0;
  if (id == arch_id::nvidia_generic) {
    // Before Ampere: 48 KiB without an opt-in, nothing reserved, 256 B granules, 1,024 threads (7.5) and 16 blocks
    // (CUDA programming guide and cuda_occupancy.h).
    row.compute_capability = 0;
    row.smem_block_bytes = row.smem_sm_bytes = row.smem_static_bytes;
    row.smem_reserved_bytes = 0;
    row.smem_granularity_bytes = 256;
    row.threads_per_sm = 1024;
  } else if (id == arch_id::amd_cdna_generic) {
    row.regs_per_sm =
        64 * kib;  // ROCm hardware specifications: 256 KiB of VGPRs per CU on GCN; CDNA1's AGPRs are apart
  } else {
    row.smem_granularity_bytes = 2 * kib;  // gfx125x (llvm-project pull request 167614); a multiple of gfx10's
  }
  return {row, arch_match::limited};
}

constexpr std::optional<arch_lookup> resolve(const device_name& name) noexcept {
  if (name.kind == device_name::kind_id::unknown || name.major < 0 || name.minor < 0) return std::nullopt;
  if (const std::optional<arch_id> id = row_of(name)) {
    const arch_traits& row = traits_of(*id);
    return arch_lookup{row, row.is_generic() ? arch_match::generic : arch_match::exact};
  }
  const auto generic = [](arch_id id) { return arch_lookup{traits_of(id), arch_match::generic}; };
  if (name.kind == device_name::kind_id::nvidia)
    return name.major >= 8 ? generic(arch_id::nvidia_generic) : limited(arch_id::nvidia_generic);
  if (name.major == 9)  // gfx90a, gfx94x, gfx95x are CDNA2 to 4; gfx908 (CDNA1) lacks their bf16 MFMA, the rest any
    return name.minor >= 4 ? generic(arch_id::amd_cdna_generic) : limited(arch_id::amd_cdna_generic);
  if (name.major < 9) return limited(arch_id::amd_cdna_generic);
  // RDNA3, 3.5 and 4 have WMMA; RDNA1 and 2 do not, and gfx125x has other shapes.
  const bool has_wmma = name.major == 11 || (name.major == 12 && name.minor == 0);
  return has_wmma ? generic(arch_id::amd_rdna_generic) : limited(arch_id::amd_rdna_generic);
}

}  // namespace detail

/// The row that `text` names, or nothing. Upper and lower case are the same. Understood:
///   sm_120, sm120, sm_120a, sm_120f, compute_120, 12.0, cc 12.0, compute capability 12.0 (sm_101 means sm_110);
///   gfx950, gfx942:sramecc+:xnack- (HIP's gcnArchName);
///   the names of the generic rows, and nvidia, cuda, cdna, rdna, amd (CDNA).
constexpr std::optional<arch_id> find_arch(std::string_view text) noexcept {
  return detail::row_of(detail::parse_device_name(text));
}

/// Facts that hold for the device called `text` (spellings as in `find_arch`), whether it has a row or not; nothing
/// when the text is no device's name. What is not `exact` should be said to the user.
constexpr std::optional<arch_lookup> resolve_arch(std::string_view text) noexcept {
  return detail::resolve(detail::parse_device_name(text));
}

/// The same for what CUDA reports; nothing when that cannot be a version.
constexpr std::optional<arch_lookup> resolve_arch(compute_capability version) noexcept {
  if (version.major < 1 || version.major > 999 || version.minor < 0 || version.minor > 9) return std::nullopt;
  return detail::resolve(
      {.kind = detail::device_name::kind_id::nvidia, .major = version.major, .minor = version.minor});
}

}  // namespace tilefit::inline v0
