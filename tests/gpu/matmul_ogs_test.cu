// matmul_ogs on a GPU against float64 on the same GPU, and everything else its contract promises.
// Knows: which shapes and inputs are worth trying. Runs in seconds; one line a group, exit code 0, 1, or 77 without a
// device.
//
// c++ -std=c++20 -O2 -DFMT_HEADER_ONLY -I include -I bench -c bench/safetensors.cpp -o safetensors.o
// nvcc -std=c++20 -O3 -gencode arch=compute_90a,code=sm_90a -I include -I bench -DTILEFIT_GOLDEN_DIR='"tests/golden"'
//   -o matmul_ogs_test tests/gpu/matmul_ogs_test.cu safetensors.o
// Without TILEFIT_GOLDEN_DIR (and safetensors.o, which wants fmt and nlohmann-json) the golden layers are left out.
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <string_view>

#include "matmul_behaviour.cuh"
#include "narrow_y.cuh"
#ifdef TILEFIT_GOLDEN_DIR
#include "golden_layers.cuh"
#endif

namespace tilefit_gpu {
namespace {

constexpr dtype y_types[] = {dtype::bf16, dtype::fp32, dtype::fp16};
constexpr dtype x_types[] = {dtype::bf16, dtype::fp16};

/// Kernels that pack weights on the device do what the library does on the CPU.
void test_weights(matmul_test& test) {
  for (const auto& [experts, n, k] : {std::tuple{1, 32, 32}, {2, 96, 320}, {3, 160, 96}})
    test.in_case("E" + std::to_string(experts) + " N" + std::to_string(n) + " K" + std::to_string(k), [&] {
      if (!test.run.wants_run("")) return;
      const weight_recipe recipe{.experts = experts, .n = n, .k = k, .lowest_scale = 0, .highest_scale = 255};
      const weight_set& set = test.gpu.weights(recipe);
      wait_for(test.gpu.main);
      const auto blocks = static_cast<std::size_t>(experts) * static_cast<std::size_t>(n * k / 32);
      const std::vector<std::uint8_t> values = download(set.values, 16 * blocks), scales = download(set.scales, blocks);
      std::vector<std::uint8_t> packed(
          static_cast<std::size_t>(experts * bytes_per_expert(weight_layout::mma_m16k64, n, k)));
      const status_code status = shuffle_weights(weight_layout::mma_m16k64, {experts, n, k},
                                                 {values.data(), scales.data()}, {packed.data(), nullptr});
      test.run.verdict(status == status_code::ok && packed == download(set.packed, packed.size()),
                       "packed otherwise than by shuffle_weights");
    });
}

/// Shapes that every entry of the catalogue is run with: all sizes of N and K that matter, small in the other one.
std::vector<case_spec> catalogue_shapes() {
  constexpr activation swiglu = activation::swiglu;
  return {{.tokens = 1, .experts = 1, .topk = 1, .n = 32, .k = 32, .dense = true, .gather = false},
          {.tokens = 65, .experts = 4, .topk = 2, .n = 96, .k = 320, .act = swiglu},
          {.tokens = 63, .experts = 8, .topk = 4, .n = 320, .k = 96, .gather = false, .scatter = true, .gammas = true},
          {.tokens = 129, .experts = 4, .topk = 1, .n = 2880, .k = 32},
          {.tokens = 64, .experts = 8, .topk = 2, .n = 32, .k = 2880, .act = swiglu},
          {.tokens = 519, .experts = 1, .topk = 1, .n = 320, .k = 4096, .dense = true, .gather = false, .bias = false},
          {.tokens = 7,
           .experts = 4,
           .topk = 4,
           .n = 4096,
           .k = 96,
           .gather = false,
           .scatter = true,
           .reduce = true,
           .gammas = true},
          {.tokens = 8, .experts = 8, .topk = 2, .n = 7168, .k = 320, .act = swiglu},
          {.tokens = 130,
           .experts = 4,
           .topk = 2,
           .n = 96,
           .k = 7168,
           .scatter = true,
           .reduce = true,
           .accumulate = true}};
}

void test_catalogue(matmul_test& test) {
  std::vector<case_spec> shapes = catalogue_shapes();
  std::vector<int> answered(test.catalogue.size());
  const int sparse = static_cast<int>(test.catalogue.size()) / 8 + 1;
  bool whole = true;  // no case was filtered out or done before
  int number = 0;
  for (const case_spec& shape : shapes)
    for (int formats = 0; formats < 6; ++formats, ++number) {
      const bool turn = formats == number / 6 % 6 || formats == (number / 6 + 4) % 6;
      if (test.options.quick && !test.options.sanitize && !turn) continue;
      // Under a memory checker: four small shapes, one of them summed over topk.
      const int place = number / 6;
      if (test.options.sanitize && ((place > 2 && place != 6) || formats != place % 3)) continue;
      case_spec spec = shape;
      spec.x = x_types[formats % 2];
      spec.y = y_types[formats % 3];
      bool done = false;
      test.in_case(shape_text(spec), [&] {
        done = true;
        matmul_case one(test.gpu, spec);
        for (const flag_choice& choice : test.all({0, 1, 3}, test.options.sanitize ? sparse : 1))
          test.in_run(choice, [&] {
            const outcome result = one.run(choice.flags);
            if (!result.refused) ++answered[static_cast<std::size_t>(choice.entry)];
            test.count(result, true);
          });
      });
      whole = whole && done;
    }
  test.in_case("accepted", [&] {
    if (!whole || test.options.sanitize) return;
    for (std::size_t e = 0; e < answered.size(); ++e)
      if (answered[e] == 0 && (test.options.entry < 0 || test.options.entry == static_cast<int>(e)))
        test.in_run(test.choice_of(static_cast<int>(e)), [&] { test.run.failed("every shape was refused"); });
  });
}

void test_tokens(matmul_test& test) {
  int number = 0;
  for (const std::int64_t tokens : {0, 1, 2, 7, 8, 63, 64, 65, 129, 519, 520, 1024, 4097})
    for (const int form : {0, 1, 2}) {
      case_spec spec = form == 0 ? small_gate_up(tokens, 320, 320) : small_down(tokens, 320, 320);
      if (form == 2) spec.reduce = false;
      spec.experts = number % 2 == 0 ? 8 : 32;
      spec.x = x_types[number / 2 % 2];
      spec.y = y_types[number % 3];
      ++number;
      test.run_some(shape_text(spec), spec, test.options.quick ? 2 : 6);
    }
}

void test_routing(matmul_test& test) {
  int number = 0;
  for (const int experts : {1, 4, 8, 32, 128})
    for (const int topk : {1, 2, 4, 8})
      for (const routing_kind routing :
           {routing_kind::spread, routing_kind::one_expert, routing_kind::every_second, routing_kind::skewed})
        for (const int kind : {0, 1, 2, 3}) {
          ++number;
          if (test.options.quick && number % 5 != 0) continue;
          constexpr std::int64_t tokens[] = {65, 7, 129, 40, 1};
          case_spec spec{.tokens = tokens[number % 5],
                         .experts = experts,
                         .topk = topk,
                         .n = number % 3 == 0 ? 96 : 160,
                         .k = number % 2 == 0 ? 96 : 320,
                         .y = y_types[number % 3],
                         .routing = routing,
                         .gather = number % 4 != 3,
                         .scatter = number % 4 != 0,
                         .reduce = number % 4 == 2,
                         .absent = kind % 2 == 1,
                         .remote_experts = kind / 2 * 3,
                         .gammas = number % 7 < 4,
                         .every_row = number % 8 == 1,
                         .spare_rows = number % 2 * 3};
          spec.seed = static_cast<std::uint64_t>(number);
          spec.weights.seed = 3;
          test.run_some(std::string(routing == routing_kind::one_expert     ? "one expert "
                                    : routing == routing_kind::every_second ? "half of them empty "
                                    : routing == routing_kind::skewed       ? "skewed "
                                                                            : "") +
                            shape_text(spec),
                        spec, test.options.quick ? 1 : 2);
        }
}

void test_epilogues(matmul_test& test) {
  constexpr float endless = std::numeric_limits<float>::infinity();
  constexpr swiglu_params params[] = {
      {}, {.alpha = 1.0f, .limit = endless, .up_offset = 0.0f}, {.alpha = 0.5f, .limit = 2.5f, .up_offset = 0.25f}};
  int number = 0;
  for (const int form : {0, 1, 2, 3})
    for (const activation act : {activation::none, activation::swiglu})
      for (const bool bias : {false, true})
        for (const bool gammas : {false, true})
          for (const bool accumulate : {false, true})
            for (const dtype y : y_types)
              for (const dtype x : x_types) {
                ++number;
                if (test.options.quick && number % 5 != 0) continue;
                case_spec spec{.tokens = 33, .experts = 4, .topk = 2, .n = 160, .k = 96, .x = x, .y = y};
                spec.gather = form != 3;
                spec.scatter = form == 1 || form == 2;
                spec.reduce = form >= 2;
                spec.act = act;
                spec.swiglu = params[number / 2 % 3];
                spec.bias = bias;
                spec.gammas = gammas;
                spec.accumulate = accumulate;
                spec.every_row = number % 3 == 0;
                spec.spare_rows = number % 3 == 0 ? 2 : 0;
                spec.absent = number % 4 == 0;
                // Larger sums, so that limits cut some of them.
                if (act == activation::swiglu) spec.weights.lowest_scale = 120, spec.weights.highest_scale = 126;
                test.run_some(shape_text(spec) + " params " + std::to_string(number / 2 % 3), spec, 2);
              }
}

void test_strides(matmul_test& test) {
  struct layout {
    std::int64_t x_padding, y_padding;
    std::size_t shift;
    bool may_refuse;
  };
  // What a kernel may refuse: rows of X that are not 16 bytes apart, buffers off 16 bytes. It must not get them wrong.
  const layout layouts[] = {{8, 8, 0, false}, {40, 24, 16, false}, {0, 8, 48, false}, {64, 0, 112, false},
                            {1, 0, 0, true},  {4, 0, 0, true},     {0, 1, 0, true},   {0, 3, 0, true},
                            {0, 2, 0, true},  {0, 4, 0, true},     {0, 0, 2, true},   {0, 0, 4, true},
                            {0, 0, 8, true},  {2, 2, 2, true}};
  int number = 0;
  for (const layout& each : layouts)
    for (const int form : {0, 1, 2})
      for (const dtype y : y_types) {
        ++number;
        if (test.options.quick && number % 2 != 0) continue;
        if (y == dtype::fp32 && each.shift % 4 != 0) continue;
        case_spec spec = form == 0 ? small_gate_up(35, 288, 352) : small_down(35, 288, 352);
        if (form == 2) spec.reduce = false;
        spec.y = y;
        spec.x_padding = each.x_padding;
        spec.y_padding = each.y_padding;
        spec.shift = each.shift;
        spec.spare_rows = 3;
        test.run_some("X +" + std::to_string(each.x_padding) + ", Y +" + std::to_string(each.y_padding) + ", shift " +
                          std::to_string(each.shift) + " " + shape_text(spec),
                      spec, 3, each.may_refuse);
      }
}

/// E8M0 codes from one end to the other. X makes up for the size of W, so that sums stay in the range of a float.
void test_scales(matmul_test& test) {
  struct kind {
    const char* name;
    int lowest, highest, x_exponent;
    code_choice codes;
    int nan_scales;
    dtype x;
  };
  constexpr dtype bf16 = dtype::bf16, fp16 = dtype::fp16;
  const kind kinds[] = {{"0 and 1", 0, 1, 100, code_choice::any, 0, bf16},
                        {"0 to 7", 0, 7, 90, code_choice::any, 0, bf16},
                        {"127 to 129", 127, 129, 0, code_choice::any, 0, bf16},
                        {"253 and 254, finite", 253, 254, -110, code_choice::small, 0, bf16},
                        {"254, some products beyond float", 254, 254, -110, code_choice::seldom_big, 0, bf16},
                        {"87 to 167", 87, 167, -10, code_choice::any, 0, bf16},
                        {"11 to 246", 11, 246, 0, code_choice::any, 0, bf16},
                        {"some 255", 116, 124, 0, code_choice::any, 8, bf16},
                        {"114 to 139, fp16", 114, 139, -8, code_choice::any, 0, fp16},
                        {"some 255, fp16", 116, 124, 0, code_choice::any, 8, fp16}};
  for (const kind& each : kinds)
    for (const std::int64_t k : {32, 320})
      for (const dtype y : {dtype::bf16, dtype::fp32}) {
        case_spec spec{.tokens = 41, .experts = 4, .topk = 2, .n = 96, .k = k, .x = each.x, .y = y};
        spec.bias = false;
        spec.x_exponent = each.x_exponent;
        spec.weights = {.lowest_scale = each.lowest,
                        .highest_scale = each.highest,
                        .codes = each.codes,
                        .nan_scales = each.nan_scales};
        test.in_case(std::string(each.name) + " " + shape_text(spec), [&] {
          matmul_case one(test.gpu, spec);
          for (const flag_choice& choice : test.all({0, 1}, test.options.quick ? 3 : 1))
            test.in_run(choice, [&] { test.count(one.run(choice.flags), true); });
        });
      }
  case_spec overflow{.tokens = 50, .experts = 4, .topk = 2, .n = 96, .k = 2880, .y = dtype::fp16};
  overflow.weights.lowest_scale = 134;
  overflow.weights.highest_scale = 137;
  for (const dtype x : x_types) {
    overflow.x = x;
    test.run_some("sums beyond fp16 " + shape_text(overflow), overflow, test.options.quick ? 4 : 16);
  }
}

void test_large(matmul_test& test) {
  std::vector<case_spec> specs;
  const auto add = [&](case_spec spec, std::int64_t tokens, dtype y) {
    spec.tokens = tokens;
    spec.y = y;
    specs.push_back(spec);
  };
  const case_spec gate_up{.experts = 32, .topk = 4, .n = 5760, .k = 2880, .act = activation::swiglu};
  case_spec down{.experts = 32, .topk = 4, .n = 2880, .k = 2880, .gather = false, .scatter = true, .gammas = true};
  case_spec sum = down;
  sum.reduce = true;
  add(gate_up, 1, dtype::bf16);
  add(gate_up, 520, dtype::bf16);
  add(down, 65, dtype::bf16);
  add(sum, 519, dtype::fp32);
  add({.experts = 128, .topk = 8, .n = 320, .k = 2880}, 1024, dtype::bf16);
  add({.experts = 4, .topk = 1, .n = 7168, .k = 4096, .routing = routing_kind::skewed}, 129, dtype::fp32);
  if (!test.options.quick) {
    add(gate_up, 64, dtype::fp32);
    add(gate_up, 1024, dtype::bf16);
    add(gate_up, 4097, dtype::bf16);
    add(down, 4097, dtype::bf16);
    add(sum, 4097, dtype::bf16);
    add({.experts = 8, .topk = 2, .n = 4096, .k = 7168, .x = dtype::fp16}, 1024, dtype::fp16);
    add({.experts = 4, .topk = 2, .n = 7168, .k = 7168, .act = activation::swiglu}, 520, dtype::bf16);
    add({.experts = 1, .topk = 1, .n = 7168, .k = 2880, .dense = true, .gather = false}, 4097, dtype::bf16);
    add({.experts = 128, .topk = 8, .n = 320, .k = 2880, .routing = routing_kind::one_expert}, 520, dtype::fp32);
    add({.experts = 128, .topk = 8, .n = 2880, .k = 320, .scatter = true, .reduce = true}, 4097, dtype::bf16);
  }
  for (const case_spec& spec : specs) test.run_some(shape_text(spec), spec, test.options.quick ? 1 : 6);
}

int run_groups(session& counts, const test_options& options) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("no CUDA device\n");
    return exit_no_device;
  }
  int major = 0, minor = 0;
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), "device");
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0), "device");
  matmul_test test(options, counts);
  std::printf("compute capability %d.%d, %zu entries of the %s catalogue\n", major, minor, test.catalogue.size(),
              options.generic ? "generic" : "device's");
  if (test.catalogue.empty()) {
    std::printf("no kernel for this device in this program\n");
    return 1;
  }
  const auto group = [&](const char* name, auto body) { counts.group(name, [&] { body(test); }); };
  group("weights", test_weights);
  group("catalogue", test_catalogue);
  if (options.sanitize) return 0;
  group("tokens", test_tokens);
  group("routing", test_routing);
  group("epilogues", test_epilogues);
  group("strides", test_strides);
  group("scales", test_scales);
  group("contagion", test_contagion);
  group("narrow Y", test_narrow_y);
  group("repeats", test_repeats);
  group("workspace", test_shared_workspace);
  group("batches", test_batches);
  group("graphs", test_graphs);
  group("streams", test_streams);
  group("refusals", test_refusals);
#ifdef TILEFIT_GOLDEN_DIR
  group("golden", [&](matmul_test& with) {
    test_golden_layers(with, options.golden.empty() ? TILEFIT_GOLDEN_DIR : options.golden);
  });
#else
  std::printf("golden: left out, built without TILEFIT_GOLDEN_DIR\n");
#endif
  group("large", test_large);
  group("guards", [](matmul_test& with) {
    with.in_case("weights", [&] {
      if (!with.run.wants_run("")) return;
      const std::string broken = with.gpu.broken_weights();
      with.run.verdict(broken.empty(), "written outside: " + broken);
    });
  });
  return 0;
}

constexpr const char* usage =
    "matmul_ogs_test [--quick] [--filter TEXT] [--entry INDEX] [--generic] [--sanitize] [--one-process]\n"
    "                [--golden DIR] [--budget SECONDS]\n"
    "  --quick        fewer cases, about 20 s\n"
    "  --filter TEXT  cases whose \"group/name\" contains TEXT\n"
    "  --entry INDEX  this entry of the catalogue alone\n"
    "  --generic      the kernels that run on every chip since Ampere, in an SM120's shared memory\n"
    "  --sanitize     a few small cases in one process, each buffer an allocation of its own: for compute-sanitizer\n"
    "  --budget S     begin no case after so many seconds (300, quick 60)\n";

}  // namespace
}  // namespace tilefit_gpu

int main(int argc, char** argv) {
  using namespace tilefit_gpu;
  test_options options;
  session_options how;
  how.budget_seconds = 0;
  bool understood = true;
  for (int i = 1; i < argc && understood; ++i) {
    const std::string_view word = argv[i];
    const bool more = i + 1 < argc;
    if (word == "--quick")
      options.quick = true;
    else if (word == "--sanitize")
      options.sanitize = options.quick = how.in_one_process = true;
    else if (word == "--generic")
      options.generic = true;
    else if (word == "--one-process")
      how.in_one_process = true;
    else if (word == "--filter" && more)
      how.filter = argv[++i];
    else if (word == "--entry" && more)
      options.entry = std::atoi(argv[++i]);
    else if (word == "--golden" && more)
      options.golden = argv[++i];
    else if (word == "--budget" && more)
      how.budget_seconds = std::atof(argv[++i]);
    else
      understood = false;
  }
  if (!understood) {
    std::fputs(usage, stderr);
    return 2;
  }
  if (how.budget_seconds <= 0) how.budget_seconds = options.quick ? 60 : 300;
  std::setvbuf(stdout, nullptr, _IOLBF, 1 << 14);
  return run_session(how, [&](session& counts) { return run_groups(counts, options); });
}
