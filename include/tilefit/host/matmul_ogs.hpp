// L6: the whole matmul contract on the CPU, walking the tiles that the engine chose.
// Knows: units of work, their order, the workspace, where sums go.
// Must not know: how tiles were chosen; instruction sets (kernel_table.hpp), formats (convert.hpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include "../matmul_args.hpp"
#include "../opt_flags.hpp"
#include "convert.hpp"
#include "dispatch.hpp"
#include "team.hpp"

namespace tilefit::inline v0::host {

/// How a call runs on this machine. Results have the same bits for every thread_count.
struct execution {
  int thread_count = 0;        ///< 0 = one per hardware thread; at most 256; threads are started and ended in the call
  isa level = isa::automatic;  ///< `unsupported_feature` when this processor lacks it; sums differ in the last bits
  bool batch_invariant = false;  ///< give up the faster path of 1 to 4 rows of an expert, which sums in another order
};

}  // namespace tilefit::inline v0::host

namespace tilefit::inline v0::detail {

/// Where the sums of a tile go.
enum class host_route : std::uint8_t {
  direct,    ///< through the epilogue into Y
  finished,  ///< through the epilogue into parts, which are then summed over topk
  raw        ///< into parts, which are then summed over split_k, go through the epilogue and are summed over topk
};

/// Sizes of a call that follow from arguments and flags. Offsets are bytes from the aligned start of the workspace.
struct host_plan {
  status_code status = status_code::invalid_argument;
  const kernel_table* kernels = nullptr;
  int threads = 1;
  host_route route = host_route::direct;
  std::int64_t group_rows = 0;  ///< rows that share one widened panel: group_m row tiles
  std::int64_t block_n = 0;
  std::int64_t block_k = 0;
  std::int64_t splits = 1;
  std::int64_t split_k_depth = 0;  ///< elements of K of a split, a multiple of block_k
  std::int64_t acc_stride = 0;
  std::int64_t part_columns = 0;
  std::int64_t parts_at = 0;
  std::int64_t scratch_at = 0;  ///< of thread 0
  std::int64_t scratch_bytes = 0;
  std::int64_t x_floats = 0;
  std::int64_t bytes = 0;
};

inline constexpr std::int64_t host_alignment = 64;

inline host_plan plan_host_matmul(const matmul_args& args, const opt_flags& flags,
                                  const host::execution& how) noexcept {
  host_plan plan;
  plan.status = check_args(args);
  if (plan.status != status_code::ok) return plan;
  const auto refuse = [&](status_code why) {
    plan.status = why;
    return plan;
  };
  if (flags.block_m < 1 || flags.block_n < 1 || flags.block_k < 1 || flags.split_k < 1 || flags.group_m < 1 ||
      how.thread_count < 0)
    return refuse(status_code::invalid_argument);
  const bool in_blocks = has_block_scales(args.x.type) || has_block_scales(args.w.type);
  if (in_blocks && flags.block_k % mx_block_size != 0) return refuse(status_code::invalid_argument);
  const bool halves = args.act == activation::swiglu;
  if (halves && flags.block_n % 2 != 0) return refuse(status_code::invalid_argument);
  plan.kernels = find_kernels(how.level);
  if (plan.kernels == nullptr) return refuse(status_code::unsupported_feature);

  const auto less = [](std::int64_t a, std::int64_t b) { return a < b ? a : b; };
  const auto more = [](std::int64_t a, std::int64_t b) { return a > b ? a : b; };
  constexpr std::int64_t line = host_alignment / static_cast<std::int64_t>(sizeof(float));
  plan.threads = team_size(how.thread_count);
  plan.group_rows = less(std::int64_t{flags.block_m} * flags.group_m, args.m);
  plan.block_n = less(flags.block_n, args.n);
  plan.block_k = less(flags.block_k, args.k);
  plan.splits = less(flags.split_k, ceil_div(args.k, plan.block_k));
  plan.split_k_depth = ceil_div(ceil_div(args.k, plan.block_k), plan.splits) * plan.block_k;
  plan.acc_stride = align_up(plan.block_n, plan.kernels->strip);
  const std::int64_t columns = output_columns(args);
  const std::int64_t tile_columns = halves ? plan.block_n / 2 : plan.block_n;
  const bool cuts_blocks = has_block_scales(args.y.type) && tile_columns % mx_block_size != 0;
  plan.route = plan.splits > 1 || cuts_blocks ? host_route::raw
               : writes_every_row(args)       ? host_route::finished
                                              : host_route::direct;
  plan.part_columns = plan.route == host_route::raw ? args.n : columns;

  // Slots of Y to rows of the matmul, parts, then for each thread: row numbers, X, sums, panel or finished rows.
  const std::int64_t slots = args.scatter_indx != nullptr || writes_every_row(args) ? args.y.rows * args.topk : 0;
  plan.parts_at = align_up(slots * 4, host_alignment);
  std::int64_t parts = 0;
  if (plan.route != host_route::direct)
    parts = saturating_mul(saturating_mul(plan.splits * args.m, plan.part_columns), sizeof(float));
  // Sizes beyond these are no machine's; below them no sum here overflows.
  const std::int64_t tile = saturating_mul(plan.group_rows, plan.acc_stride + align_up(plan.block_k, line));
  if (parts > std::int64_t{1} << 56 || tile > std::int64_t{1} << 48) return refuse(status_code::invalid_argument);
  plan.scratch_at = align_up(plan.parts_at + parts, host_alignment);
  const std::int64_t row_numbers = align_up(plan.group_rows, line);
  const std::int64_t dot_floats = dot_max_rows * align_up(less(plan.split_k_depth, args.k), dot_chunk);
  plan.x_floats = more(plan.group_rows * align_up(plan.block_k, line), dot_floats);
  const std::int64_t panel = align_up(plan.kernels->strip * plan.block_k, line);
  const std::int64_t tile_floats =
      row_numbers + plan.x_floats + plan.group_rows * plan.acc_stride + more(panel, align_up(plan.block_n, line));
  const std::int64_t finish_floats = align_up(args.n, line) + 2 * align_up(columns, line);
  plan.scratch_bytes = more(tile_floats, finish_floats) * static_cast<std::int64_t>(sizeof(float));
  plan.bytes = plan.scratch_at + plan.threads * plan.scratch_bytes + host_alignment;
  return plan;
}

/// One call on its way: what every thread reads, and the work of a thread.
class host_matmul {
 public:
  host_matmul(const matmul_args& args, const host_plan& plan, const host::execution& how) noexcept
      : args_(args),
        plan_(plan),
        use_dot_(plan.kernels->dot_mxfp4 != nullptr && !how.batch_invariant && args.w.type == dtype::mxfp4 &&
                 args.w.layout == weight_layout::row_major) {
    const auto start = reinterpret_cast<std::uintptr_t>(args.workspace);
    workspace_ = static_cast<std::byte*>(args.workspace) + (-start % host_alignment);
    slot_rows_ = reinterpret_cast<std::int32_t*>(workspace_);
    parts_ = reinterpret_cast<float*>(workspace_ + plan.parts_at);
    if (args.expert_offsets == nullptr) dense_offsets_[1] = static_cast<std::int32_t>(args.m);
    offsets_ = args.expert_offsets != nullptr ? args.expert_offsets : dense_offsets_;
  }
  host_matmul(const host_matmul&) = delete;
  host_matmul& operator=(const host_matmul&) = delete;

  /// Reads every index once and notes which row goes to which slot. False: one is out of range or comes twice.
  bool check_indices() noexcept {
    if (offsets_[0] != 0) return false;
    for (int e = 0; e < args_.experts; ++e)
      if (offsets_[e + 1] < offsets_[e]) return false;
    if (offsets_[args_.experts] > args_.m) return false;
    const std::int64_t slots = args_.y.rows * args_.topk;
    const bool notes = args_.scatter_indx != nullptr || writes_every_row(args_);
    for (std::int64_t s = 0; notes && s < slots; ++s) slot_rows_[s] = -1;
    for (std::int64_t i = 0; i < args_.m; ++i) {
      const std::int64_t from = source(i);
      const std::int64_t to = slot(i);
      if (from < -1 || from >= args_.x.rows || to < -1 || to >= slots) return false;
      if (!notes || to < 0 || from < 0 || i >= offsets_[args_.experts]) continue;
      if (slot_rows_[to] >= 0) return false;
      slot_rows_[to] = static_cast<std::int32_t>(i);
    }
    return true;
  }

  void operator()(team& members, int member) noexcept {
    std::byte* scratch = workspace_ + plan_.scratch_at + member * plan_.scratch_bytes;
    walk(members, scratch);
    if (plan_.route == host_route::direct) return;
    members.meet();
    const std::int64_t items = writes_every_row(args_) ? args_.y.rows : args_.m;
    for (std::int64_t i = members.next(1); i < items; i = members.next(1)) finish(i, reinterpret_cast<float*>(scratch));
  }

 private:
  std::int64_t source(std::int64_t i) const noexcept { return args_.gather_indx != nullptr ? args_.gather_indx[i] : i; }
  std::int64_t slot(std::int64_t i) const noexcept { return args_.scatter_indx != nullptr ? args_.scatter_indx[i] : i; }
  bool present(std::int64_t i) const noexcept { return i < offsets_[args_.experts] && source(i) >= 0 && slot(i) >= 0; }
  const float* bias_of(int expert) const noexcept {
    return args_.bias != nullptr ? args_.bias + expert * args_.n : nullptr;
  }
  float gamma_of(std::int64_t i) const noexcept { return args_.gammas != nullptr ? args_.gammas[i] : 1.0f; }
  float* part(std::int64_t split, std::int64_t i) const noexcept {
    return parts_ + (split * args_.m + i) * plan_.part_columns;
  }

  /// A thread's memory and what it holds at the moment.
  struct tile_state {
    std::int32_t* rows = nullptr;  ///< present rows of the group
    float* x = nullptr;
    accumulators acc;
    float* panel = nullptr;  ///< also the finished columns of a row, once the sums are complete
    int expert = 0;
    std::int64_t group = -1;
    int row_count = 0;
    std::int64_t dot_split = -1;  ///< split whose X lies in `x` in dot_order
  };

  /// Units of work in order: expert, group of row tiles, column tile, split. Units of a group share X, so a thread
  /// keeps what it has loaded.
  void walk(team& members, std::byte* scratch) noexcept {
    constexpr std::int64_t line = host_alignment / static_cast<std::int64_t>(sizeof(float));
    tile_state state;
    float* at = reinterpret_cast<float*>(scratch);
    state.rows = reinterpret_cast<std::int32_t*>(at);
    state.x = at + align_up(plan_.group_rows, line);
    state.acc = {state.x + plan_.x_floats, plan_.acc_stride};
    state.panel = state.acc.data + plan_.group_rows * plan_.acc_stride;
    const std::int64_t units_per_group = ceil_div(args_.n, plan_.block_n) * plan_.splits;
    std::int64_t before = 0;  // units of the experts before `expert`
    int expert = 0;
    for (;;) {
      const std::int64_t unit = members.next(0);
      for (; expert < args_.experts; ++expert) {
        const std::int64_t groups = ceil_div(offsets_[expert + 1] - offsets_[expert], plan_.group_rows);
        if (unit < before + groups * units_per_group) break;
        before += groups * units_per_group;
      }
      if (expert == args_.experts) return;
      const std::int64_t group = (unit - before) / units_per_group;
      const std::int64_t in_group = (unit - before) % units_per_group;
      if (expert != state.expert || group != state.group) enter_group(state, expert, group);
      if (state.row_count > 0) compute(state, in_group / plan_.splits * plan_.block_n, in_group % plan_.splits);
    }
  }

  void enter_group(tile_state& state, int expert, std::int64_t group) const noexcept {
    state.expert = expert;
    state.group = group;
    state.row_count = 0;
    state.dot_split = -1;
    const std::int64_t first = offsets_[expert] + group * plan_.group_rows;
    for (std::int64_t i = first; i < first + plan_.group_rows && i < offsets_[expert + 1]; ++i)
      if (present(i)) state.rows[state.row_count++] = static_cast<std::int32_t>(i);
  }

  void compute(tile_state& state, std::int64_t n0, std::int64_t split) const noexcept {
    const std::int64_t columns = args_.n - n0 < plan_.block_n ? args_.n - n0 : plan_.block_n;
    const std::int64_t k0 = split * plan_.split_k_depth;
    const std::int64_t k1 = args_.k - k0 < plan_.split_k_depth ? args_.k : k0 + plan_.split_k_depth;
    if (use_dot_ && state.row_count <= dot_max_rows && k0 < k1)
      dot(state, n0, columns, split, k0, k1);
    else
      multiply(state, n0, columns, k0, k1);

    for (int r = 0; r < state.row_count; ++r) {
      const std::int64_t i = state.rows[r];
      const float* sums = state.acc.data + r * state.acc.stride;
      if (plan_.route == host_route::raw) {
        std::memcpy(part(split, i) + n0, sums, static_cast<std::size_t>(columns) * sizeof(float));
        continue;
      }
      const float* bias = bias_of(state.expert);
      const std::int64_t out_column = args_.act == activation::swiglu ? n0 / 2 : n0;
      float* out = plan_.route == host_route::direct ? state.panel : part(0, i) + out_column;
      const std::int64_t count =
          finish_row(args_, sums, columns, bias != nullptr ? bias + n0 : nullptr, gamma_of(i), out);
      if (plan_.route == host_route::direct) store_y(args_, slot(i), out_column, count, out);
    }
  }

  packed_rows weights_at(int expert, std::int64_t n0, std::int64_t k0) const noexcept {
    const std::int64_t row = expert * args_.n + n0;
    return {bytes_at(args_.w.data, row * (args_.k / 2) + k0 / 2),
            args_.w.block_scales + row * (args_.k / mx_block_size) + k0 / mx_block_size, args_.k / 2,
            args_.k / mx_block_size};
  }

  void dot(tile_state& state, std::int64_t n0, std::int64_t columns, std::int64_t split, std::int64_t k0,
           std::int64_t k1) const noexcept {
    const std::int64_t stride = align_up(k1 - k0, dot_chunk);
    const bool bf16 = args_.x.type == dtype::bf16 && plan_.kernels->dot_mxfp4_bf16 != nullptr;
    auto* const codes = reinterpret_cast<std::uint16_t*>(state.x);
    if (state.dot_split != split) {
      state.dot_split = split;
      for (int r = 0; r < state.row_count; ++r)
        for (std::int64_t k = 0; k < stride; k += dot_chunk) {
          const std::int64_t from = source(state.rows[r]);
          const std::int64_t left = k1 - k0 - k < dot_chunk ? k1 - k0 - k : dot_chunk;
          if (bf16) {
            std::uint16_t chunk[dot_chunk] = {};
            load_bf16_codes(args_.x, from, k0 + k, left, chunk);
            for (int i = 0; i < dot_chunk; ++i) codes[r * stride + k + dot_order_bf16(i)] = chunk[i];
          } else {
            float chunk[dot_chunk] = {};
            load_x(args_.x, from, k0 + k, left, chunk);
            for (int i = 0; i < dot_chunk; ++i) state.x[r * stride + k + dot_order(i)] = chunk[i];
          }
        }
    }
    const packed_rows w = weights_at(state.expert, n0, k0);
    const int blocks = static_cast<int>((k1 - k0) / mx_block_size);
    if (bf16)
      plan_.kernels->dot_mxfp4_bf16({codes, stride, state.row_count}, w, static_cast<int>(columns), blocks, state.acc);
    else
      plan_.kernels->dot_mxfp4({state.x, stride, state.row_count}, w, static_cast<int>(columns), blocks, state.acc);
  }

  void multiply(tile_state& state, std::int64_t n0, std::int64_t columns, std::int64_t k0,
                std::int64_t k1) const noexcept {
    const std::int64_t strip = plan_.kernels->strip;
    const std::int64_t stride = align_up(plan_.block_k, host_alignment / static_cast<std::int64_t>(sizeof(float)));
    const bool fast = args_.w.type == dtype::mxfp4 && args_.w.layout == weight_layout::row_major;
    state.dot_split = -1;
    for (std::int64_t i = 0; i < state.row_count * state.acc.stride; ++i) state.acc.data[i] = 0.0f;
    for (std::int64_t k = k0; k < k1; k += plan_.block_k) {
      const std::int64_t depth = k1 - k < plan_.block_k ? k1 - k : plan_.block_k;
      for (int r = 0; r < state.row_count; ++r) load_x(args_.x, source(state.rows[r]), k, depth, state.x + r * stride);
      for (std::int64_t n = 0; n < columns; n += strip) {
        const int wide = static_cast<int>(columns - n < strip ? columns - n : strip);
        if (fast)
          plan_.kernels->widen_mxfp4(weights_at(state.expert, n0 + n, k), wide, static_cast<int>(depth / mx_block_size),
                                     state.panel);
        else
          widen_any(args_, state.expert, n0 + n, wide, k, depth, static_cast<int>(strip), state.panel);
        plan_.kernels->multiply({state.x, stride, state.row_count}, state.panel, static_cast<int>(depth),
                                {state.acc.data + n, state.acc.stride});
      }
    }
  }

  /// Row `item` of Y from its parts; when only rows with a present row are written: row `item` of the matmul.
  void finish(std::int64_t item, float* scratch) const noexcept {
    constexpr std::int64_t line = host_alignment / static_cast<std::int64_t>(sizeof(float));
    const std::int64_t columns = output_columns(args_);
    float* const sums = scratch;
    float* const finished = sums + align_up(args_.n, line);
    float* const total = finished + align_up(columns, line);
    if (!writes_every_row(args_)) {
      if (!present(item)) return;
      store_y(args_, slot(item), 0, columns, finished_part(item, sums, finished));
      return;
    }
    for (std::int64_t c = 0; c < columns; ++c) total[c] = 0.0f;
    for (std::int64_t s = item * args_.topk; s < (item + 1) * args_.topk; ++s) {
      if (slot_rows_[s] < 0) continue;
      const float* values = finished_part(slot_rows_[s], sums, finished);
      for (std::int64_t c = 0; c < columns; ++c) total[c] += values[c];
    }
    store_y(args_, item, 0, columns, total);
  }

  /// Finished columns of row i of the matmul: where they lie already, or in `finished`.
  float* finished_part(std::int64_t i, float* sums, float* finished) const noexcept {
    if (plan_.route == host_route::finished) return part(0, i);
    std::memcpy(sums, part(0, i), static_cast<std::size_t>(args_.n) * sizeof(float));
    for (std::int64_t split = 1; split < plan_.splits; ++split) {
      const float* more = part(split, i);
      for (std::int64_t c = 0; c < args_.n; ++c) sums[c] += more[c];
    }
    int expert = 0;
    while (i >= offsets_[expert + 1]) ++expert;
    finish_row(args_, sums, args_.n, bias_of(expert), gamma_of(i), finished);
    return finished;
  }

  const matmul_args& args_;
  const host_plan& plan_;
  const bool use_dot_;
  const std::int32_t* offsets_ = nullptr;
  std::int32_t dense_offsets_[2] = {};
  std::byte* workspace_ = nullptr;
  std::int32_t* slot_rows_ = nullptr;
  float* parts_ = nullptr;
};

}  // namespace tilefit::inline v0::detail

namespace tilefit::inline v0::host {

/// Bytes that `matmul_ogs` wants in args.workspace (any alignment); 0 for a call that is refused or empty. Grows with
/// the threads (tiles), when every row of Y is
/// written (m * columns floats) and with split_k > 1 (split_k * m * n floats).
[[nodiscard]] inline std::size_t workspace_bytes(const matmul_args& args, const opt_flags& flags,
                                                 const execution& how = {}) noexcept {
  return static_cast<std::size_t>(detail::plan_host_matmul(args, flags, how).bytes);
}

/// The matmul of matmul_args.hpp in the tiles of `flags`: block_m, block_n, block_k, group_m and split_k; the other
/// flags mean nothing on a CPU. Sums are fp32: over K in ascending order within a split, then over splits, then over
/// topk, each in ascending order. Every dtype and layout of matmul_args works; row-major MXFP4 weights are the fast
/// ones. Threads beyond the first are started and ended inside the call; nothing else is allocated.
/// Flags need block_k % 32 == 0 with block-scaled operands and block_n % 2 == 0 with swiglu.
/// Answers: ok; empty (nothing written); what check_args says; unsupported_feature (execution::level);
/// invalid_argument also for flags, a workspace that is too small, and indices out of range or written to twice. Y
/// stays untouched unless the answer is ok.
[[nodiscard]] inline status_code matmul_ogs(const matmul_args& args, const opt_flags& flags,
                                            const execution& how = {}) noexcept {
  const detail::host_plan plan = detail::plan_host_matmul(args, flags, how);
  if (plan.status != status_code::ok) return plan.status;
  if (args.workspace == nullptr || args.workspace_bytes < static_cast<std::size_t>(plan.bytes))
    return status_code::invalid_argument;
  detail::host_matmul work(args, plan, how);
  if (!work.check_indices()) return status_code::invalid_argument;
  detail::team members;
  members.run(plan.threads, work);
  return status_code::ok;
}

}  // namespace tilefit::inline v0::host
