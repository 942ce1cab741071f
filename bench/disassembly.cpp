#include "disassembly.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <functional>
#include <iterator>
#include <map>
#include <tuple>
#include <utility>

namespace tilefit::inline v0::bench {
namespace {

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::int64_t hex_number(std::string_view text) {
  std::int64_t value = -1;
  std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return value;
}

template <class Visitor>
void for_each_line(std::string_view text, Visitor visit) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    visit(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }
bool starts_with_any(std::string_view text, std::initializer_list<std::string_view> parts) {
  return std::any_of(parts.begin(), parts.end(), [&](std::string_view part) { return text.starts_with(part); });
}

/// Addresses of targets, as they are read, become numbers of instructions.
void resolve_targets(kernel_text& kernel) {
  std::map<std::int64_t, std::int64_t> number;
  for (std::size_t i = 0; i < kernel.instructions.size(); ++i)
    number[static_cast<std::int64_t>(kernel.instructions[i].address)] = static_cast<std::int64_t>(i);
  for (instruction& op : kernel.instructions) {
    const auto found = number.find(op.target);
    op.target = op.target >= 0 && found != number.end() ? found->second : -1;
  }
}

// --- AMD ------------------------------------------------------------------------------------------------------------

/// Bytes of a lane by the width that ends a mnemonic.
int amdgpu_bytes(std::string_view mnemonic) {
  if (has(mnemonic, "dwordx4") || has(mnemonic, "b128")) return 16;
  if (has(mnemonic, "dwordx3") || has(mnemonic, "b96")) return 12;
  if (has(mnemonic, "dwordx2") || has(mnemonic, "b64")) return 8;
  if (has(mnemonic, "dword") || has(mnemonic, "b32")) return 4;
  return has(mnemonic, "short") || has(mnemonic, "16") ? 2 : 1;
}

void classify_amdgpu(instruction& op) {
  const std::string_view name = op.mnemonic();
  using enum op_class;
  if (name.starts_with("v_mfma_scale")) {
    op.kind = scaled_matrix;
  } else if (starts_with_any(name, {"v_mfma", "v_smfmac"})) {
    op.kind = matrix;
  } else if (name.starts_with("v_cvt")) {
    op.kind = convert;
  } else if (starts_with_any(name, {"ds_read", "ds_write"})) {
    op.kind = name.starts_with("ds_read") ? lds_read : lds_write;
    op.lane_bytes = amdgpu_bytes(name) * (has(name, "2_") || has(name, "2st64_") ? 2 : 1);
  } else if (starts_with_any(name, {"buffer_load", "global_load", "flat_load"})) {
    op.kind = op.text.ends_with(" lds") || has(name, "lds") ? lds_direct : global_load;
    op.lane_bytes = amdgpu_bytes(name);
  } else if (starts_with_any(name, {"buffer_", "global_", "flat_"})) {
    op.kind = global_store;
    op.lane_bytes = amdgpu_bytes(name);
  } else if (starts_with_any(name, {"s_branch", "s_cbranch", "s_endpgm", "s_setpc", "s_swappc"})) {
    op.kind = branch;
  } else if (starts_with_any(name, {"s_wait", "s_barrier", "s_nop", "s_sleep", "s_setprio", "s_sched"})) {
    op.kind = wait;
  } else if (name.starts_with("s_")) {
    op.kind = scalar;
  }
  op.falls_through = !starts_with_any(name, {"s_branch", "s_endpgm", "s_setpc"});
}

// --- NVIDIA ---------------------------------------------------------------------------------------------------------

int sass_bytes(std::string_view mnemonic) {
  if (has(mnemonic, "LDSM")) return has(mnemonic, ".4") ? 16 : has(mnemonic, ".2") ? 8 : 4;
  if (has(mnemonic, ".128")) return 16;
  if (has(mnemonic, ".64")) return 8;
  return has(mnemonic, ".U8") || has(mnemonic, ".S8") ? 1 : has(mnemonic, ".U16") || has(mnemonic, ".S16") ? 2 : 4;
}

void classify_sass(instruction& op) {
  const std::string_view name = op.mnemonic();
  const std::string_view first = name.substr(0, name.find('.'));
  using enum op_class;
  if (first.ends_with("MMA")) {
    op.kind = has(name, ".SF") ? scaled_matrix : matrix;
  } else if (starts_with_any(first, {"F2F", "F2I", "I2F", "I2IP"})) {
    op.kind = convert;
  } else if (first == "LDS" || first == "LDSM") {
    op.kind = lds_read;
    op.lane_bytes = sass_bytes(name);
  } else if (first == "STS" || first == "STSM") {
    op.kind = lds_write;
    op.lane_bytes = sass_bytes(name);
  } else if (starts_with_any(first, {"LDGSTS", "UBLKCP", "UTMALDG"})) {
    op.kind = lds_direct;
    op.lane_bytes = first == "LDGSTS" ? sass_bytes(name) : 0;
  } else if (first == "LDG" || first == "LD") {
    op.kind = global_load;
    op.lane_bytes = sass_bytes(name);
  } else if (starts_with_any(first, {"STG", "RED", "ATOM", "CCTL", "UTMASTG"}) || first == "ST") {
    op.kind = global_store;
    op.lane_bytes = sass_bytes(name);
  } else if (starts_with_any(first, {"BRA", "BRX", "JMP", "EXIT", "RET", "CALL", "BREAK"})) {
    op.kind = branch;
  } else if (starts_with_any(first, {"BAR", "DEPBAR", "LDGDEPBAR", "LDGSTS", "SYNCS", "WARPSYNC", "NOP", "WARPGROUP",
                                     "MEMBAR", "FENCE", "BSSY", "BSYNC", "ERRBAR", "NANOSLEEP", "YIELD", "ACQBULK",
                                     "USETMAXREG", "PREEXIT", "ARRIVES"})) {
    op.kind = wait;
  } else if (first.starts_with("U") || starts_with_any(first, {"S2UR", "R2UR", "LDC", "S2R", "CS2R"})) {
    op.kind = scalar;
  }
  // BRA.U UP0 and BRA.DIV jump on a condition without a predicate in front.
  const bool may_stay = op.predicated || has(op.text, "UP") || has(name, ".DIV");
  const bool leaves = starts_with_any(first, {"BRA", "BRX", "JMP", "EXIT", "RET"});
  op.falls_through = !leaves || may_stay;
}

// --- loops ----------------------------------------------------------------------------------------------------------

using node_list = std::vector<std::size_t>;
using graph = std::vector<node_list>;  // successors

/// Nodes that `visit(node)` has not seen before, reached from `root` along `next`, in the order in which they are done.
template <class Visit>
void walk(const graph& next, std::size_t root, Visit visit, node_list& done) {
  if (!visit(root)) return;
  std::vector<std::pair<std::size_t, std::size_t>> path = {{root, 0}};  // node, successors that were looked at
  while (!path.empty()) {
    const auto [node, looked] = path.back();
    if (looked == next[node].size()) {
      done.push_back(node);
      path.pop_back();
      continue;
    }
    ++path.back().second;
    const std::size_t to = next[node][looked];
    if (visit(to)) path.emplace_back(to, 0);
  }
}

/// Loops within `nodes`: strongly connected components of more than one node, each sorted (Kosaraju's way).
std::vector<node_list> loops_of(const graph& next, const node_list& nodes) {
  std::vector<bool> inside(next.size());
  for (const std::size_t node : nodes) inside[node] = true;
  graph back(next.size());
  for (const std::size_t node : nodes)
    for (const std::size_t to : next[node])
      if (inside[to]) back[to].push_back(node);
  const auto once = [&inside, seen = std::vector<bool>(next.size())](std::size_t node) mutable {
    if (!inside[node] || seen[node]) return false;
    seen[node] = true;
    return true;
  };
  node_list order;
  auto first = once;
  for (const std::size_t node : nodes) walk(next, node, std::ref(first), order);
  std::vector<node_list> found;
  auto second = once;
  for (auto root = order.rbegin(); root != order.rend(); ++root) {
    node_list component;
    walk(back, *root, std::ref(second), component);
    if (component.size() < 2) continue;
    std::sort(component.begin(), component.end());
    found.push_back(std::move(component));
  }
  return found;
}

/// The way from `entry` around a loop, through `loop` alone, with as many matrix instructions as there are ways with,
/// but not more than `most`; of those one with the most copies to LDS, of those the shortest. Nodes in order, or none.
/// `edges` are those of `all` without those back to entries of loops.
node_list best_way(const kernel_text& kernel, const graph& edges, const node_list& loop, const graph& all,
                   std::size_t entry, int most) {
  // In an order in which every edge goes forward; edges that close an inner loop are left out.
  std::vector<bool> fresh(edges.size());
  for (const std::size_t node : loop) fresh[node] = true;
  node_list done;
  const auto visit = [&fresh](std::size_t node) {
    const bool is_fresh = fresh[node];
    fresh[node] = false;
    return is_fresh;
  };
  walk(edges, entry, visit, done);
  std::map<std::size_t, std::size_t> place;
  for (std::size_t i = 0; i < done.size(); ++i) place[done[i]] = i;
  // For each place and number of matrix instructions so far: copies, the length below zero, and where it comes from.
  using value = std::tuple<int, int, std::size_t>;
  std::vector<std::map<int, value>> best(done.size());
  const auto is = [&](std::size_t node, op_class kind) { return kernel.instructions[node].kind == kind ? 1 : 0; };
  const auto matrices_of = [&](std::size_t node) {
    return is(node, op_class::matrix) + is(node, op_class::scaled_matrix);
  };
  const auto offer = [&](std::size_t at, int matrices, const value& way) {
    if (matrices > most) return;
    const auto [known, is_new] = best[at].emplace(matrices, way);
    if (!is_new && way > known->second) known->second = way;
  };
  if (done.empty()) return {};
  offer(done.size() - 1, matrices_of(entry), {is(entry, op_class::lds_direct), -1, done.size()});
  int found = 0;
  value shortest{-1, 0, 0};
  std::size_t last = 0;
  for (std::size_t at = done.size(); at-- > 0;)
    for (const auto& [matrices, way] : best[at]) {
      for (const std::size_t to : edges[done[at]])
        if (const auto next = place.find(to); next != place.end() && next->second < at)
          offer(next->second, matrices + matrices_of(to),
                {std::get<0>(way) + is(to, op_class::lds_direct), std::get<1>(way) - 1, at});
      const node_list& jumps = all[done[at]];
      if (std::find(jumps.begin(), jumps.end(), entry) == jumps.end() || matrices < found) continue;
      if (matrices > found || way > shortest) found = matrices, shortest = way, last = at;
    }
  node_list way;
  for (std::size_t at = found > 0 ? last : done.size(); at < done.size();) {
    way.push_back(done[at]);
    const std::size_t before = std::get<2>(best[at].at(found));
    found -= matrices_of(done[at]);
    at = before;
  }
  std::reverse(way.begin(), way.end());
  return way;
}

}  // namespace

std::string_view name_of(op_class kind) noexcept {
  constexpr std::string_view names[op_class_count] = {"matrix",       "scaled_matrix", "convert",    "vector",
                                                      "lds_read",     "lds_write",     "lds_direct", "global_load",
                                                      "global_store", "scalar",        "wait",       "branch"};
  return names[static_cast<std::size_t>(kind)];
}

std::vector<kernel_text> read_amdgpu_disassembly(std::string_view text) {
  std::vector<kernel_text> kernels;
  std::int64_t base = 0;
  for_each_line(text, [&](std::string_view line) {
    if (line.ends_with(">:") && has(line, " <")) {
      base = hex_number(line);
      const std::size_t open = line.find('<');
      kernels.push_back({std::string(line.substr(open + 1, line.size() - open - 3)), {}});
      return;
    }
    const std::size_t comment = line.find("// ");
    if (kernels.empty() || !line.starts_with('\t') || comment == std::string_view::npos) return;
    instruction op;
    op.text = trimmed(line.substr(0, comment));
    const std::string_view behind = line.substr(comment + 3);
    op.address = static_cast<std::uint64_t>(hex_number(behind));
    classify_amdgpu(op);
    const std::size_t offset = behind.rfind("+0x");
    if (op.kind == op_class::branch && behind.ends_with('>'))
      op.target = offset != std::string_view::npos ? base + hex_number(behind.substr(offset + 3)) : base;
    kernels.back().instructions.push_back(std::move(op));
  });
  for (kernel_text& kernel : kernels) resolve_targets(kernel);
  return kernels;
}

std::vector<kernel_text> read_sass(std::string_view text) {
  std::vector<kernel_text> kernels;
  for_each_line(text, [&](std::string_view line) {
    constexpr std::string_view function = "Function : ";
    if (const std::size_t at = line.find(function); at != std::string_view::npos) {
      kernels.push_back({std::string(trimmed(line.substr(at + function.size()))), {}});
      return;
    }
    const std::size_t address = line.find("/*"), end = line.find("*/"), semicolon = line.find(';');
    if (kernels.empty() || address == std::string_view::npos || semicolon == std::string_view::npos || end > semicolon)
      return;
    instruction op;
    op.address = static_cast<std::uint64_t>(hex_number(line.substr(address + 2)));
    std::string_view body = trimmed(line.substr(end + 2, semicolon - end - 2));
    if (body.starts_with('@')) {
      op.predicated = true;
      body = trimmed(body.substr(body.find(' ') + 1));
    }
    op.text = body;
    classify_sass(op);
    if (const std::size_t hex = body.rfind("0x"); op.kind == op_class::branch && hex != std::string_view::npos)
      op.target = hex_number(body.substr(hex + 2));
    kernels.back().instructions.push_back(std::move(op));
  });
  for (kernel_text& kernel : kernels) resolve_targets(kernel);
  return kernels;
}

std::vector<std::size_t> main_loop(const kernel_text& kernel, int most_matrices) {
  const std::vector<instruction>& ops = kernel.instructions;
  graph all(ops.size());
  node_list nodes(ops.size());
  for (std::size_t i = 0; i < ops.size(); ++i) {
    nodes[i] = i;
    if (ops[i].target >= 0) all[i].push_back(static_cast<std::size_t>(ops[i].target));
    if (ops[i].falls_through && i + 1 < ops.size()) all[i].push_back(i + 1);
  }
  graph edges = all;
  node_list found;
  std::size_t entry = 0;
  for (;;) {
    node_list inner;
    int most = 0;
    for (node_list& loop : loops_of(edges, nodes)) {
      const op_counts own = count_ops(kernel, loop);
      if (own[op_class::lds_direct] + own[op_class::global_load] == 0 || own.matrices() <= most) continue;
      most = own.matrices();
      inner = std::move(loop);
    }
    if (most == 0) break;
    found = nodes = std::move(inner);
    // Its first instruction is the one that is reached from outside. Without the edges to it inner loops are left.
    std::vector<bool> inside(ops.size());
    for (const std::size_t node : nodes) inside[node] = true;
    entry = nodes.front();
    for (std::size_t i = 0; i < ops.size(); ++i)
      for (const std::size_t to : all[i])
        if (!inside[i] && inside[to]) entry = to;
    for (const std::size_t node : nodes) std::erase(edges[node], entry);
  }
  if (found.empty()) return {};
  // A way through an inner loop would count it once, whatever its rounds: ways without any come first.
  std::vector<bool> in_loop(ops.size());
  for (const node_list& loop : loops_of(edges, found))
    for (const std::size_t node : loop) in_loop[node] = true;
  node_list plain;
  std::copy_if(found.begin(), found.end(), std::back_inserter(plain), [&](std::size_t node) { return !in_loop[node]; });
  node_list way = best_way(kernel, edges, plain, all, entry, most_matrices);
  return !way.empty() ? way : best_way(kernel, edges, found, all, entry, most_matrices);
}

op_counts count_ops(const kernel_text& kernel, const std::vector<std::size_t>& which) {
  op_counts counts;
  for (const std::size_t i : which) {
    const instruction& op = kernel.instructions[i];
    ++counts.of[static_cast<std::size_t>(op.kind)];
    ++counts.total;
    using enum op_class;
    if (op.kind == lds_read || op.kind == lds_write || op.kind == lds_direct) counts.lds_lane_bytes += op.lane_bytes;
    if (op.kind == global_load) counts.load_lane_bytes += op.lane_bytes;
  }
  return counts;
}

matrix_shape shape_of(const instruction& op) noexcept {
  matrix_shape shape;
  if (op.kind != op_class::matrix && op.kind != op_class::scaled_matrix) return {};
  const std::string name(op.mnemonic());
  const char* const text = name.c_str();
  if (std::sscanf(text, "v_mfma_f32_%dx%dx%d", &shape.m, &shape.n, &shape.k) == 3) return shape;
  if (std::sscanf(text, "v_mfma_scale_f32_%dx%dx%d", &shape.m, &shape.n, &shape.k) == 3) {
    // cbsz and blgp name the formats of the operands: 4 is FP4; 0, which is not printed, and 1 are FP8.
    const auto narrow = [&](std::string_view field) { return has(op.text, field); };
    shape.bits = narrow("cbsz:4") && narrow("blgp:4") ? 4 : 8;
    return shape;
  }
  if (std::sscanf(text, "HGMMA.%dx%dx%d", &shape.m, &shape.n, &shape.k) == 3) {
    shape.m /= 4;
    return shape;
  }
  int digits = 0;  // 16816: 16 x 8 x 16
  if (std::sscanf(text, "HMMA.%d", &digits) == 1)
    return {.m = digits / 1000, .n = digits / 100 % 10, .k = digits % 100};
  return {};
}

}  // namespace tilefit::inline v0::bench
