// One matmul with everything around it: random inputs on the device, row lists, the float64 result, and the verdict on
// a run of the library.
// Knows: matmul_args, the launch interface, what may be written and how exact it has to be.
// Must not know: which tiles there are, which cases are worth trying.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "matmul_calls.cuh"
#include "reference.cuh"
#include "test_device.cuh"

namespace tilefit_gpu {

namespace cuda = tilefit::cuda;  // not the toolkit's ::cuda

enum class routing_kind : std::uint8_t { spread, one_expert, every_second, skewed };

struct case_spec {
  std::int64_t tokens = 8;
  std::int64_t first_token = 0;  ///< the batch is a part of a larger one of x_tokens tokens, from here on
  std::int64_t x_tokens = 0;     ///< 0 = first_token + tokens
  int experts = 8;
  int topk = 2;
  std::int64_t n = 96;
  std::int64_t k = 96;
  dtype x = dtype::bf16;
  dtype y = dtype::bf16;
  routing_kind routing = routing_kind::spread;
  bool dense = false;      ///< no expert_offsets; needs experts == 1
  bool gather = true;      ///< false: X has a row for every row of the matmul
  bool scatter = false;    ///< row i goes to the slot of its token and rank
  bool reduce = false;     ///< the topk slots of a token are summed
  bool absent = false;     ///< some indices are -1, one token is routed nowhere
  int remote_experts = 0;  ///< further experts that are routed to; their rows stand behind the offsets
  bool bias = true;
  bool gammas = false;
  activation act = activation::none;
  swiglu_params swiglu = {};
  bool accumulate = false;
  bool every_row = false;
  std::int64_t x_padding = 0;  ///< elements between two rows of X, all NaN
  std::int64_t y_padding = 0;
  std::int64_t spare_rows = 0;  ///< rows of X (NaN) and Y that no index names
  std::size_t shift = 0;        ///< bytes that X and Y start behind a multiple of 256
  int x_exponent = 0;           ///< X is normal times 2^this
  weight_recipe weights = {};   ///< experts, n and k are set from here
  std::uint64_t seed = 1;
};

/// Verdict on one run.
struct outcome {
  bool refused = false;  ///< can_launch says no, for the reason in `fault`
  std::string fault;     ///< empty: right
  double error = 0;      ///< the larger of ||y - ref|| / ||ref|| and the worst row's share of `limit`, as the former
  double limit = 0;
};

inline std::string text_of(const opt_flags& f) {
  return "m" + std::to_string(f.block_m) + " n" + std::to_string(f.block_n) + " k" + std::to_string(f.block_k) + " w" +
         std::to_string(f.num_warps) + " s" + std::to_string(f.num_stages) + " split" + std::to_string(f.split_k) +
         (f.is_persistent ? " persistent" : "") + " sub" + std::to_string(f.epilogue_subtile) + " g" +
         std::to_string(f.group_m);
}

inline std::string text_of(const cuda::launch_status& status) {
  std::string text(name_of(status.code));
  if (status.native_error != 0)
    text += std::string(", ") + cudaGetErrorString(static_cast<cudaError_t>(status.native_error));
  if (status.reason)
    text += ": " + std::string(status.reason.subject) + " is " + std::to_string(status.reason.value) + ", limit " +
            std::to_string(status.reason.limit) + " " + std::string(status.reason.why);
  return text;
}

inline std::string shape_text(const case_spec& s) {
  return "E" + std::to_string(s.experts) + " top" + std::to_string(s.topk) + " t" + std::to_string(s.tokens) + " N" +
         std::to_string(s.n) + " K" + std::to_string(s.k) + " " + std::string(name_of(s.x)) + "->" +
         std::string(name_of(s.y)) + (s.act == activation::swiglu ? " swiglu" : "") + (s.gather ? " gather" : "") +
         (s.scatter ? " scatter" : "") + (s.reduce ? " reduce" : "") + (s.accumulate ? " accumulate" : "") +
         (s.every_row ? " every row" : "") + (s.bias ? "" : " no bias") + (s.gammas ? " gammas" : "") +
         (s.absent ? " absent" : "") + (s.remote_experts > 0 ? " remote" : "");
}

/// Row lists of a spec, on the host. Rows are sorted by expert, tokens ascending within one.
struct row_lists {
  std::vector<std::int32_t> offsets, gather, scatter;  ///< as in matmul_args
  std::vector<float> gammas;
  std::vector<std::int32_t> row_expert, row_source, row_slot;  ///< per row; slot -1 = absent
  std::vector<std::int32_t> row_whole_slot;  ///< token * topk + rank, counted in the batch that this is a part of
  std::vector<std::int32_t> slot_row;        ///< [rows of Y * topk]
};

class matmul_case {
 public:
  /// Replaces the case that lived in this lane before.
  matmul_case(device& on, const case_spec& wanted, std::size_t lane_number = 0)
      : spec(wanted), on_(on), lane_(on.lane_at(lane_number)) {
    if (spec.x_tokens == 0) spec.x_tokens = spec.first_token + spec.tokens;
    spec.weights.experts = spec.experts;
    spec.weights.n = spec.n;
    spec.weights.k = spec.k;
    rows = spec.tokens * spec.topk;
    columns = spec.act == activation::swiglu ? spec.n / 2 : spec.n;
    y_topk = spec.reduce ? spec.topk : 1;
    y_rows = (spec.reduce ? spec.tokens : rows) + spec.spare_rows + (spec.tokens == 0 ? 2 : 0);
    make_lists();
    const weight_set& weights = on_.weights(spec.weights);
    place(weights);
    fill_x(spec.seed);
    compute();
  }
  matmul_case(const matmul_case&) = delete;
  matmul_case& operator=(const matmul_case&) = delete;

  std::size_t y_bytes() const { return static_cast<std::size_t>(y_rows * y_stride * bits_of(spec.y) / 8); }

  /// New contents for X, in place; the old reference no longer holds.
  void fill_x(std::uint64_t seed) {
    fill_normal(on_.main, {x_data, spec.x, x_rows - spec.spare_rows, spec.k, x_stride},
                std::ldexp(1.0f, spec.x_exponent), seed);
  }

  /// The float64 result for what X holds now.
  void compute() {
    compute_reference(on_.main, reference);
    const zone_list inputs = const_zones();
    inputs_hash_ = hash_of(inputs);
  }

  void reset_y(cudaStream_t stream) const {
    check(cudaMemcpyAsync(args.y.data, reference.y_before, y_bytes(), cudaMemcpyDeviceToDevice, stream), "reset Y");
  }

  /// Gives args a workspace of exactly what a launch can use, be it optional or not, full of NaN, then prepared.
  std::string make_workspace(const opt_flags& flags) {
    lane_.workspace.clear();
    args.workspace = nullptr;
    args.workspace_bytes = ogs::workspace_bytes(args, flags);
    if (args.workspace_bytes == 0) return {};
    args.workspace = lane_.workspace.take(on_.main, args.workspace_bytes, "the workspace");
    poison(on_.main, args.workspace, args.workspace_bytes);
    const cuda::launch_status ready = cuda::prepare_workspace(args.workspace, args.workspace_bytes, on_.main);
    return ready.code == status_code::ok ? std::string() : "prepare_workspace answers " + text_of(ready);
  }

  /// One launch on fresh poison and its verdict. With `own_workspace` false, the workspace that args names is used.
  outcome run(const opt_flags& flags, bool own_workspace = true) {
    outcome result;
    const cuda::launch_status possible = ogs::can_launch(args, flags);
    if (!succeeded(possible.code)) {
      result.refused = true;
      result.fault = text_of(possible);
      return result;
    }
    if (own_workspace) result.fault = make_workspace(flags);
    if (!result.fault.empty()) return result;
    reset_y(on_.main);
    const cuda::launch_status launched = ogs::launch(args, flags, on_.main);
    const status_code expected = rows == 0 ? status_code::empty : status_code::ok;
    if (launched.code != expected) {
      result.fault = "launch answers " + text_of(launched) + ", can_launch " + text_of(possible);
      return result;
    }
    wait_for(on_.main, on_.most_wait_seconds);
    judge(result);
    return result;
  }

  /// Compares what Y holds now, and looks at guards and inputs.
  void judge(outcome& result) {
    const auto add_fault = [&](const std::string& text) { result.fault += (result.fault.empty() ? "" : "; ") + text; };
    check(cudaGetLastError(), "after a launch");
    const comparison_counts none;
    check(cudaMemcpyAsync(on_.counts, &none, sizeof none, cudaMemcpyHostToDevice, on_.main), "counts");
    const element_bound bound = bound_of_element(spec.y, spec.act, spec.k);
    enqueue(on_.main, {y_rows, reference_threads}, compare_kernel,
            compare_args{.reference = reference,
                         .y = args.y.data,
                         .bound = bound,
                         .largest = largest_of(spec.y),
                         .row_error2 = row_sums_,
                         .row_norm2 = row_sums_ + y_rows,
                         .counts = on_.counts});
    wait_for(on_.main, on_.most_wait_seconds);
    const comparison_counts counts = download(on_.counts, 1)[0];
    const auto place = [&] {
      const auto at = static_cast<std::int64_t>(counts.first_bad);
      return ", first at row " + std::to_string(at / y_stride) + " column " + std::to_string(at % y_stride);
    };
    const auto report = [&](unsigned long long count, const char* what) {
      if (count != 0) add_fault(std::to_string(count) + what + place());
    };
    report(counts.wrong_class, " elements are finite, infinite or NaN where they must not be");
    report(counts.not_written, " elements are not written");
    report(counts.written_outside, " elements are written that must not be");
    report(counts.beyond_bound, " elements are off by more than rounding");

    result.limit = error_limit(spec.y, spec.act, spec.k);
    const std::vector<double> sums = download(row_sums_, static_cast<std::size_t>(2 * y_rows));
    double error2 = 0, norm2 = 0;
    for (std::int64_t r = 0; r < y_rows; ++r) {
      error2 += sums[static_cast<std::size_t>(r)];
      norm2 += sums[static_cast<std::size_t>(y_rows + r)];
    }
    const auto relative = [](double e2, double n2) { return e2 == 0 ? 0.0 : std::sqrt(e2 / n2); };
    result.error = relative(error2, norm2);
    if (!(result.error <= result.limit)) add_fault("error " + std::to_string(result.error));
    // A row alone: rows much smaller than the others are allowed more, and so are the few terms of an fp32 row.
    const double row_limit = (spec.y == dtype::fp32 ? 4 : 1.5) * result.limit;
    const double least = 1e-6 * norm2 / static_cast<double>(y_rows);
    double worst = 0;
    std::int64_t worst_row = 0;
    for (std::int64_t r = 0; r < y_rows; ++r) {
      const double row =
          relative(sums[static_cast<std::size_t>(r)], std::max(sums[static_cast<std::size_t>(y_rows + r)], least));
      if (!(row <= worst)) worst = row, worst_row = r;
    }
    if (!(worst <= row_limit)) add_fault("row " + std::to_string(worst_row) + " error " + std::to_string(worst));
    result.error = std::max(result.error, worst / row_limit * result.limit);

    const std::string guards = lane_.memory.broken_guards(on_.main) + lane_.workspace.broken_guards(on_.main);
    if (!guards.empty()) add_fault("written outside: " + guards);
    if (hash_of(const_zones()) != inputs_hash_) add_fault("an input was changed");
  }

  /// Hash of everything in Y's buffer.
  unsigned long long y_hash() const {
    zone_list zone;
    zone.begin[0] = static_cast<const std::uint8_t*>(args.y.data);
    zone.bytes[0] = static_cast<std::int64_t>(y_bytes());
    zone.count = 1;
    return hash_of(zone);
  }
  std::vector<std::uint8_t> y_contents() const {
    return download(static_cast<const std::uint8_t*>(args.y.data), y_bytes());
  }

  case_spec spec;
  matmul_args args;
  reference_args reference;
  row_lists lists;
  std::int64_t rows = 0, columns = 0, x_rows = 0, x_stride = 0, y_rows = 0, y_stride = 0;
  int y_topk = 1;
  void* x_data = nullptr;

 private:
  std::uint64_t random(std::uint64_t purpose, std::int64_t i) const {
    return random_bits(spec.seed * 16 + purpose, static_cast<std::uint64_t>(i));
  }

  void make_lists() {
    const int all = spec.experts + spec.remote_experts;
    std::vector<std::int32_t> expert(static_cast<std::size_t>(rows));
    for (std::int64_t slot = 0; slot < rows; ++slot) {
      const std::uint64_t bits = random(1, spec.first_token * spec.topk + slot);
      const double u = static_cast<double>(bits >> 11) * 0x1p-53;
      int choice = static_cast<int>(u * all);
      if (spec.routing == routing_kind::one_expert) choice = all / 2;
      if (spec.routing == routing_kind::every_second) choice = choice / 2 * 2;
      if (spec.routing == routing_kind::skewed) choice = static_cast<int>(u * u * u * u * all);
      expert[static_cast<std::size_t>(slot)] = choice;
    }
    const auto y_slots = static_cast<std::size_t>(y_rows * y_topk);
    lists.slot_row.assign(y_slots, -1);
    for (int e = 0; e < all; ++e) {
      if (e <= spec.experts) lists.offsets.push_back(static_cast<std::int32_t>(lists.gather.size()));
      for (std::int64_t slot = 0; slot < rows; ++slot) {
        if (expert[static_cast<std::size_t>(slot)] != e) continue;
        const auto row = static_cast<std::int32_t>(lists.gather.size());
        const std::int64_t whole_slot = spec.first_token * spec.topk + slot;
        const auto token = static_cast<std::int32_t>(whole_slot / spec.topk);
        const bool lost = spec.absent && (token == spec.tokens / 2 || random(2, whole_slot) % 8 == 0);
        const bool dropped = spec.absent && random(3, whole_slot) % 8 == 0;
        lists.gather.push_back(lost ? -1 : token);
        lists.scatter.push_back(dropped ? -1 : static_cast<std::int32_t>(slot));
        const bool absent = (spec.gather && lost) || (spec.scatter && dropped) || e >= spec.experts;
        lists.gammas.push_back(random_normal(spec.seed * 16 + 4, static_cast<std::uint64_t>(whole_slot)));
        lists.row_whole_slot.push_back(static_cast<std::int32_t>(whole_slot));
        lists.row_expert.push_back(e);
        lists.row_source.push_back(spec.gather ? token : row);
        lists.row_slot.push_back(absent ? -1 : spec.scatter ? static_cast<std::int32_t>(slot) : row);
        if (!absent) lists.slot_row[static_cast<std::size_t>(lists.row_slot.back())] = row;
      }
    }
    if (spec.remote_experts == 0) lists.offsets.push_back(static_cast<std::int32_t>(lists.gather.size()));
  }

  void place(const weight_set& weights) {
    guarded_memory& memory = lane_.memory;
    const cudaStream_t stream = on_.main;
    memory.clear();
    x_rows = (spec.gather ? spec.x_tokens : rows) + spec.spare_rows;
    x_stride = spec.k + spec.x_padding;
    y_stride = columns + spec.y_padding;
    const auto bytes = [](dtype type, std::int64_t count) {
      return static_cast<std::size_t>(count * bits_of(type) / 8);
    };
    x_data = memory.take(stream, bytes(spec.x, x_rows * x_stride), "X", spec.shift);
    poison(stream, x_data, bytes(spec.x, x_rows * x_stride));
    void* const y = memory.take(stream, y_bytes(), "Y", spec.shift);
    void* const y_before = memory.take(stream, y_bytes(), "old Y");
    poison(stream, y_before, y_bytes());
    if (spec.accumulate) fill_normal(stream, {y_before, spec.y, y_rows, columns, y_stride}, 2.0f, spec.seed + 77);

    const auto indices = [&]<class T>(const std::vector<T>& from, const char* name) {
      T* to = memory.take<T>(stream, static_cast<std::int64_t>(from.size()), name);
      upload(stream, to, from);
      return to;
    };
    const auto make_bias = [&] {
      const std::int64_t count = spec.experts * spec.n;
      auto* to = memory.take<float>(stream, count, "the bias");
      fill_normal(stream, {to, dtype::fp32, 1, count, count}, 0.5f, spec.seed + 5);
      return to;
    };
    args = {.m = rows,
            .n = spec.n,
            .k = spec.k,
            .experts = spec.experts,
            .x = {.data = x_data, .type = spec.x, .rows = x_rows, .row_stride = x_stride},
            .w = {.data = weights.packed, .type = dtype::mxfp4, .layout = weight_layout::mma_m16k64},
            .y = {.data = y, .type = spec.y, .rows = y_rows, .row_stride = y_stride},
            .bias = spec.bias ? make_bias() : nullptr,
            .expert_offsets = spec.dense ? nullptr : indices(lists.offsets, "the offsets"),
            .gather_indx = spec.gather ? indices(lists.gather, "the gather indices") : nullptr,
            .scatter_indx = spec.scatter ? indices(lists.scatter, "the scatter indices") : nullptr,
            .gammas = spec.gammas ? indices(lists.gammas, "the gammas") : nullptr,
            .topk = y_topk,
            .write_every_row = spec.every_row,
            .act = spec.act,
            .swiglu = spec.swiglu,
            .accumulate = spec.accumulate};
    reference = {.y_rows = y_rows,
                 .columns = columns,
                 .n = spec.n,
                 .k = spec.k,
                 .topk = y_topk,
                 .every_row = rows > 0 && writes_every_row(args),
                 .act = spec.act,
                 .swiglu = spec.swiglu,
                 .x = x_data,
                 .x_type = spec.x,
                 .x_stride = x_stride,
                 .w_values = weights.values,
                 .w_scales = weights.scales,
                 .bias = args.bias,
                 .gammas = args.gammas,
                 .slot_row = indices(lists.slot_row, "slots of the reference"),
                 .row_source = indices(lists.row_source, "sources of the reference"),
                 .row_expert = indices(lists.row_expert, "experts of the reference"),
                 .accumulate = spec.accumulate,
                 .y_before = y_before,
                 .y_type = spec.y,
                 .y_stride = y_stride,
                 .value = memory.take<double>(stream, y_rows * columns, "the reference"),
                 .slack = memory.take<double>(stream, y_rows * columns, "slack of the reference")};
    row_sums_ = memory.take<double>(stream, 2 * y_rows, "sums of rows");
    wait_for(stream, on_.most_wait_seconds);
  }

  zone_list const_zones() const {
    zone_list zones;
    const auto add = [&](const void* data, std::int64_t bytes) {
      if (data == nullptr) return;
      zones.begin[zones.count] = static_cast<const std::uint8_t*>(data);
      zones.bytes[zones.count++] = bytes;
    };
    add(x_data, x_rows * x_stride * bits_of(spec.x) / 8);
    add(args.bias, spec.experts * spec.n * 4);
    add(args.expert_offsets, (spec.experts + 1) * std::int64_t{4});
    add(args.gather_indx, rows * 4);
    add(args.scatter_indx, rows * 4);
    add(args.gammas, rows * 4);
    return zones;
  }

  unsigned long long hash_of(const zone_list& zones) const {
    std::int64_t most = 0;
    for (int z = 0; z < zones.count; ++z) most = std::max(most, zones.bytes[z]);
    check(cudaMemsetAsync(on_.hash, 0, sizeof *on_.hash, on_.main), "hash");
    enqueue(on_.main, {std::max<std::int64_t>(1, std::min<std::int64_t>(blocks_for(most), 2048))}, hash_kernel, zones,
            on_.hash);
    wait_for(on_.main, on_.most_wait_seconds);
    return download(on_.hash, 1)[0];
  }

  device& on_;
  lane& lane_;
  double* row_sums_ = nullptr;
  unsigned long long inputs_hash_ = 0;
};

}  // namespace tilefit_gpu
