// What the groups of the matmul test share: options, the catalogue, which flags a case is run with.
// Knows: the launch interface and sessions.
// Must not know: cases.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "matmul_case.cuh"
#include "test_session.hpp"

namespace tilefit_gpu {

struct test_options {
  bool quick = false;
  bool sanitize = false;
  bool generic = false;
  int entry = -1;
  std::string golden;
};

/// Flags to run, and the entry of the catalogue that they are of (-1: of none).
struct flag_choice {
  opt_flags flags;
  int entry = -1;
  std::string label;
};

class matmul_test {
 public:
  matmul_test(const test_options& wanted, session& counts) : options(wanted), run(counts), gpu(wanted.sanitize) {
    if (wanted.sanitize) gpu.most_wait_seconds = 0;
    ogs::generic = wanted.generic;
    for (const opt_flags& flags : ogs::catalogue()) catalogue.push_back(flags);
  }

  /// The entry that differs from `flags` in nothing but what a launch may change.
  int entry_of(const opt_flags& flags) const {
    for (std::size_t e = 0; e < catalogue.size(); ++e) {
      opt_flags like = catalogue[e];
      like.split_k = flags.split_k;
      like.num_stages = flags.num_stages;
      like.group_m = flags.group_m;
      like.idle_sms = flags.idle_sms;
      like.w_cache = flags.w_cache;
      if (like == flags) return static_cast<int>(e);
    }
    return -1;
  }
  flag_choice choice_of(int entry, int split_k = 0) const {
    flag_choice choice{catalogue[static_cast<std::size_t>(entry)], entry, {}};
    if (split_k > 0) choice.flags.split_k = split_k;
    choice.label = '#' + std::to_string(entry) + ' ' + text_of(choice.flags);
    return choice;
  }

  /// What the engine chooses, and `more` entries of the catalogue that can run this, others for each case.
  std::vector<flag_choice> some(const matmul_args& args, int more) {
    std::vector<flag_choice> found;
    const int count = static_cast<int>(catalogue.size());
    const auto runs = [&](const flag_choice& choice) { return succeeded(ogs::can_launch(args, choice.flags).code); };
    if (options.entry >= 0) {
      if (options.entry < count && runs(choice_of(options.entry))) found.push_back(choice_of(options.entry));
      return found;
    }
    const selection engine = ogs::choose(args);
    if (engine.has_tile()) {
      found.push_back({engine.flags, entry_of(engine.flags), "chosen " + text_of(engine.flags)});
    } else if (args.m > 0) {
      run.failed("choose answers " + std::string(name_of(engine.status)));
    }
    // From a place that depends on the case alone, so that a session that goes on behind a lost run meets the same.
    const auto start = static_cast<int>(run.case_number() * 7 % std::max(count, 1));
    const int stride = count > 16 ? count / 8 + 1 : 1;  // neighbours are alike
    std::vector<bool> tried(catalogue.size());
    for (int i = 0; more > 0 && i < count; ++i) {
      int entry = (start + i * stride) % count;
      while (tried[static_cast<std::size_t>(entry)]) entry = (entry + 1) % count;
      tried[static_cast<std::size_t>(entry)] = true;
      const flag_choice choice = choice_of(entry);
      if (!runs(choice)) continue;
      found.push_back(choice);
      --more;
    }
    return found;
  }

  /// Every entry (or the one asked for, or each `step`-th), as it stands and with these splits along K.
  std::vector<flag_choice> all(std::initializer_list<int> splits, int step = 1) const {
    std::vector<flag_choice> found;
    for (int e = 0; e < static_cast<int>(catalogue.size()); ++e) {
      if (options.entry >= 0 ? e != options.entry : e % step != 0) continue;
      for (const int split : splits) {
        flag_choice choice = choice_of(e, split);
        const auto same = [&](const flag_choice& other) { return other.entry == e && other.flags == choice.flags; };
        if (std::none_of(found.begin(), found.end(), same)) found.push_back(std::move(choice));
      }
    }
    return found;
  }

  template <class Body>
  void in_case(const std::string& name, Body body) {
    run.in_case(name, body, [](const std::exception& failure) { return is_lost(failure); });
  }

  /// One run inside a case. A failing call of the runtime is a failed run; only a lost device ends the process.
  template <class Body>
  void in_run(const flag_choice& choice, Body body) {
    if (!run.wants_run(choice.label, choice.entry)) return;
    try {
      body();
    } catch (const gpu_failure& failure) {
      run.failed(failure.what());
      if (is_lost(failure)) run.lose();
    }
  }

  void count(const outcome& result, bool may_refuse) {
    if (result.refused && may_refuse)
      run.refused();
    else if (result.refused)
      run.failed("refused: " + result.fault);
    else if (!result.fault.empty())
      run.failed(result.fault);
    else
      run.passed(result.error, result.limit);
  }

  /// A case on the flags that `some` names.
  void run_some(const std::string& name, const case_spec& spec, int more, bool may_refuse = false) {
    in_case(name, [&] {
      matmul_case one(gpu, spec);
      for (const flag_choice& choice : some(one.args, more))
        in_run(choice, [&] { count(one.run(choice.flags), may_refuse); });
    });
  }

  test_options options;
  session& run;
  device gpu;
  std::vector<opt_flags> catalogue;
};

}  // namespace tilefit_gpu
