// L6: structs of the C door read into the library's own, and answers written back.
// Knows: which member is which, sizes of other versions, words that are out of range.
// Must not know: how anything is chosen or computed.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "../arch.hpp"
#include "../arch_lookup.hpp"
#include "../constraints.hpp"
#include "../device_report.hpp"
#include "../explain.hpp"
#include "../launch_status.hpp"
#include "../make_opt_flags.hpp"
#include "../matmul_args.hpp"
#include "../matmul_problem.hpp"
#include "../opt_flags.hpp"
#include "../status.hpp"
#include "../triton_ogs_policy.hpp"
#include "types.h"

namespace tilefit::inline v0::detail {

static_assert(TILEFIT_RUNTIME_ERROR == static_cast<int>(status_code::runtime_error));
static_assert(TILEFIT_MXFP4 == static_cast<int>(dtype::mxfp4));
static_assert(TILEFIT_SWIGLU == static_cast<int>(activation::swiglu));
static_assert(TILEFIT_MFMA_M16K128 == static_cast<int>(weight_layout::mfma_m16k128));
static_assert(TILEFIT_SCALES_CDNA4 == static_cast<int>(triton_scale_layout::cdna4));

/// A status with its sentence; ok to go on while there is none.
struct c_fault {
  status_code status = status_code::ok;
  std::string sentence{};

  explicit operator bool() const noexcept { return status != status_code::ok; }
};

inline c_fault bad_argument(std::string sentence) { return {status_code::invalid_argument, std::move(sentence)}; }

/// Copies what the caller knows of a struct over the defaults that stand in `to`.
template <class Struct>
c_fault read_struct(std::string_view name, const Struct* from, Struct& to) {
  constexpr std::size_t most = 4096;
  if (from == nullptr) return bad_argument(fmt::format("{} is NULL", name));
  const std::size_t size = from->struct_size;
  if (size < sizeof(std::size_t) || size > most)
    return bad_argument(fmt::format("struct_size of {} is {}; sizeof is {} here", name, size, sizeof(Struct)));
  const auto* const bytes = reinterpret_cast<const unsigned char*>(from);
  for (std::size_t i = sizeof(Struct); i < size; ++i)
    if (bytes[i] != 0)
      return {status_code::unsupported_feature,
              fmt::format("byte {} of {} is set, of which this version knows {}", i, name, sizeof(Struct))};
  std::memcpy(&to, from, std::min(size, sizeof(Struct)));
  return {};
}

/// Writes as much of a struct as the caller has room for. A struct_size that cannot be leaves it untouched.
template <class Struct>
void write_struct(Struct* to, Struct from) {
  if (to == nullptr || to->struct_size < sizeof(std::size_t)) return;
  from.struct_size = to->struct_size;
  std::memcpy(static_cast<void*>(to), &from, std::min(to->struct_size, sizeof(Struct)));
}

template <std::size_t Size>
void write_text(char (&to)[Size], std::string_view text) {
  const std::size_t length = std::min(text.size(), Size - 1);
  std::memcpy(to, text.data(), length);
  to[length] = '\0';
}

/// A number that stands for an enumerator, of which `last` is the last.
template <class Enum>
c_fault read_enum(std::string_view name, std::int32_t value, Enum last, Enum& to) {
  if (value < 0 || value > static_cast<std::int32_t>(last))
    return bad_argument(fmt::format("{} is {}, must be 0 to {}", name, value, static_cast<int>(last)));
  to = static_cast<Enum>(value);
  return {};
}

/// The first fault of several.
template <class... Faults>
c_fault first_of(Faults... faults) {
  c_fault found;
  ((found || !faults ? void() : void(found = std::move(faults))), ...);
  return found;
}

// --- in
// -------------------------------------------------------------------------------------------------------------------

inline opt_flags flags_of(const tilefit_flags& flags) noexcept {
  return {.block_m = flags.block_m,
          .block_n = flags.block_n,
          .block_k = flags.block_k,
          .num_warps = flags.num_warps,
          .num_stages = flags.num_stages,
          .group_m = flags.group_m,
          .xcd_swizzle = flags.xcd_swizzle,
          .split_k = flags.split_k,
          .is_persistent = flags.is_persistent != 0,
          .epilogue_subtile = flags.epilogue_subtile,
          .idle_sms = flags.idle_sms,
          .waves_per_eu = flags.waves_per_eu,
          .w_cache = flags.w_cache == 1   ? cache_hint::evict_first
                     : flags.w_cache == 2 ? cache_hint::evict_last
                                          : cache_hint::normal};
}

inline c_fault read_device(const tilefit_device* from, arch_traits& to) {
  tilefit_device device{};
  if (c_fault fault = read_struct("tilefit_device", from, device)) return fault;
  if (device.arch == nullptr) return bad_argument("arch of tilefit_device is NULL");
  const auto found = resolve_arch(std::string_view(device.arch));
  if (!found)
    return bad_argument(fmt::format("'{:.80}' is no architecture such as sm_120, 12.0 or gfx950", device.arch));
  to = merge(found->traits, {.sm_count = device.sm_count,
                             .xcd_count = device.xcd_count,
                             .smem_optin = device.smem_optin,
                             .smem_per_sm = device.smem_per_sm,
                             .smem_reserved = device.smem_reserved,
                             .l2_bytes = device.l2_bytes,
                             .clock_mhz = device.clock_mhz,
                             .dram_gbps = device.dram_gbps})
           .traits;
  return {};
}

inline c_fault read_problem(const tilefit_problem* from, matmul_problem& to) {
  tilefit_problem problem{};
  problem.experts = problem.topk = problem.batch = 1;
  problem.x_dtype = problem.y_dtype = TILEFIT_BF16;
  problem.w_dtype = TILEFIT_MXFP4;
  if (c_fault fault = read_struct("tilefit_problem", from, problem)) return fault;
  to = {.m = problem.m,
        .n = problem.n,
        .k = problem.k,
        .experts = problem.experts,
        .topk = problem.topk,
        .batch = problem.batch,
        .formats = {.gather = problem.gather != 0,
                    .scatter = problem.scatter != 0,
                    .bias = problem.bias != 0,
                    .x_transposed = problem.x_transposed != 0,
                    .accumulate = problem.accumulate != 0}};
  if (problem.expert_rows != nullptr && problem.experts > 0)
    to.rows = row_distribution::counted({problem.expert_rows, static_cast<std::size_t>(problem.experts)});
  else if (problem.rows_per_expert != 0)
    to.rows = row_distribution::expected(problem.rows_per_expert);
  return first_of(read_enum("x_dtype", problem.x_dtype, dtype::mxfp4, to.formats.x),
                  read_enum("w_dtype", problem.w_dtype, dtype::mxfp4, to.formats.w),
                  read_enum("y_dtype", problem.y_dtype, dtype::mxfp4, to.formats.y),
                  read_enum("activation", problem.activation, activation::swiglu, to.formats.act));
}

/// `from` may be null: nothing is insisted on.
inline c_fault read_constraints(const tilefit_constraints* from, arch_id arch, opt_flags_constraints& to) {
  to = {};
  if (from == nullptr) return {};
  tilefit_constraints given{};
  if (c_fault fault = read_struct("tilefit_constraints", from, given)) return fault;
  if (given.use_environment != 0) {
    const sourced_constraints current = current_constraints(arch);
    if (current.status != status_code::ok)
      return {current.status,
              fmt::format("{}: column {}: expected {}, not '{:.80}'", constraints_variable, current.error.column,
                          phrase_of(current.error.expected), current.error.token)};
    to = current.constraints;
  }
  if (given.text != nullptr) {
    const parsed_constraints parsed = parse_constraints(given.text);
    if (parsed.status != status_code::ok)
      return {parsed.status, fmt::format("text of tilefit_constraints: column {}: expected {}, not '{:.80}'",
                                         parsed.error.column, phrase_of(parsed.error.expected), parsed.error.token)};
    to = merge(to, parsed.for_arch(arch));
  }
  const auto number = [](std::int32_t value, std::optional<int>& member) {
    if (value != 0) member = value;
  };
  const auto answer = [](std::int32_t value, std::optional<bool>& member) {
    if (value != TILEFIT_UNSET) member = value > 0;
  };
  number(given.block_m, to.block_m);
  number(given.block_n, to.block_n);
  number(given.block_k, to.block_k);
  number(given.num_warps, to.num_warps);
  number(given.num_stages, to.num_stages);
  number(given.split_k, to.split_k);
  number(given.epilogue_subtile, to.epilogue_subtile);
  number(given.idle_sms, to.idle_sms);
  if (given.max_allowable_mn != 0) to.max_allowable_mn = given.max_allowable_mn;
  answer(given.is_persistent, to.is_persistent);
  answer(given.batch_invariant, to.batch_invariant);
  answer(given.strict, to.strict);
  return {};
}

// --- out
// -------------------------------------------------------------------------------------------------------------------

inline tilefit_flags c_flags_of(const opt_flags& flags) noexcept {
  return {.block_m = flags.block_m,
          .block_n = flags.block_n,
          .block_k = flags.block_k,
          .num_warps = flags.num_warps,
          .num_stages = flags.num_stages,
          .group_m = flags.group_m,
          .xcd_swizzle = flags.xcd_swizzle,
          .split_k = flags.split_k,
          .is_persistent = flags.is_persistent ? 1 : 0,
          .epilogue_subtile = flags.epilogue_subtile,
          .idle_sms = flags.idle_sms,
          .waves_per_eu = flags.waves_per_eu,
          .w_cache = static_cast<std::int32_t>(flags.w_cache),
          .reserved = {}};
}

inline int write_selection(const selection& choice, tilefit_selection* to) {
  tilefit_selection out{};
  out.status = static_cast<std::int32_t>(choice.status);
  out.limiter = static_cast<std::int32_t>(choice.cost.limiter);
  out.flags = c_flags_of(choice.flags);
  out.need_bytes = choice.has_tile() ? choice.need_bytes() : 0;
  out.budget_bytes = choice.budget_bytes;
  out.wished = c_flags_of(choice.wished);
  out.wished_bytes = choice.wished_bytes;
  out.predicted_ps = choice.cost.total_ps;
  write_text(out.reason, reason(choice));
  write_struct(to, out);
  return out.status;
}

inline int write_selection(const c_fault& fault, tilefit_selection* to) {
  tilefit_selection out{};
  out.status = static_cast<std::int32_t>(fault.status);
  write_text(out.reason, fault.sentence);
  write_struct(to, out);
  return out.status;
}

inline int write_answer(const cuda::launch_status& status, tilefit_answer* to) {
  tilefit_answer out{};
  out.status = static_cast<std::int32_t>(status.code);
  out.native_error = status.native_error;
  write_text(out.reason, status.reason ? sentence(status.reason) : std::string(name_of(status.code)));
  write_struct(to, out);
  return out.status;
}

inline int write_answer(const c_fault& fault, tilefit_answer* to) {
  tilefit_answer out{};
  out.status = static_cast<std::int32_t>(fault.status);
  write_text(out.reason, fault ? std::string_view(fault.sentence) : name_of(status_code::ok));
  write_struct(to, out);
  return out.status;
}

}  // namespace tilefit::inline v0::detail
