// Runs many cases and keeps count, also when one of them takes the process with it.
// Knows: groups, cases, runs inside a case, and how to go on behind the one that was lost.
// Must not know: CUDA, matmuls.
// The cases run in a child process that shares its counters with the parent. A kernel that hangs or touches memory it
// does not own ends every later call of its process; the parent then starts a new child that skips what is done.
#pragma once

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>

namespace tilefit_gpu {

struct session_options {
  std::string filter;  ///< only cases whose "group/name" contains this
  double budget_seconds = 600;
  bool in_one_process = false;  ///< for tools that watch a process
  int most_losses = 25;         ///< children that may be lost before the session gives up
  int most_losses_of_entry = 2;
  int lines_per_group = 8;  ///< failures that are printed
};

inline constexpr int exit_no_device = 77;
inline constexpr int exit_lost = 99;

/// Counters of a group, in memory that parent and child share.
struct group_record {
  char name[24];
  long runs, failed, refused;
  double worst_share;  ///< error / limit
  double worst_error;
  char worst[200];
  double seconds;
};

struct session_state {
  static constexpr int most_groups = 32;
  static constexpr int most_entries = 1024;
  std::atomic<long> heartbeat;
  int groups, current_group;
  group_record group[most_groups];
  long case_number, run_number;  ///< what is running
  char running[240];
  long done_case, done_run;  ///< a new child begins behind these
  int losses_of_entry[most_entries];
  int current_entry;
  long skipped_for_time, skipped_for_losses;
  std::chrono::steady_clock::time_point start;
};

template <std::size_t Size>
void copy_text(char (&to)[Size], const std::string& from) {
  std::snprintf(to, Size, "%s", from.c_str());
}

/// Context is gone: nothing more can be run in this process.
struct process_lost : std::exception {};

class session {
 public:
  session(const session_options& options, session_state& state) : options_(options), state_(state) {
    resume_case_ = state.done_case;
    resume_run_ = state.done_run;
  }

  /// Of the case at hand, the same in every process.
  long case_number() const { return case_; }

  template <class Body>
  void group(const std::string& name, Body body) {
    group_record* record = nullptr;
    for (int g = 0; g < state_.groups; ++g)
      if (name == state_.group[g].name) record = &state_.group[g], state_.current_group = g;
    if (record == nullptr) {
      if (state_.groups == session_state::most_groups) throw process_lost();
      state_.current_group = state_.groups++;
      record = &state_.group[state_.current_group];
      copy_text(record->name, name);
    }
    const long before = record->runs;
    const auto start = std::chrono::steady_clock::now();
    body();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    record->seconds += took.count();
    if (record->runs == before) return;
    std::printf("%-12s %6ld runs %4ld failed %5ld refused  worst error %.2e = %3.0f %% of its limit  %6.2f s  %s\n",
                record->name, record->runs, record->failed, record->refused, record->worst_error,
                100 * record->worst_share, record->seconds, record->worst);
    std::fflush(stdout);
  }

  /// A case: its body is called unless it is filtered out, done already, or there is no time left. `lost_context` says
  /// whether anything can still run after the exception that ended the body.
  template <class Body, class Lost>
  void in_case(const std::string& name, Body body, Lost lost_context) {
    ++case_;
    run_ = 0;
    name_ = std::string(state_.group[state_.current_group].name) + "/" + name;
    if (name_.find(options_.filter) == std::string::npos || case_ < resume_case_) return;
    const std::chrono::duration<double> used = std::chrono::steady_clock::now() - state_.start;
    if (used.count() > options_.budget_seconds) {
      ++state_.skipped_for_time;
      return;
    }
    at("set-up", -1);
    try {
      body();
    } catch (const process_lost&) {
      throw;
    } catch (const std::exception& failure) {
      failed(failure.what());
      if (lost_context(failure)) lose();
    }
  }

  /// Whether the next run of this case is to be done. `entry`: which kernel it uses, or -1.
  bool wants_run(const std::string& label, int entry = -1) {
    ++run_;
    if (case_ == resume_case_ && run_ <= resume_run_) return false;
    if (entry >= 0 && entry < session_state::most_entries &&
        state_.losses_of_entry[entry] >= options_.most_losses_of_entry) {
      ++state_.skipped_for_losses;
      return false;
    }
    at(label, entry);
    return true;
  }

  void passed(double error = 0, double limit = 0) {
    group_record& record = begin_record();
    const double share = limit > 0 ? error / limit : 0;
    if (share <= record.worst_share) return;
    record.worst_share = share;
    record.worst_error = error;
    copy_text(record.worst, text());
  }
  void refused() {
    ++state_.heartbeat;
    ++state_.group[state_.current_group].refused;
  }
  void failed(const std::string& what) {
    group_record& record = begin_record();
    ++record.failed;
    if (record.failed <= options_.lines_per_group) std::printf("FAILED %s: %s\n", text().c_str(), what.c_str());
    if (record.failed == options_.lines_per_group)
      std::printf("further failures of %s are only counted\n", record.name);
    std::fflush(stdout);
  }
  void verdict(bool right, const std::string& what) {
    if (right)
      passed();
    else
      failed(what);
  }

  /// The process ends here; the parent starts the next one behind this run.
  [[noreturn]] void lose() {
    std::fflush(stdout);
    if (!options_.in_one_process) _exit(exit_lost);
    throw process_lost();
  }

 private:
  group_record& begin_record() {
    ++state_.heartbeat;
    group_record& record = state_.group[state_.current_group];
    ++record.runs;
    return record;
  }
  std::string text() const { return name_ + (label_.empty() ? "" : " [" + label_ + "]"); }
  void at(const std::string& label, int entry) {
    label_ = label;
    ++state_.heartbeat;
    state_.current_entry = entry;
    state_.case_number = case_;
    state_.run_number = run_;
    copy_text(state_.running, text());
  }

  session_options options_;
  session_state& state_;
  std::string name_, label_;
  long case_ = 0, run_ = 0, resume_case_ = 0, resume_run_ = 0;
};

/// Prints the last line. Exit code: 0 all right, 1 not.
inline int finish_session(const session_state& state) {
  long runs = 0, failed = 0, refused = 0;
  for (int g = 0; g < state.groups; ++g) {
    runs += state.group[g].runs;
    failed += state.group[g].failed;
    refused += state.group[g].refused;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - state.start;
  if (state.skipped_for_time > 0) std::printf("%ld cases were left out: no time left\n", state.skipped_for_time);
  if (state.skipped_for_losses > 0)
    std::printf("%ld runs were left out: their kernel took the process with it before\n", state.skipped_for_losses);
  if (runs == 0) std::printf("nothing was run\n");
  std::printf("%ld cases, %ld failed (%ld refused, %.1f s)\n", runs, failed, refused, took.count());
  std::fflush(stdout);
  return failed == 0 && runs > 0 ? 0 : 1;
}

/// Calls body(session) in child processes until one comes to its end. body returns 0, or exit_no_device.
template <class Body>
int run_session(const session_options& options, Body body) {
  void* shared = mmap(nullptr, sizeof(session_state), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return 1;
  session_state& state = *new (shared) session_state{};
  state.start = std::chrono::steady_clock::now();
  if (options.in_one_process) {
    session own(options, state);
    try {
      const int code = body(own);
      if (code == exit_no_device) return code;
    } catch (const process_lost&) {
      std::printf("the device is lost; with --one-process nothing more can be run\n");
    }
    return finish_session(state);
  }

  for (int losses = 0;;) {
    std::fflush(stdout);
    const pid_t child = fork();
    if (child < 0) return 1;
    if (child == 0) {
      session own(options, state);
      int code = 1;
      try {
        code = body(own);
      } catch (const std::exception& failure) {
        std::printf("FAILED outside of a case: %s\n", failure.what());
        ++state.group[state.current_group].failed;
      }
      std::fflush(stdout);
      _exit(code);
    }
    int status = 0;
    long beat = -1;
    auto changed = std::chrono::steady_clock::now();
    constexpr std::chrono::seconds longest_silence{45};
    while (waitpid(child, &status, WNOHANG) == 0) {
      usleep(5000);
      const auto now = std::chrono::steady_clock::now();
      if (state.heartbeat != beat) beat = state.heartbeat, changed = now;
      if (now - changed > longest_silence) {
        kill(child, SIGKILL);
        changed = now;
      }
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) != exit_lost) {
      if (WEXITSTATUS(status) == exit_no_device) return exit_no_device;
      return finish_session(state);
    }
    if (WIFSIGNALED(status)) {
      std::printf("FAILED %s: the process ended with signal %d\n", state.running, WTERMSIG(status));
      ++state.group[state.current_group].runs;
      ++state.group[state.current_group].failed;
    }
    if (state.current_entry >= 0 && state.current_entry < session_state::most_entries)
      ++state.losses_of_entry[state.current_entry];
    // What was lost before the first run of its case would be lost there again.
    state.done_case = state.run_number > 0 ? state.case_number : state.case_number + 1;
    state.done_run = state.run_number;
    if (++losses > options.most_losses) {
      std::printf("FAILED: %d processes were lost; giving up\n", losses);
      return finish_session(state);
    }
    std::printf("the device was lost in %s; going on behind it in a new process\n", state.running);
  }
}

}  // namespace tilefit_gpu
