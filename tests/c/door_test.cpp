// c.h against the C++ library: the same answers, bit for bit, and sentences for what cannot be read.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include <tilefit/explain.hpp>
#include <tilefit/host/matmul_ogs.hpp>
#include <tilefit/host/moe_mlp.hpp>
#include <tilefit/tilefit.hpp>

#include "caller.h"
#include "catch.hpp"
#include "opt_flags_cases.hpp"

using namespace tilefit;

namespace {

template <class Struct>
Struct sized() {
  Struct made{};
  made.struct_size = sizeof(Struct);
  return made;
}

tilefit_device device_called(const char* arch) {
  auto device = sized<tilefit_device>();
  device.arch = arch;
  return device;
}

tilefit_problem small_problem() {
  auto problem = sized<tilefit_problem>();
  problem.m = 2080;
  problem.n = 5760;
  problem.k = 2880;
  problem.experts = 32;
  problem.topk = 4;
  problem.batch = 1;
  problem.x_dtype = problem.y_dtype = TILEFIT_BF16;
  problem.w_dtype = TILEFIT_MXFP4;
  return problem;
}

bool same(const tilefit_flags& theirs, const opt_flags& ours) {
  return theirs.block_m == ours.block_m && theirs.block_n == ours.block_n && theirs.block_k == ours.block_k &&
         theirs.num_warps == ours.num_warps && theirs.num_stages == ours.num_stages && theirs.group_m == ours.group_m &&
         theirs.xcd_swizzle == ours.xcd_swizzle && theirs.split_k == ours.split_k &&
         (theirs.is_persistent != 0) == ours.is_persistent && theirs.epilogue_subtile == ours.epilogue_subtile &&
         theirs.idle_sms == ours.idle_sms && theirs.waves_per_eu == ours.waves_per_eu &&
         theirs.w_cache == static_cast<std::int32_t>(ours.w_cache);
}

bool says(const char* text, std::string_view part) {
  return std::string_view(text).find(part) != std::string_view::npos;
}

std::string read_file(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// Constraints of C for those of C++.
tilefit_constraints constraints_of(const opt_flags_constraints& from) {
  auto to = sized<tilefit_constraints>();
  to.block_m = from.block_m.value_or(0);
  to.block_n = from.block_n.value_or(0);
  to.block_k = from.block_k.value_or(0);
  to.num_warps = from.num_warps.value_or(0);
  to.num_stages = from.num_stages.value_or(0);
  to.split_k = from.split_k.value_or(0);
  to.epilogue_subtile = from.epilogue_subtile.value_or(0);
  to.idle_sms = from.idle_sms.value_or(0);
  to.max_allowable_mn = from.max_allowable_mn.value_or(0);
  const auto word = [](const std::optional<bool>& member) {
    return !member ? TILEFIT_UNSET : *member ? TILEFIT_YES : TILEFIT_NO;
  };
  to.is_persistent = word(from.is_persistent);
  to.batch_invariant = word(from.batch_invariant);
  to.strict = word(from.strict);
  return to;
}

}  // namespace

TEST_CASE("C and C++ agree about sizes") {
  std::array<std::size_t, 16> sizes{};
  REQUIRE(sizes_from_c(sizes.data(), 16) == 10);
  const std::size_t ours[] = {sizeof(tilefit_flags),       sizeof(tilefit_device),  sizeof(tilefit_problem),
                              sizeof(tilefit_constraints), sizeof(tilefit_policy),  sizeof(tilefit_selection),
                              sizeof(tilefit_answer),      sizeof(tilefit_weights), sizeof(tilefit_matmul_args),
                              sizeof(tilefit_moe_args)};
  for (std::size_t i = 0; i < std::size(ours); ++i) CHECK(sizes[i] == ours[i]);
  CHECK(sizeof(tilefit_flags) == 64);
}

TEST_CASE("every row of the upstream file has the same answer through C") {
  const std::string text = read_file(TILEFIT_GOLDEN_DIR "/opt_flags_cases.csv");
  auto file = bench::opt_flags_cases::parse(text);
  REQUIRE(file);
  std::size_t different = 0, upstream = 0, expected = 0;
  for (const bench::opt_flags_case& row : file->rows()) {
    auto device = sized<tilefit_device>();
    const std::string arch(row.arch.name);
    device.arch = arch.c_str();
    device.sm_count = row.arch.sm_count;
    device.smem_optin = row.arch.smem_block_bytes;
    const matmul_problem& p = row.problem;
    auto problem = sized<tilefit_problem>();
    problem.m = p.m;
    problem.n = p.n;
    problem.k = p.k;
    problem.experts = p.experts;
    problem.topk = p.topk;
    problem.batch = 1;
    problem.x_dtype = static_cast<std::int32_t>(p.formats.x);
    problem.w_dtype = static_cast<std::int32_t>(p.formats.w);
    problem.y_dtype = static_cast<std::int32_t>(p.formats.y);
    problem.x_transposed = p.formats.x_transposed;
    problem.accumulate = p.formats.accumulate;
    auto policy = sized<tilefit_policy>();
    policy.kind =
        row.policy.release == triton_release::v3_4_0 ? TILEFIT_POLICY_TRITON_3_4_0 : TILEFIT_POLICY_TRITON_2025_12;
    policy.scale_layout = static_cast<std::int32_t>(row.policy.scale_layout);
    policy.has_tma = row.policy.has_tma;
    policy.mx_output = row.policy.mx_output;
    policy.effective_itemsize = row.policy.effective_itemsize;
    const tilefit_constraints constraints = constraints_of(row.constraints);
    auto choice = sized<tilefit_selection>();
    const int status = tilefit_select(&device, &problem, &constraints, &policy, &choice);
    const selection ours = make_opt_flags(row.arch, p, row.constraints, row.policy);
    const bool agrees = status == static_cast<int>(ours.status) && choice.status == status &&
                        same(choice.flags, ours.flags) && same(choice.wished, ours.wished) &&
                        choice.wished_bytes == ours.wished_bytes && choice.budget_bytes == ours.budget_bytes &&
                        reason(ours) == choice.reason;
    different += agrees ? 0 : 1;
    if (file->cell(row, "expect") != "same") continue;
    ++expected;
    upstream += status == TILEFIT_OK && std::to_string(choice.need_bytes) == file->cell(row, "need_bytes") &&
                        std::to_string(choice.flags.block_m) == file->cell(row, "block_m") &&
                        std::to_string(choice.flags.num_stages) == file->cell(row, "num_stages")
                    ? 1
                    : 0;
  }
  CHECK(file->rows().size() > 18'000);
  CHECK(different == 0);
  CHECK(expected > 10'000);
  CHECK(upstream == expected);
}

TEST_CASE("a choice by initialisers of C") {
  auto choice = sized<tilefit_selection>();
  REQUIRE(select_from_c("sm_120", 520, &choice) == TILEFIT_OK);
  const selection ours =
      make_opt_flags(arch_v<arch_id::sm_120>, {.m = 2080,
                                               .n = 5760,
                                               .k = 2880,
                                               .experts = 32,
                                               .topk = 4,
                                               .formats = {.act = activation::swiglu, .gather = true, .bias = true}});
  CHECK(same(choice.flags, ours.flags));
  CHECK(choice.need_bytes == ours.need_bytes());
  CHECK(choice.predicted_ps == ours.cost.total_ps);
  CHECK(select_from_c("sm_120", 0, &choice) == TILEFIT_EMPTY);
  CHECK(choice.need_bytes == 0);
}

TEST_CASE("structs of other versions") {
  tilefit_device device = device_called("sm_90");
  tilefit_problem problem = small_problem();
  auto choice = sized<tilefit_selection>();
  REQUIRE(tilefit_select(&device, &problem, nullptr, nullptr, &choice) == TILEFIT_OK);
  const tilefit_flags whole = choice.flags;

  // An older caller: what stands behind its members is not looked at.
  problem.struct_size = offsetof(tilefit_problem, rows_per_expert);
  problem.rows_per_expert = -1;
  CHECK(tilefit_select(&device, &problem, nullptr, nullptr, &choice) == TILEFIT_OK);
  CHECK(std::memcmp(&whole, &choice.flags, sizeof whole) == 0);
  problem = small_problem();

  // A newer one.
  struct {
    tilefit_problem known;
    std::int64_t unknown;
  } newer{problem, 0};
  newer.known.struct_size = sizeof newer;
  CHECK(tilefit_select(&device, &newer.known, nullptr, nullptr, &choice) == TILEFIT_OK);
  newer.unknown = 1;
  CHECK(tilefit_select(&device, &newer.known, nullptr, nullptr, &choice) == TILEFIT_UNSUPPORTED_FEATURE);
  CHECK(says(choice.reason, std::to_string(sizeof(tilefit_problem))));

  // An older caller's selection is written as far as it goes.
  choice = sized<tilefit_selection>();
  choice.struct_size = offsetof(tilefit_selection, wished);
  choice.wished.block_m = 77;
  CHECK(tilefit_select(&device, &problem, nullptr, nullptr, &choice) == TILEFIT_OK);
  CHECK(choice.flags.block_m == whole.block_m);
  CHECK(choice.struct_size == offsetof(tilefit_selection, wished));
  CHECK(choice.wished.block_m == 77);

  problem.struct_size = 0;
  choice = sized<tilefit_selection>();
  CHECK(tilefit_select(&device, &problem, nullptr, nullptr, &choice) == TILEFIT_INVALID_ARGUMENT);
  CHECK(says(choice.reason, "struct_size of tilefit_problem is 0"));
}

TEST_CASE("what cannot be read gets a sentence") {
  CHECK(nothing_from_c() == 0);
  tilefit_device device = device_called("sm_90");
  tilefit_problem problem = small_problem();
  auto choice = sized<tilefit_selection>();
  const auto complaint = [&](int status) {
    CHECK(tilefit_select(&device, &problem, nullptr, nullptr, &choice) == status);
    CHECK(choice.status == status);
    CHECK(choice.flags.block_m == 0);
    return std::string(choice.reason);
  };
  device.arch = "sm_";
  CHECK(says(complaint(TILEFIT_INVALID_ARGUMENT).c_str(), "'sm_' is no architecture"));
  device.arch = nullptr;
  CHECK(says(complaint(TILEFIT_INVALID_ARGUMENT).c_str(), "NULL"));
  device.arch = "sm_90";
  problem.x_dtype = 6;
  CHECK(says(complaint(TILEFIT_INVALID_ARGUMENT).c_str(), "x_dtype is 6, must be 0 to 5"));
  problem.x_dtype = TILEFIT_BF16;
  problem.k = -1;
  CHECK(says(complaint(TILEFIT_INVALID_PROBLEM).c_str(), "k is -1"));
  problem.k = 2880;

  auto constraints = sized<tilefit_constraints>();
  constraints.text = "block_m=banana";
  CHECK(tilefit_select(&device, &problem, &constraints, nullptr, &choice) == TILEFIT_INVALID_CONSTRAINT);
  CHECK(says(choice.reason, "banana"));
  constraints.text = "sm_90:block_m=16;block_m=64";
  constraints.block_n = 128;
  CHECK(tilefit_select(&device, &problem, &constraints, nullptr, &choice) <= TILEFIT_EMPTY);
  CHECK(choice.flags.block_m == 16);
  CHECK(choice.flags.block_n == 128);
  constraints.block_m = 8;  // wins over the text
  CHECK(tilefit_select(&device, &problem, &constraints, nullptr, &choice) <= TILEFIT_EMPTY);
  CHECK(choice.flags.block_m == 8);

  auto policy = sized<tilefit_policy>();
  policy.kind = 3;
  CHECK(tilefit_select(&device, &problem, nullptr, &policy, &choice) == TILEFIT_INVALID_ARGUMENT);
  CHECK(says(choice.reason, "kind of tilefit_policy is 3"));
  policy.kind = TILEFIT_POLICY_TRITON_3_4_0;
  policy.scale_layout = -1;
  CHECK(tilefit_select(&device, &problem, nullptr, &policy, &choice) == TILEFIT_INVALID_ARGUMENT);
  CHECK(says(choice.reason, "scale_layout is -1"));

  CHECK(std::string_view(tilefit_status_name(TILEFIT_OK_FALLBACK)) == "ok_fallback");
  CHECK(std::string_view(tilefit_status_name(-1)) == "?");
  CHECK(std::string_view(tilefit_status_name(99)) == "?");
  CHECK(tilefit_version() == 10'000 * TILEFIT_VERSION_MAJOR + 100 * TILEFIT_VERSION_MINOR + TILEFIT_VERSION_PATCH);
}

TEST_CASE("explanations go to the caller's buffer") {
  const tilefit_device device = device_called("gfx950");
  const tilefit_problem problem = small_problem();
  std::size_t needed = 0;
  CHECK(tilefit_explain(&device, &problem, nullptr, nullptr, TILEFIT_JSON, nullptr, 0, &needed) == TILEFIT_OK);
  REQUIRE(needed > 100);
  std::vector<char> buffer(needed, 'x');
  CHECK(tilefit_explain(&device, &problem, nullptr, nullptr, TILEFIT_JSON, buffer.data(), needed, nullptr) ==
        TILEFIT_OK);
  CHECK(buffer.back() == '\0');
  const auto json = nlohmann::json::parse(buffer.data());
  auto choice = sized<tilefit_selection>();
  REQUIRE(tilefit_select(&device, &problem, nullptr, nullptr, &choice) == TILEFIT_OK);
  CHECK(json["flags"]["block_m"] == choice.flags.block_m);

  std::vector<char> small(11, 'x');
  CHECK(tilefit_explain(&device, &problem, nullptr, nullptr, TILEFIT_TEXT, small.data(), 10, &needed) == TILEFIT_OK);
  CHECK(std::strlen(small.data()) == 9);
  CHECK(small[10] == 'x');
  CHECK(tilefit_explain(&device, &problem, nullptr, nullptr, 2, small.data(), 10, &needed) == TILEFIT_INVALID_ARGUMENT);
  CHECK(std::string_view(small.data()) == "form is 2");
}

namespace {

constexpr std::int64_t tokens = 7, hidden = 96, intermediate = 64;
constexpr int experts = 4, topk = 2;

/// MXFP4 weights of a matrix that is made up.
struct made_weights {
  std::vector<std::uint8_t> values, scales;
  made_weights(std::int64_t rows, std::int64_t columns)
      : values(static_cast<std::size_t>(rows * columns / 2)), scales(static_cast<std::size_t>(rows * columns / 32)) {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::uint8_t>(i * 37 % 251);
    for (std::size_t i = 0; i < scales.size(); ++i) scales[i] = static_cast<std::uint8_t>(122 + i % 3);
  }
};

struct made_layer {
  made_weights gate_up{experts * 2 * intermediate, hidden}, down{experts * hidden, intermediate};
  std::vector<float> x = std::vector<float>(tokens * hidden), logits = std::vector<float>(tokens * experts);
  std::vector<float> y = std::vector<float>(tokens * hidden, -77.0f);
  tilefit_moe_args args = sized<tilefit_moe_args>();

  made_layer() {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 7) - 3.0f;
    for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i * 5 % 11);
    args.tokens = tokens;
    args.hidden = hidden;
    args.intermediate = intermediate;
    args.experts = experts;
    args.topk = topk;
    args.logits = logits.data();
    args.x = x.data();
    args.gate_up = gate_up.values.data();
    args.gate_up_scales = gate_up.scales.data();
    args.down = down.values.data();
    args.down_scales = down.scales.data();
    args.y = y.data();
    args.x_dtype = args.between_dtype = args.y_dtype = TILEFIT_FP32;
    args.swiglu_alpha = 1.702f;
    args.swiglu_limit = 7.0f;
    args.swiglu_up_offset = 1.0f;
  }
};

}  // namespace

TEST_CASE("a layer through C has the bits of the CPU backend") {
  CHECK(std::string_view(tilefit_backend()) == "cpu");
  CHECK(tilefit_kernel_layout() == TILEFIT_ROW_MAJOR);
  made_layer layer;
  auto gate_up = sized<tilefit_selection>(), down = sized<tilefit_selection>();
  auto answer = sized<tilefit_answer>();
  REQUIRE(tilefit_choose_moe(&layer.args, &gate_up, &down) == TILEFIT_OK);
  REQUIRE(tilefit_moe_workspace_bytes(&layer.args, nullptr, nullptr, &layer.args.workspace_bytes, &answer) ==
          TILEFIT_OK);
  std::vector<std::int32_t> workspace(layer.args.workspace_bytes / 4 + 1);
  layer.args.workspace = workspace.data();
  REQUIRE(tilefit_prepare_workspace(workspace.data(), layer.args.workspace_bytes, nullptr, &answer) == TILEFIT_OK);

  --layer.args.workspace_bytes;
  CHECK(tilefit_moe_mlp(&layer.args, nullptr, nullptr, nullptr, &answer) == TILEFIT_INVALID_ARGUMENT);
  CHECK(says(answer.reason, "workspace_bytes is"));
  CHECK(layer.y[0] == -77.0f);
  ++layer.args.workspace_bytes;
  REQUIRE(tilefit_moe_mlp(&layer.args, nullptr, nullptr, nullptr, &answer) == TILEFIT_OK);
  const std::vector<float> through_c = layer.y;

  const auto flags_of = [](const tilefit_selection& choice) {
    return opt_flags{.block_m = choice.flags.block_m,
                     .block_n = choice.flags.block_n,
                     .block_k = choice.flags.block_k,
                     .num_warps = choice.flags.num_warps,
                     .num_stages = choice.flags.num_stages,
                     .group_m = choice.flags.group_m,
                     .split_k = choice.flags.split_k};
  };
  const host::moe_layer own{
      .tokens = tokens,
      .hidden = hidden,
      .intermediate = intermediate,
      .experts = experts,
      .topk = topk,
      .x = {.data = layer.x.data(), .type = dtype::fp32, .rows = tokens, .row_stride = hidden},
      .gate_up = {.data = layer.gate_up.values.data(), .block_scales = layer.gate_up.scales.data()},
      .down = {.data = layer.down.values.data(), .block_scales = layer.down.scales.data()},
      .y = {.data = layer.y.data(), .type = dtype::fp32, .rows = tokens, .row_stride = hidden},
      .between = dtype::fp32};
  const host::moe_flags both{flags_of(gate_up), flags_of(down)};
  std::vector<std::byte> room(host::workspace_bytes(own, both));
  std::vector<std::int32_t> chosen(tokens * topk);
  std::vector<float> weights(tokens * topk);
  layer.y.assign(layer.y.size(), 0.0f);
  REQUIRE(host::moe_mlp(own, both,
                        {.logits = layer.logits,
                         .expert_index = chosen,
                         .expert_weight = weights,
                         .workspace = room.data(),
                         .workspace_bytes = room.size()}) == status_code::ok);
  CHECK(std::memcmp(layer.y.data(), through_c.data(), through_c.size() * 4) == 0);

  layer.args.logits = nullptr;
  CHECK(tilefit_moe_mlp(&layer.args, nullptr, nullptr, nullptr, &answer) == TILEFIT_INVALID_ARGUMENT);
  CHECK(says(answer.reason, "logits"));
  layer.args.tokens = 0;
  CHECK(tilefit_moe_mlp(&layer.args, nullptr, nullptr, nullptr, &answer) == TILEFIT_EMPTY);
}

TEST_CASE("a matmul through C, from packed weights, has the bits of the CPU backend") {
  const made_weights w(2 * 64, 96);
  const std::size_t packed_bytes = tilefit_weight_bytes(TILEFIT_MMA_M16K64, 2, 64, 96);
  REQUIRE(packed_bytes == static_cast<std::size_t>(2 * bytes_per_expert(weight_layout::mma_m16k64, 64, 96)));
  CHECK(tilefit_weight_bytes(TILEFIT_MMA_M16K64, 2, 33, 96) == 0);
  CHECK(tilefit_weight_bytes(7, 2, 64, 96) == 0);
  std::vector<std::uint8_t> packed(packed_bytes), ours(packed_bytes);
  auto from = sized<tilefit_weights>();
  from.experts = 2;
  from.n = 64;
  from.k = 96;
  from.values = w.values.data();
  from.scales = w.scales.data();
  auto answer = sized<tilefit_answer>();
  REQUIRE(tilefit_shuffle_weights(TILEFIT_MMA_M16K64, &from, packed.data(), nullptr, &answer) == TILEFIT_OK);
  REQUIRE(shuffle_weights(weight_layout::mma_m16k64, {.experts = 2, .n = 64, .k = 96},
                          {w.values.data(), w.scales.data()}, {ours.data()}) == status_code::ok);
  CHECK(packed == ours);
  CHECK(tilefit_shuffle_weights(TILEFIT_ROW_MAJOR, &from, packed.data(), nullptr, &answer) == TILEFIT_INVALID_ARGUMENT);

  std::vector<float> x(5 * 96);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 9) - 4.0f;
  const std::vector<std::int32_t> offsets{0, 2, 5}, gather{4, -1, 0, 1, 3};
  std::vector<float> y(5 * 64, -77.0f), expected = y;
  auto args = sized<tilefit_matmul_args>();
  args.m = 5;
  args.n = 64;
  args.k = 96;
  args.experts = 2;
  args.topk = 1;
  args.x = x.data();
  args.x_dtype = args.y_dtype = TILEFIT_FP32;
  args.x_rows = args.y_rows = 5;
  args.x_row_stride = 96;
  args.w = packed.data();
  args.w_dtype = TILEFIT_MXFP4;
  args.w_layout = TILEFIT_MMA_M16K64;
  args.y = y.data();
  args.y_row_stride = 64;
  args.expert_offsets = offsets.data();
  args.gather_indx = gather.data();
  args.swiglu_limit = 7.0f;
  auto choice = sized<tilefit_selection>();
  REQUIRE(tilefit_choose(&args, nullptr, &choice) == TILEFIT_OK);
  REQUIRE(tilefit_workspace_bytes(&args, &choice.flags, &args.workspace_bytes, &answer) == TILEFIT_OK);
  std::vector<std::byte> workspace(args.workspace_bytes);
  args.workspace = workspace.data();
  REQUIRE(tilefit_launch(&args, nullptr, nullptr, &answer) == TILEFIT_OK);

  matmul_args own{.m = 5,
                  .n = 64,
                  .k = 96,
                  .experts = 2,
                  .x = {.data = x.data(), .type = dtype::fp32, .rows = 5, .row_stride = 96},
                  .w = {.data = packed.data(), .layout = weight_layout::mma_m16k64},
                  .y = {.data = expected.data(), .type = dtype::fp32, .rows = 5, .row_stride = 64},
                  .expert_offsets = offsets.data(),
                  .gather_indx = gather.data(),
                  .workspace = workspace.data(),
                  .workspace_bytes = workspace.size()};
  REQUIRE(host::matmul_ogs(own, {.block_m = choice.flags.block_m,
                                 .block_n = choice.flags.block_n,
                                 .block_k = choice.flags.block_k,
                                 .num_warps = choice.flags.num_warps,
                                 .num_stages = choice.flags.num_stages,
                                 .split_k = choice.flags.split_k}) == status_code::ok);
  CHECK(std::memcmp(y.data(), expected.data(), y.size() * 4) == 0);
  CHECK(y[64] == -77.0f);  // an absent row keeps what it had

  args.w_layout = 9;
  CHECK(tilefit_launch(&args, nullptr, nullptr, &answer) == TILEFIT_INVALID_ARGUMENT);
  CHECK(says(answer.reason, "w_layout is 9"));
}
