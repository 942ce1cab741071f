// What a matmul must hold to beside right numbers: the same bits again, in every batch, from graphs and from two
// streams; refusals that touch nothing.
// Knows: cases and flags. Must not know: how results are judged (matmul_case.cuh).
#pragma once

#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "graph_timing.cuh"
#include "matmul_test.cuh"

namespace tilefit_gpu {

/// gate_up of a small layer: gathered rows, bias, SwiGLU.
inline case_spec small_gate_up(std::int64_t tokens, std::int64_t n, std::int64_t k) {
  return {.tokens = tokens, .experts = 8, .topk = 4, .n = n, .k = k, .act = activation::swiglu};
}

/// down of a small layer: rows go back to their tokens and are summed.
inline case_spec small_down(std::int64_t tokens, std::int64_t n, std::int64_t k) {
  return {.tokens = tokens,
          .experts = 8,
          .topk = 4,
          .n = n,
          .k = k,
          .gather = false,
          .scatter = true,
          .reduce = true,
          .gammas = true};
}

/// Launches of the same call give the same bits, on a workspace that is prepared once, and without one where it is
/// optional.
inline void test_repeats(matmul_test& test) {
  case_spec adding = small_down(21, 320, 320);
  adding.accumulate = true;
  adding.y = dtype::fp32;
  const std::pair<const char*, case_spec> cases[] = {
      {"gate_up", small_gate_up(37, 320, 2880)}, {"down", small_down(65, 320, 4096)}, {"accumulate", adding}};
  for (const auto& [name, spec] : cases)
    test.in_case(name, [&] {
      matmul_case one(test.gpu, spec);
      for (const flag_choice& choice : test.all({0, 1, 2, 5}, test.options.quick ? 2 : 1))
        test.in_run(choice, [&] {
          const outcome first = one.run(choice.flags);
          if (first.refused || !first.fault.empty()) return test.count(first, true);
          const unsigned long long bits = one.y_hash();
          matmul_args without = one.args;
          without.workspace = nullptr;
          without.workspace_bytes = 0;
          const bool optional = choice.flags.split_k == 1 && one.args.topk <= 1;
          for (int again = 0; again < (optional ? 3 : 2); ++again) {
            one.reset_y(test.gpu.main);
            const cuda::launch_status status = ogs::launch(again < 2 ? one.args : without, choice.flags, test.gpu.main);
            wait_for(test.gpu.main, test.gpu.most_wait_seconds);
            if (status.code != status_code::ok) return test.run.failed("launched again: " + text_of(status));
            if (one.y_hash() != bits) return test.run.failed("another result the next time");
          }
          test.run.passed();
        });
    });
}

/// One workspace, prepared once, under many different calls.
inline void test_shared_workspace(matmul_test& test) {
  test.in_case("shared workspace", [&] {
    std::vector<std::unique_ptr<matmul_case>> cases;
    case_spec decode = small_gate_up(1, 640, 2880);
    decode.y = dtype::fp32;
    for (const case_spec& spec : {small_gate_up(33, 320, 1024), small_down(70, 288, 960), decode})
      cases.push_back(std::make_unique<matmul_case>(test.gpu, spec, cases.size()));
    const std::vector<flag_choice> choices = test.all({0, 1, 3, 4}, test.options.quick ? 2 : 1);
    std::size_t bytes = 0;
    for (const flag_choice& choice : choices)
      for (const auto& one : cases)
        if (succeeded(ogs::can_launch(one->args, choice.flags).code))
          bytes = std::max(bytes, ogs::workspace_bytes(one->args, choice.flags));
    guarded_memory memory;
    void* const workspace = memory.take(test.gpu.main, bytes, "the shared workspace");
    poison(test.gpu.main, workspace, bytes);
    if (bytes > 0) {
      const cuda::launch_status ready = cuda::prepare_workspace(workspace, bytes, test.gpu.main);
      if (ready.code != status_code::ok) test.run.failed("prepare_workspace answers " + text_of(ready));
    }
    for (const flag_choice& choice : choices)
      for (const auto& one : cases)
        test.in_run(choice, [&] {
          one->args.workspace = workspace;
          one->args.workspace_bytes = bytes;
          test.count(one->run(choice.flags, false), true);
        });
    const std::string guards = memory.broken_guards(test.gpu.main);
    test.run.verdict(guards.empty(), "written outside: " + guards);
  });
}

/// With split_k == 1 a token's result has the same bits whoever else is in the batch.
inline void test_batches(matmul_test& test) {
  case_spec gate_up = small_gate_up(300, 192, 320);
  case_spec sums = gate_up;
  sums.act = activation::none;
  sums.scatter = sums.reduce = sums.gammas = true;
  sums.y = dtype::fp32;
  const std::pair<const char*, case_spec> forms[] = {{"gate_up", gate_up}, {"sums over topk", sums}};
  const std::pair<int, int> parts[] = {{0, 1}, {150, 2}, {100, 9}, {200, 33}, {17, 64}, {0, 129}};  // first, tokens
  for (const auto& [name, spec] : forms)
    test.in_case(name, [&] {
      matmul_case whole(test.gpu, spec);
      std::vector<std::unique_ptr<matmul_case>> some;
      for (const auto& [first, tokens] : parts) {
        case_spec part = spec;
        part.first_token = first;
        part.tokens = tokens;
        part.x_tokens = spec.tokens;
        some.push_back(std::make_unique<matmul_case>(test.gpu, part, some.size() + 1));
      }
      // Row of the whole's Y for each (token, rank), or for each token where they are summed.
      std::vector<std::size_t> place(static_cast<std::size_t>(whole.rows));
      for (std::size_t row = 0; row < place.size(); ++row)
        place[static_cast<std::size_t>(whole.lists.row_whole_slot[row])] = row;
      for (const flag_choice& choice : test.all({1}, test.options.quick ? 2 : 1))
        test.in_run(choice, [&] {
          const outcome first = whole.run(choice.flags);
          if (first.refused || !first.fault.empty()) return test.count(first, true);
          const std::vector<std::uint8_t> expected = whole.y_contents();
          const std::size_t row_bytes = expected.size() / static_cast<std::size_t>(whole.y_rows);
          for (const auto& part : some) {
            const outcome own = part->run(choice.flags);
            if (own.refused || !own.fault.empty()) return test.count(own, false);
            const std::vector<std::uint8_t> got = part->y_contents();
            for (std::size_t row = 0; row < static_cast<std::size_t>(part->y_rows); ++row) {
              const std::size_t from = part->spec.reduce
                                           ? row + static_cast<std::size_t>(part->spec.first_token)
                                           : place[static_cast<std::size_t>(part->lists.row_whole_slot[row])];
              if (!std::equal(got.begin() + static_cast<std::ptrdiff_t>(row * row_bytes),
                              got.begin() + static_cast<std::ptrdiff_t>((row + 1) * row_bytes),
                              expected.begin() + static_cast<std::ptrdiff_t>(from * row_bytes)))
                return test.run.failed("row " + std::to_string(row) + " of a batch of " +
                                       std::to_string(part->spec.tokens) + " differs from that of a batch of " +
                                       std::to_string(whole.spec.tokens));
            }
          }
          test.run.passed();
        });
    });
}

/// NaN or infinity in one token's X stays in that token's rows of Y.
inline void test_contagion(matmul_test& test) {
  for (const bool summed : {false, true})
    for (const bool nan : {false, true})
      test.in_case(std::string(nan ? "NaN" : "infinity") + (summed ? ", sums over topk" : ", gate_up"), [&] {
        case_spec spec = small_gate_up(67, 192, 352);
        if (summed) spec.scatter = spec.reduce = true;
        // SwiGLU of an infinite gate is no number or zero, whichever way it is written; so only NaN goes through it.
        if (summed || !nan) spec.act = activation::none;
        matmul_case one(test.gpu, spec);
        std::vector<std::pair<flag_choice, std::vector<std::uint8_t>>> clean;
        const std::vector<flag_choice> choices = test.all({0, 1}, test.options.quick ? 4 : 1);
        for (const flag_choice& choice : choices) {
          clean.emplace_back(choice, std::vector<std::uint8_t>{});
          test.in_run(choice, [&] {
            const outcome result = one.run(choice.flags);
            test.count(result, true);
            if (!result.refused) clean.back().second = one.y_contents();
          });
        }
        constexpr std::int32_t sick = 40;
        const std::uint16_t code = nan ? 0x7FC0 : 0x7F80;
        check(cudaMemcpy(static_cast<std::uint16_t*>(one.x_data) + sick * one.x_stride + 333, &code, sizeof code,
                         cudaMemcpyHostToDevice),
              "one element of X");
        one.compute();
        for (const auto& [choice, before] : clean)
          test.in_run(choice, [&, &healthy = before] {
            const outcome result = one.run(choice.flags);
            if (result.refused || !result.fault.empty() || healthy.empty()) return test.count(result, true);
            const std::vector<std::uint8_t> now = one.y_contents();
            const std::size_t row_bytes = now.size() / static_cast<std::size_t>(one.y_rows);
            for (std::size_t i = 0; i < now.size(); ++i) {
              const std::size_t row = i / row_bytes;
              const std::int64_t token = summed ? static_cast<std::int64_t>(row) : one.lists.gather[row];
              if (token != sick && now[i] != healthy[i])
                return test.run.failed("token " + std::to_string(token) + " changed with token " +
                                       std::to_string(sick));
            }
            test.run.passed();
          });
      });
}

inline void test_graphs(matmul_test& test) {
  const std::pair<const char*, case_spec> cases[] = {{"gate_up", small_gate_up(19, 320, 1024)},
                                                     {"down", small_down(130, 320, 320)}};
  for (const auto& [name, spec] : cases)
    test.in_case(name, [&] {
      matmul_case one(test.gpu, spec);
      const cudaStream_t stream = test.gpu.main;
      std::vector<flag_choice> choices = test.all({0, 1}, test.options.quick ? 6 : 1);
      for (flag_choice& choice : test.some(one.args, 0)) choices.push_back(std::move(choice));
      for (const flag_choice& choice : choices)
        test.in_run(choice, [&] {
          const outcome direct = one.run(choice.flags);
          if (direct.refused || !direct.fault.empty()) return test.count(direct, true);
          const unsigned long long bits = one.y_hash();
          cuda::launch_status recorded;
          const captured graph(stream, [&] { recorded = ogs::launch(one.args, choice.flags, stream); });
          if (recorded.code != status_code::ok) return test.run.failed("captured launch: " + text_of(recorded));
          for (int again = 0; again < 3; ++again) {
            one.reset_y(stream);
            graph.replay(stream);
            wait_for(stream, test.gpu.most_wait_seconds);
            if (one.y_hash() != bits) return test.run.failed("the graph's result differs from the launch's");
          }
          one.fill_x(spec.seed + 1);
          one.compute();
          one.reset_y(stream);
          graph.replay(stream);
          outcome replayed;
          wait_for(stream, test.gpu.most_wait_seconds);
          one.judge(replayed);
          one.fill_x(spec.seed);
          one.compute();
          test.count(replayed, false);
        });
    });
}

/// Two streams at once, each with its own workspace.
inline void test_streams(matmul_test& test) {
  test.in_case("two streams", [&] {
    matmul_case first(test.gpu, small_gate_up(90, 640, 1024), 0), second(test.gpu, small_down(45, 640, 2880), 1);
    matmul_case* const cases[] = {&first, &second};
    const stream own[2];
    for (const flag_choice& choice : test.all({0, 3}, test.options.quick ? 6 : 1))
      test.in_run(choice, [&] {
        unsigned long long bits[2] = {};
        for (int i = 0; i < 2; ++i) {
          const outcome alone = cases[i]->run(choice.flags);
          if (alone.refused || !alone.fault.empty()) return test.count(alone, true);
          bits[i] = cases[i]->y_hash();
        }
        for (int round = 0; round < 8; ++round)
          for (int i = 0; i < 2; ++i) {
            cases[i]->reset_y(own[i]);
            const cuda::launch_status status = ogs::launch(cases[i]->args, choice.flags, own[i]);
            if (status.code != status_code::ok) return test.run.failed(text_of(status));
          }
        for (int i = 0; i < 2; ++i) wait_for(own[i], test.gpu.most_wait_seconds);
        const bool same = first.y_hash() == bits[0] && second.y_hash() == bits[1];
        test.run.verdict(same, "another result beside another stream");
      });
  });
}

/// Calls that must be refused leave Y as it was, and calls without anything to do say so.
inline void test_refusals(matmul_test& test) {
  struct bad_call {
    const char* what;
    std::function<void(matmul_args&, opt_flags&)> spoil;
    status_code expected = status_code::ok;  ///< ok = any refusal
  };
  const auto shifted = [](const void* p, int bytes) { return static_cast<const std::uint8_t*>(p) + bytes; };
  const bad_call calls[] = {
      {"no X", [](auto& a, auto&) { a.x.data = nullptr; }},
      {"no W", [](auto& a, auto&) { a.w.data = nullptr; }},
      {"no Y", [](auto& a, auto&) { a.y.data = nullptr; }},
      {"no offsets", [](auto& a, auto&) { a.expert_offsets = nullptr; }},
      {"X at an odd address", [&](auto& a, auto&) { a.x.data = shifted(a.x.data, 1); }},
      {"X two bytes off", [&](auto& a, auto&) { a.x.data = shifted(a.x.data, 2); }},
      {"W one byte off", [&](auto& a, auto&) { a.w.data = shifted(a.w.data, 1); }},
      {"Y at an odd address", [](auto& a, auto&) { a.y.data = static_cast<std::uint8_t*>(a.y.data) + 1; }},
      {"rows of X too close", [](auto& a, auto&) { a.x.row_stride = a.k - 8; }},
      {"rows of Y too close", [](auto& a, auto&) { a.y.row_stride = a.n / 2 - 8; }},
      {"X transposed", [](auto& a, auto&) { a.x.transposed = true; }},
      {"X fp32", [](auto& a, auto&) { a.x.type = dtype::fp32; }},
      {"X e4m3", [](auto& a, auto&) { a.x.type = dtype::fp8_e4m3; }},
      {"X mxfp4", [](auto& a, auto&) { a.x.type = dtype::mxfp4; }},
      {"W bf16", [](auto& a, auto&) { a.w.type = dtype::bf16, a.w.layout = weight_layout::row_major; }},
      {"W row-major without scales", [](auto& a, auto&) { a.w.layout = weight_layout::row_major; }},
      {"W for AMD", [](auto& a, auto&) { a.w.layout = weight_layout::mfma_m16k128; }},
      {"Y mxfp4", [](auto& a, auto&) { a.y.type = dtype::mxfp4; }},
      {"Y mxfp8 without scales", [](auto& a, auto&) { a.y.type = dtype::mxfp8; }},
      {"n no multiple of 32", [](auto& a, auto&) { a.n = 80; }},
      {"k no multiple of 32", [](auto& a, auto&) { a.k = 72; }},
      {"k zero", [](auto& a, auto&) { a.k = 0; }},
      {"m negative", [](auto& a, auto&) { a.m = -1; }},
      {"experts negative", [](auto& a, auto&) { a.experts = -1; }},
      {"topk zero", [](auto& a, auto&) { a.topk = 0; }},
      {"more rows than X without gather", [](auto& a, auto&) { a.gather_indx = nullptr; }},
      {"limit NaN", [](auto& a, auto&) { a.swiglu.limit = std::numeric_limits<float>::quiet_NaN(); }},
      {"alpha infinite", [](auto& a, auto&) { a.swiglu.alpha = std::numeric_limits<float>::infinity(); }},
      {"no such block_m", [](auto&, auto& f) { f.block_m = 24; }},
      {"no such block_n", [](auto&, auto& f) { f.block_n = 48; }},
      {"no such block_k", [](auto&, auto& f) { f.block_k = 4096; }},
      {"no flags", [](auto&, auto& f) { f = {}; }},
      {"split_k negative", [](auto&, auto& f) { f.split_k = -1; }},
      {"no rows", [](auto& a, auto&) { a.m = 0; }, status_code::empty},
      {"no columns", [](auto& a, auto&) { a.n = 0; }, status_code::empty},
      {"no experts", [](auto& a, auto&) { a.experts = 0; }, status_code::empty},
  };
  const auto untouched = [&](matmul_case& one, unsigned long long bits) {
    wait_for(test.gpu.main, test.gpu.most_wait_seconds);
    check(cudaGetLastError(), "after a refused launch");
    return one.y_hash() == bits ? std::string() : std::string("; Y was written");
  };
  test.in_case("calls", [&] {
    matmul_case one(test.gpu, small_gate_up(9, 96, 96));
    for (const flag_choice& choice : test.some(one.args, 1))
      for (const bad_call& call : calls) {
        flag_choice named = choice;
        named.label = std::string(call.what) + ", " + choice.label;
        test.in_run(named, [&] {
          std::string fault = one.make_workspace(choice.flags);
          one.reset_y(test.gpu.main);
          wait_for(test.gpu.main, test.gpu.most_wait_seconds);
          const unsigned long long bits = one.y_hash();
          matmul_args args = one.args;
          opt_flags flags = choice.flags;
          call.spoil(args, flags);
          const cuda::launch_status asked = ogs::can_launch(args, flags);
          const cuda::launch_status status = ogs::launch(args, flags, test.gpu.main);
          const bool right = call.expected == status_code::ok ? !succeeded(status.code) && !succeeded(asked.code)
                                                              : status.code == call.expected;
          if (!right) fault += "can_launch answers " + text_of(asked) + ", launch " + text_of(status);
          fault += untouched(one, bits);
          test.run.verdict(fault.empty(), fault);
        });
      }
  });
  // With a sum over topk no launch does without a workspace.
  test.in_case("workspace", [&] {
    matmul_case one(test.gpu, small_down(9, 96, 2880));
    for (const flag_choice& choice : test.all({1, 2, 4}, test.options.quick ? 4 : 1))
      test.in_run(choice, [&] {
        if (!succeeded(ogs::can_launch(one.args, choice.flags).code)) return test.run.refused();
        std::string fault = one.make_workspace(choice.flags);
        if (one.args.workspace_bytes == 0) return test.run.passed();
        one.reset_y(test.gpu.main);
        wait_for(test.gpu.main, test.gpu.most_wait_seconds);
        const unsigned long long bits = one.y_hash();
        matmul_args less = one.args, none = one.args;
        --less.workspace_bytes;
        none.workspace = nullptr;
        for (const matmul_args* args : {&less, &none}) {
          const cuda::launch_status status = ogs::launch(*args, choice.flags, test.gpu.main);
          if (succeeded(status.code)) fault += "; launch answers " + text_of(status);
        }
        fault += untouched(one, bits);
        test.run.verdict(fault.empty(), fault);
      });
  });
}

}  // namespace tilefit_gpu
