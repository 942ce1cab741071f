// Every architecture x model x matmul x token count x formats: an answer, and one that fits.
// A normal build visits over a million problems; TILEFIT_SWEEP_STRIDE in the environment (default 1; sanitizer
// builds 8) takes every n-th token count.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <tilefit/tilefit.hpp>

#include "catch.hpp"
#include "models.hpp"

using namespace tilefit;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int default_stride = 8;
#elif defined(__OPTIMIZE__)
constexpr int default_stride = 1;
#else
constexpr int default_stride = 8;
#endif

std::vector<std::int64_t> token_counts() {
  std::vector<std::int64_t> all;
  for (std::int64_t tokens = 0; tokens <= 64; ++tokens) all.push_back(tokens);
  const auto add_around = [&all](std::int64_t centre) {
    for (std::int64_t tokens = centre - 6; tokens <= centre + 6; ++tokens)
      if (tokens <= 16384) all.push_back(tokens);
  };
  for (std::int64_t power = 128; power <= 16384; power *= 2) add_around(power);
  // Where an expert gets one row more than a tile height of 64, for each model: ceil(65 * experts / topk).
  for (const std::int64_t threshold : {260, 520, 1040, 2080, 3120}) add_around(threshold);
  for (std::int64_t tokens = 100; tokens < 16384; tokens += 397) all.push_back(tokens);
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());

  const char* text = std::getenv("TILEFIT_SWEEP_STRIDE");
  const int stride = text != nullptr ? std::max(std::atoi(text), 1) : default_stride;
  if (stride == 1) return all;
  std::vector<std::int64_t> some{0, 1};
  for (std::size_t i = 2; i < all.size(); i += static_cast<std::size_t>(stride)) some.push_back(all[i]);
  for (const std::int64_t kept : {259, 260, 519, 520, 16384}) some.push_back(kept);
  return some;
}

struct epilogue {
  std::string_view name;
  matmul_formats formats;
};

constexpr epilogue epilogues[] = {
    {"plain", {}},
    {"gather, bias, swiglu", {.act = activation::swiglu, .gather = true, .bias = true}},
    {"scatter, bias", {.scatter = true, .bias = true}},
    {"fp32 output", {.y = dtype::fp32}},
    {"accumulate", {.accumulate = true}},
};

constexpr dtype x_formats[] = {dtype::bf16, dtype::fp16, dtype::fp8_e4m3, dtype::mxfp8, dtype::mxfp4};

/// What is wrong with the storage of a tile, or nothing: regions disjoint (but overlaid ones over staged ones), inside
/// of the total, every region at a multiple of 128 B, and X at multiples of `x_alignment`, as a copy of every stage.
std::string_view fault_of(const smem_plan& plan, std::int64_t x_alignment) {
  const std::int64_t total = plan.total_bytes();
  const auto end_of = [&](const smem_entry& region) {
    return region.offset + region.bytes * (region.lifetime == smem_lifetime::per_stage ? plan.num_stages : 1);
  };
  for (int i = 0; i < smem_region_count; ++i) {
    const smem_entry& one = plan.regions[i];
    if (one.bytes == 0) continue;
    if (one.offset < 0 || end_of(one) > total) return "a region lies outside of the total";
    if (x_alignment > 1 && one.offset % 128 != 0) return "a region is not aligned to 128 bytes";
    for (int j = 0; j < i; ++j) {
      const smem_entry& other = plan.regions[j];
      const bool one_overlaid = one.lifetime == smem_lifetime::overlaid;
      const bool other_overlaid = other.lifetime == smem_lifetime::overlaid;
      const bool may_share =
          one_overlaid != other_overlaid && (one_overlaid ? other : one).lifetime == smem_lifetime::per_stage;
      if (other.bytes > 0 && !may_share && one.offset < end_of(other) && other.offset < end_of(one))
        return "two regions overlap";
    }
  }
  if (x_alignment == 1) return {};
  const smem_entry& x = plan[smem_region::x_values];
  if (x.offset % x_alignment != 0 || x.bytes % x_alignment != 0) return "X is not aligned";
  for (const smem_region region : {smem_region::x_scales, smem_region::w_values, smem_region::w_scales})
    if (plan[region].bytes > 0 && (plan[region].offset % 128 != 0 || plan[region].bytes % 128 != 0))
      return "an operand is not aligned";
  return {};
}

/// What is wrong with an answer, or nothing.
std::string_view fault_of(const selection& choice, const matmul_problem& problem, std::int64_t budget,
                          std::int64_t x_alignment) {
  if (problem.m == 0) {
    if (choice.status != status_code::empty) return "not empty";
    return choice.has_tile() || choice.need_bytes() != 0 ? "a tile for nothing" : std::string_view{};
  }
  if (choice.status != status_code::ok && choice.status != status_code::ok_fallback) return "fails or is empty";
  if (!choice.has_tile() || choice.flags.block_n <= 0 || choice.flags.block_k <= 0) return "no tile";
  if (choice.budget_bytes != budget) return "budget differs from the architecture's";
  if (choice.need_bytes() > budget) return "over budget";
  if (choice.flags.num_stages < choice.plan.min_stages) return "too few stages";
  if (choice.flags.num_stages != choice.plan.num_stages) return "plan and flags disagree";
  if (choice.flags.num_warps < 1 || choice.flags.num_warps > 32) return "number of warps";
  if (choice.flags.split_k < 1) return "split_k";
  if (choice.flags.block_k % 32 != 0) return "block_k below what shares a scale";
  if (choice.cost.total_ps <= 0) return "no prediction";
  if ((choice.status == status_code::ok_fallback) != (choice.wished_bytes > budget) && choice.wished.num_stages > 0)
    return "fallback without need";
  return fault_of(choice.plan, x_alignment);
}

class tally {
 public:
  void add(std::string_view fault, const arch_traits& arch, const bench::model_shape& model,
           const matmul_problem& problem, std::string_view what) {
    ++visited_;
    if (fault.empty()) return;
    if (++faults_ <= 10)
      FAIL_CHECK(fault << ": " << arch.name << ", " << model.name << ", m " << problem.m << ", n " << problem.n
                       << ", X " << name_of(problem.formats.x) << ", Y " << name_of(problem.formats.y) << ", " << what);
  }
  ~tally() {
    CHECK(faults_ == 0);
    CHECK(visited_ > 0);
  }

 private:
  std::int64_t visited_ = 0;
  std::int64_t faults_ = 0;
};

template <class Visitor>
void for_each_problem(const std::vector<std::int64_t>& counts, const matmul_formats& formats, Visitor visit) {
  for (const bench::model_shape& model : bench::models)
    for (const bool is_gate_up : {true, false})
      for (const std::int64_t tokens : counts)
        visit(model, matmul_problem{.m = tokens * model.topk,
                                    .n = is_gate_up ? 2 * model.intermediate : model.hidden,
                                    .k = is_gate_up ? model.hidden : model.intermediate,
                                    .experts = model.experts,
                                    .topk = model.topk,
                                    .formats = formats});
}

}  // namespace

TEST_CASE("ogs_policy: every architecture has a fitting tile for every problem") {
  const std::vector<std::int64_t> counts = token_counts();
  tally all;
  for (const arch_traits& arch : arch_table) {
    const std::int64_t alignment = arch.features.has(feature::wgmma) ? 1024 : 128;
    for (const epilogue& each : epilogues)
      for (const dtype x : x_formats) {
        matmul_formats formats = each.formats;
        formats.x = x;
        for_each_problem(counts, formats, [&](const bench::model_shape& model, const matmul_problem& problem) {
          const selection choice = make_opt_flags(arch, problem);
          all.add(fault_of(choice, problem, arch.smem_block_bytes, alignment), arch, model, problem, each.name);
        });
      }
  }
}

TEST_CASE("triton_ogs_policy: both releases have a fitting tile for every problem") {
  const std::vector<std::int64_t> counts = token_counts();
  tally all;
  for (const arch_traits& arch : arch_table) {
    if (arch.vendor == vendor_id::amd && arch.id != arch_id::gfx942 && arch.id != arch_id::gfx950) continue;
    const bool nvidia = arch.vendor == vendor_id::nvidia;
    for (const triton_release release : {triton_release::v3_4_0, triton_release::v2025_12})
      for (const bool has_tma : {false, true}) {
        if (has_tma && !nvidia) continue;
        triton_ogs_policy policy{.release = release, .has_tma = has_tma};
        for (const epilogue& each : epilogues)
          for (const dtype x : {dtype::bf16, dtype::fp8_e4m3}) {
            matmul_formats formats = each.formats;
            formats.x = x;
            for_each_problem(counts, formats, [&](const bench::model_shape& model, const matmul_problem& problem) {
              const selection choice = make_opt_flags(arch, problem, {}, policy);
              all.add(fault_of(choice, problem, arch.smem_block_bytes, 1), arch, model, problem, each.name);
            });
          }
      }
  }
}
