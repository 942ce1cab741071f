// L3: why this tile. The one core header that needs fmt.
// Knows: how to put a selection into a sentence, aligned text and JSON. Must not know: how tiles are chosen; it asks
// the engine again what the neighbours of the choice would have cost.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "arch.hpp"
#include "cost_model.hpp"
#include "detail/explain_neighbours.hpp"
#include "detail/explain_words.hpp"
#include "make_opt_flags.hpp"
#include "matmul_problem.hpp"
#include "opt_flags.hpp"
#include "smem_plan.hpp"
#include "status.hpp"

namespace tilefit::inline v0 {

/// One sentence for any selection, with the numbers that decided.
inline std::string reason(const selection& choice) {
  using detail::grouped;
  using detail::tile_words;
  const std::string fits =
      fmt::format("{} with {} stage{} takes {} of {} B", tile_words(choice.flags), choice.flags.num_stages,
                  choice.flags.num_stages == 1 ? "" : "s", grouped(choice.need_bytes()), grouped(choice.budget_bytes));
  const std::string wish =
      choice.wished_bytes > choice.budget_bytes
          ? fmt::format("{} is wished for but needs {} B and a block can have {} B", tile_words(choice.wished),
                        grouped(choice.wished_bytes), grouped(choice.budget_bytes))
          : fmt::format("{} with {} warps is wished for but cannot run", tile_words(choice.wished),
                        choice.wished.num_warps);
  switch (choice.status) {
    case status_code::ok: return fits;
    case status_code::ok_fallback: return fmt::format("{}; {}", wish, fits);
    case status_code::ok_constraint_relaxed:
      return fmt::format("no tile honours all constraints within {} B; without {}, {}", grouped(choice.budget_bytes),
                         detail::names_of(choice.relaxed), fits);
    case status_code::empty: return "no rows or no columns: nothing to launch";
    case status_code::no_fit:
      if (!choice.has_tile()) return fmt::format("no tile of the policy fits; {}", wish);
      return fmt::format("no tile within {} B honours the strict constraints; the nearest breaks {}: {}",
                         grouped(choice.budget_bytes), detail::names_of(choice.relaxed), fits);
    default: return detail::sentence(choice.refused);
  }
}

/// A selection with everything that is worth saying about it.
struct explanation {
  arch_traits arch;
  matmul_problem problem;
  std::string policy;
  selection choice;
  bool batch_invariant = false;  ///< chosen for `reference_problem`, and so are the predicted times
  int blocks_per_sm = 0;
  std::vector<rejected_tile> rejected;

  /// Aligned lines; with ANSI colours when the caller knows that a terminal reads them.
  std::string text(bool colour = false) const;
  /// The first of these lines: problem, status, tile and schedule.
  std::string summary(bool colour = false) const;
  /// One JSON object.
  std::string json() const;
};

/// Explains a selection that make_opt_flags returned for the same arguments. Allocates; throws only std::bad_alloc.
template <kernel_policy Policy = ogs_policy>
explanation explain(const selection& choice, const arch_traits& arch, const matmul_problem& problem,
                    const opt_flags_constraints& constraints = {}, const Policy& policy = {}) {
  explanation result{.arch = arch,
                     .problem = problem,
                     .policy = std::string(policy.name()),
                     .choice = choice,
                     .batch_invariant = constraints.batch_invariant.value_or(false),
                     .rejected = {}};
  if (!choice.has_tile()) return result;
  result.blocks_per_sm = blocks_per_sm(arch, choice.need_bytes(), choice.flags.num_warps * arch.wave_size);
  result.rejected = detail::neighbours(choice, arch, problem, constraints, policy);
  return result;
}

/// Chooses and explains.
template <kernel_policy Policy = ogs_policy>
explanation explain(const arch_traits& arch, const matmul_problem& problem,
                    const opt_flags_constraints& constraints = {}, const Policy& policy = {}) {
  return explain(make_opt_flags(arch, problem, constraints, policy), arch, problem, constraints, policy);
}

namespace detail {

inline std::string microseconds(std::int64_t ps) { return fmt::format("{:.1f} us", static_cast<double>(ps) / 1e6); }

/// Why `tile` was not taken instead of `chosen`.
inline std::string why_rejected(const rejected_tile& tile, const selection& chosen) {
  if (!tile.fits) return fmt::format("needs {} of {} B", grouped(tile.need_bytes), grouped(chosen.budget_bytes));
  if (tile.broken.bits > chosen.relaxed.bits) return "breaks " + names_of(tile.broken);
  const std::int64_t behind_ps = tile.total_ps - chosen.cost.total_ps;
  if (behind_ps > 0)
    return fmt::format("{:.1f} % slower: {}",
                       100.0 * static_cast<double>(behind_ps) / static_cast<double>(chosen.cost.total_ps),
                       microseconds(tile.total_ps));
  if (behind_ps < 0)
    return fmt::format("faster, {}, but not what the policy's own rule takes", microseconds(tile.total_ps));
  return fmt::format("as fast, {} B", grouped(tile.need_bytes));
}

inline std::string flags_json(const opt_flags& flags) {
  return fmt::format(
      R"({{"block_m":{},"block_n":{},"block_k":{},"num_warps":{},"num_stages":{},"group_m":{},"xcd_swizzle":{},)"
      R"("split_k":{},"is_persistent":{},"epilogue_subtile":{},"idle_sms":{},"waves_per_eu":{}}})",
      flags.block_m, flags.block_n, flags.block_k, flags.num_warps, flags.num_stages, flags.group_m, flags.xcd_swizzle,
      flags.split_k, flags.is_persistent, flags.epilogue_subtile, flags.idle_sms, flags.waves_per_eu);
}

/// A JSON string. The library's own texts hold nothing but ASCII; policies are the user's.
inline std::string json_string(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      result += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      result += c;
    }
  }
  return result + '"';
}

}  // namespace detail

namespace detail {

/// A label and what it is about.
inline std::string explained_line(std::string_view label, std::string_view words) {
  return fmt::format("  {:<9} {}\n", label, words);
}

/// What AMD and NVIDIA call what a block runs on.
inline std::string_view processor_of(const arch_traits& arch) noexcept {
  return arch.vendor == vendor_id::nvidia ? "SM" : arch.wave_size == 32 ? "WGP" : "CU";
}

}  // namespace detail

inline std::string explanation::summary(bool colour) const {
  using detail::explained_line;
  using detail::grouped;
  const auto paint = [colour](std::string_view code, std::string_view words) {
    return colour ? fmt::format("\x1b[{}m{}\x1b[0m", code, words) : std::string(words);
  };
  std::string out =
      fmt::format("{} on {} ({} {}s, {} GB/s): {}\n", paint("1", policy), paint("1", arch.name), grouped(arch.sm_count),
                  detail::processor_of(arch), grouped(arch.dram_gbps), detail::describe(problem));
  const std::string_view shade = !choice.ok() ? "31" : choice.status == status_code::ok ? "32" : "33";
  out += explained_line("status", fmt::format("{}: {}", paint(shade, name_of(choice.status)), reason(choice)));
  if (!choice.has_tile()) return out;
  if (batch_invariant)
    out += explained_line("", "batch invariant: chosen, and predicted, for 128 rows of every expert");
  const opt_flags& flags = choice.flags;
  out += explained_line(
      "tile", fmt::format("block_m {}, block_n {}, block_k {}, num_warps {}, num_stages {}, split_k {}", flags.block_m,
                          flags.block_n, flags.block_k, flags.num_warps, flags.num_stages, flags.split_k));
  return out +
         explained_line("schedule",
                        fmt::format("{}, group_m {}, xcd_swizzle {}, epilogue_subtile {}, idle_sms {}, "
                                    "waves_per_eu {}",
                                    flags.is_persistent ? "persistent" : "one block per tile", flags.group_m,
                                    flags.xcd_swizzle, flags.epilogue_subtile, flags.idle_sms, flags.waves_per_eu));
}

inline std::string explanation::text(bool colour) const {
  using detail::grouped;
  using detail::microseconds;
  std::string out = summary(colour);
  if (!choice.has_tile()) return out;
  const opt_flags& flags = choice.flags;
  const std::string_view processor = detail::processor_of(arch);
  const auto line = [&](std::string_view label, std::string_view words) {
    out += detail::explained_line(label, words);
  };
  std::string_view label = "memory";
  for (int i = 0; i < smem_region_count; ++i) {
    const smem_entry& region = choice.plan.regions[i];
    if (region.bytes == 0) continue;
    const bool staged = region.lifetime == smem_lifetime::per_stage;
    const std::string_view note = region.lifetime == smem_lifetime::overlaid ? " (reuses the stages)" : "";
    const std::string copies = staged ? fmt::format(" = {} x {}", flags.num_stages, grouped(region.bytes)) : "";
    line(label, fmt::format("{:<12} {:>9} B{}{}", name_of(static_cast<smem_region>(i)),
                            grouped(staged ? region.bytes * flags.num_stages : region.bytes), copies, note));
    label = "";
  }
  line("", fmt::format("{:<12} {:>9} B of {} B, {} block{} per {}", "total", grouped(choice.need_bytes()),
                       grouped(choice.budget_bytes), blocks_per_sm, blocks_per_sm == 1 ? "" : "s", processor));
  const predicted_cost& cost = choice.cost;
  line("predicted", fmt::format("{}, limited by {}: memory {}, loops {}, other {}; {} tiles",
                                microseconds(cost.total_ps), name_of(cost.limiter), microseconds(cost.memory_ps),
                                microseconds(cost.loop_ps), microseconds(cost.other_ps), grouped(cost.tiles)));
  label = "rejected";
  for (const rejected_tile& tile : rejected) {
    const std::string_view how = !tile.flags.is_persistent ? "plain" : "persistent";
    line(label, fmt::format("{:<16} {:<10} {} stages, {} piece{}  {}", detail::tile_words(tile.flags), how,
                            tile.flags.num_stages, tile.flags.epilogue_subtile,
                            tile.flags.epilogue_subtile == 1 ? " " : "s", detail::why_rejected(tile, choice)));
    label = "";
  }
  return out;
}

inline std::string explanation::json() const {
  using detail::json_string;
  std::string out = fmt::format(
      R"({{"policy":{},"arch":{},"problem":{{"m":{},"n":{},"k":{},"experts":{},"topk":{},"batch":{},"x":{},"w":{},"y":{}}},)"
      R"("status":{},"reason":{},"budget_bytes":{})",
      json_string(policy), json_string(arch.name), problem.m, problem.n, problem.k, problem.experts, problem.topk,
      problem.batch, json_string(name_of(problem.formats.x)), json_string(name_of(problem.formats.w)),
      json_string(name_of(problem.formats.y)), json_string(name_of(choice.status)), json_string(reason(choice)),
      choice.budget_bytes);
  out += fmt::format(R"(,"flags":{},"need_bytes":{},"blocks_per_sm":{},"regions":[)", detail::flags_json(choice.flags),
                     choice.need_bytes(), blocks_per_sm);
  std::string_view comma;
  for (int i = 0; i < smem_region_count; ++i) {
    const smem_entry& region = choice.plan.regions[i];
    if (region.bytes == 0) continue;
    out += fmt::format(R"({}{{"name":{},"offset":{},"bytes":{},"copies":{},"overlaid":{}}})", comma,
                       json_string(name_of(static_cast<smem_region>(i))), region.offset, region.bytes,
                       region.lifetime == smem_lifetime::per_stage ? choice.flags.num_stages : 1,
                       region.lifetime == smem_lifetime::overlaid);
    comma = ",";
  }
  out += fmt::format(
      R"(],"wished":{{"flags":{},"need_bytes":{}}},"predicted":{{"total_ps":{},"memory_ps":{},"loop_ps":{},)"
      R"("other_ps":{},"tiles":{},"limiter":{}}},"rejected":[)",
      detail::flags_json(choice.wished), choice.wished_bytes, choice.cost.total_ps, choice.cost.memory_ps,
      choice.cost.loop_ps, choice.cost.other_ps, choice.cost.tiles, json_string(name_of(choice.cost.limiter)));
  comma = "";
  for (const rejected_tile& tile : rejected) {
    out += fmt::format(R"({}{{"flags":{},"need_bytes":{},"fits":{},"total_ps":{},"why":{}}})", comma,
                       detail::flags_json(tile.flags), tile.need_bytes, tile.fits, tile.total_ps,
                       json_string(detail::why_rejected(tile, choice)));
    comma = ",";
  }
  return out + "]}";
}

}  // namespace tilefit::inline v0
