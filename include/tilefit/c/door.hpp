// L6: the calls of the C door, defined. Included once in a program, by c.h where TILEFIT_C_IMPLEMENTATION is set.
// Knows: in which order arguments are read, what a call answers when they cannot be.
// Must not know: which device computes, beyond its name: on_cpu.hpp and on_gpu.cuh do.
#pragma once

#include "../detail/config.hpp"
// Before fmt.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "../explain.hpp"
#include "../make_opt_flags.hpp"
#include "../ogs_policy.hpp"
#include "../triton_ogs_policy.hpp"
#include "../version.hpp"
#include "arguments.hpp"
#include "structs.hpp"
#include "types.h"
#if defined(__CUDACC__) || defined(__HIP__)
#include "on_gpu.cuh"
#else
#include "on_cpu.hpp"
#endif

namespace tilefit::inline v0::detail {

#if defined(__CUDACC__) || defined(__HIP__)
using c_device = c_on_gpu;
#else
using c_device = c_on_cpu;
#endif

/// Runs the body of a call. What it throws for want of memory becomes an answer.
template <class Body>
int c_call(Body body) noexcept {
  TILEFIT_TRY { return body(); }
  TILEFIT_CATCH { return TILEFIT_RUNTIME_ERROR; }
}

/// What a choice is asked for.
struct c_question {
  arch_traits arch{};
  matmul_problem problem{};
  opt_flags_constraints constraints{};
};

inline c_fault read_question(const tilefit_device* device, const tilefit_problem* problem,
                             const tilefit_constraints* constraints, c_question& to) {
  if (c_fault fault = read_device(device, to.arch)) return fault;
  if (c_fault fault = read_problem(problem, to.problem)) return fault;
  return read_constraints(constraints, to.arch.id, to.constraints);
}

/// Hands the policy that is meant to `visit`, or answers with the fault.
template <class Visit>
c_fault with_policy(const tilefit_policy* from, Visit visit) {
  tilefit_policy given{};
  if (from != nullptr)
    if (c_fault fault = read_struct("tilefit_policy", from, given)) return fault;
  if (given.kind == TILEFIT_POLICY_OGS) {
    visit(ogs_policy{});
    return {};
  }
  if (given.kind != TILEFIT_POLICY_TRITON_3_4_0 && given.kind != TILEFIT_POLICY_TRITON_2025_12)
    return bad_argument(fmt::format("kind of tilefit_policy is {}, must be 0 to {}", given.kind,
                                    static_cast<int>(TILEFIT_POLICY_TRITON_2025_12)));
  triton_ogs_policy policy{
      .release = given.kind == TILEFIT_POLICY_TRITON_3_4_0 ? triton_release::v3_4_0 : triton_release::v2025_12,
      .has_tma = given.has_tma != 0,
      .effective_itemsize = given.effective_itemsize,
      .mx_output = given.mx_output != 0};
  if (c_fault fault = read_enum("scale_layout", given.scale_layout, triton_scale_layout::cdna4, policy.scale_layout))
    return fault;
  visit(policy);
  return {};
}

/// The caller's flags, or the engine's.
inline c_fault flags_for(const matmul_args& args, const tilefit_flags* given, opt_flags& to) {
  if (given != nullptr) {
    to = flags_of(*given);
    return {};
  }
  const selection choice = c_device::choose(args, {});
  to = choice.flags;
  return choice.has_tile() ? c_fault{} : c_fault{choice.status, reason(choice)};
}

struct c_layer_flags {
  opt_flags gate_up, down;
};

inline c_fault flags_for(const c_layer& layer, const tilefit_flags* gate_up, const tilefit_flags* down,
                         c_layer_flags& to) {
  const auto choices = c_device::choose_moe(layer);
  const auto settle = [](const tilefit_flags* given, const selection& choice, opt_flags& flags) -> c_fault {
    flags = given != nullptr ? flags_of(*given) : choice.flags;
    if (given != nullptr || choice.has_tile()) return {};
    return {choice.status, reason(choice)};
  };
  return first_of(settle(gate_up, choices.gate_up, to.gate_up), settle(down, choices.down, to.down));
}

}  // namespace tilefit::inline v0::detail

// Once in a program, by TILEFIT_C_IMPLEMENTATION. NOLINTBEGIN(misc-definitions-in-headers)
extern "C" {

int tilefit_version(void) {
  return 10'000 * TILEFIT_VERSION_MAJOR + 100 * TILEFIT_VERSION_MINOR + TILEFIT_VERSION_PATCH;
}

const char* tilefit_backend(void) { return tilefit::detail::c_device::name; }

int tilefit_kernel_layout(void) { return static_cast<int>(tilefit::detail::c_device::layout); }

const char* tilefit_status_name(int status) {
  if (status < TILEFIT_OK || status > TILEFIT_RUNTIME_ERROR) return "?";
  return tilefit::name_of(static_cast<tilefit::status_code>(status)).data();  // of a literal: ends with a NUL
}

int tilefit_select(const tilefit_device* device, const tilefit_problem* problem, const tilefit_constraints* constraints,
                   const tilefit_policy* policy, tilefit_selection* out) {
  using namespace tilefit::detail;
  return c_call([&] {
    c_question asked;
    if (const c_fault fault = read_question(device, problem, constraints, asked)) return write_selection(fault, out);
    int status = TILEFIT_OK;
    const c_fault fault = with_policy(policy, [&](const auto& chooser) {
      status = write_selection(make_opt_flags(asked.arch, asked.problem, asked.constraints, chooser), out);
    });
    return fault ? write_selection(fault, out) : status;
  });
}

int tilefit_explain(const tilefit_device* device, const tilefit_problem* problem,
                    const tilefit_constraints* constraints, const tilefit_policy* policy, int form, char* buffer,
                    size_t capacity, size_t* needed) {
  using namespace tilefit::detail;
  return c_call([&] {
    c_question asked;
    std::string text;
    auto status = tilefit::status_code::ok;
    c_fault fault = read_question(device, problem, constraints, asked);
    if (!fault && form != TILEFIT_TEXT && form != TILEFIT_JSON)
      fault = bad_argument(fmt::format("form is {}, must be 0 (text) or 1 (JSON)", form));
    if (!fault)
      fault = with_policy(policy, [&](const auto& chooser) {
        const tilefit::explanation why = explain(asked.arch, asked.problem, asked.constraints, chooser);
        text = form == TILEFIT_JSON ? why.json() : why.text();
        status = why.choice.status;
      });
    if (fault) {
      text = fault.sentence;
      status = fault.status;
    }
    if (needed != nullptr) *needed = text.size() + 1;
    if (buffer != nullptr && capacity > 0) {
      const size_t length = text.size() < capacity ? text.size() : capacity - 1;
      std::memcpy(buffer, text.data(), length);
      buffer[length] = '\0';
    }
    return static_cast<int>(status);
  });
}

size_t tilefit_weight_bytes(int layout, int64_t experts, int64_t n, int64_t k) {
  if (layout < TILEFIT_ROW_MAJOR || layout > TILEFIT_MFMA_M16K128) return 0;
  if (experts < 0 || !tilefit::valid_weight_size(n, k)) return 0;
  const auto kind = static_cast<tilefit::weight_layout>(layout);
  const std::int64_t bytes = tilefit::detail::saturating_mul(experts, tilefit::bytes_per_expert(kind, n, k));
  return bytes == INT64_MAX ? 0 : static_cast<size_t>(bytes);
}

int tilefit_shuffle_weights(int layout, const tilefit_weights* from, void* to, void* stream, tilefit_answer* answer) {
  using namespace tilefit::detail;
  return c_call([&] {
    c_packing packing;
    if (const c_fault fault = read_packing(layout, from, to, packing)) return write_answer(fault, answer);
    return write_answer(c_device::shuffle(packing, stream), answer);
  });
}

int tilefit_choose(const tilefit_matmul_args* args, const tilefit_constraints* constraints, tilefit_selection* out) {
  using namespace tilefit::detail;
  return c_call([&] {
    tilefit::matmul_args own;
    tilefit::opt_flags_constraints wishes;
    if (const c_fault fault = read_args(args, own)) return write_selection(fault, out);
    // Which device it is, the choice finds out; entries of a text count for the row that the backend's kernels have.
    if (const c_fault fault = read_constraints(constraints, c_device::arch(), wishes))
      return write_selection(fault, out);
    return write_selection(c_device::choose(own, wishes), out);
  });
}

int tilefit_workspace_bytes(const tilefit_matmul_args* args, const tilefit_flags* flags, size_t* bytes,
                            tilefit_answer* answer) {
  using namespace tilefit::detail;
  return c_call([&] {
    if (bytes == nullptr) return write_answer(bad_argument("bytes is NULL"), answer);
    *bytes = 0;
    tilefit::matmul_args own;
    tilefit::opt_flags tile;
    if (const c_fault fault = read_args(args, own)) return write_answer(fault, answer);
    if (const c_fault fault = flags_for(own, flags, tile)) return write_answer(fault, answer);
    return write_answer(c_device::workspace_bytes(own, tile, *bytes), answer);
  });
}

int tilefit_prepare_workspace(void* workspace, size_t bytes, void* stream, tilefit_answer* answer) {
  using namespace tilefit::detail;
  return c_call([&] { return write_answer(c_device::prepare_workspace(workspace, bytes, stream), answer); });
}

int tilefit_launch(const tilefit_matmul_args* args, const tilefit_flags* flags, void* stream, tilefit_answer* answer) {
  using namespace tilefit::detail;
  return c_call([&] {
    tilefit::matmul_args own;
    tilefit::opt_flags tile;
    if (const c_fault fault = read_args(args, own)) return write_answer(fault, answer);
    if (const c_fault fault = flags_for(own, flags, tile)) return write_answer(fault, answer);
    return write_answer(c_device::launch(own, tile, stream), answer);
  });
}

int tilefit_choose_moe(const tilefit_moe_args* args, tilefit_selection* gate_up, tilefit_selection* down) {
  using namespace tilefit::detail;
  return c_call([&] {
    c_layer layer;
    if (const c_fault fault = read_layer(args, layer)) {
      write_selection(fault, gate_up);
      return write_selection(fault, down);
    }
    const auto choices = c_device::choose_moe(layer);
    const int first = write_selection(choices.gate_up, gate_up), second = write_selection(choices.down, down);
    return choices.gate_up.ok() ? second : first;
  });
}

int tilefit_moe_workspace_bytes(const tilefit_moe_args* args, const tilefit_flags* gate_up, const tilefit_flags* down,
                                size_t* bytes, tilefit_answer* answer) {
  using namespace tilefit::detail;
  return c_call([&] {
    if (bytes == nullptr) return write_answer(bad_argument("bytes is NULL"), answer);
    *bytes = 0;
    c_layer layer;
    c_layer_flags tiles;
    if (const c_fault fault = read_layer(args, layer)) return write_answer(fault, answer);
    if (const c_fault fault = flags_for(layer, gate_up, down, tiles)) return write_answer(fault, answer);
    return write_answer(c_device::moe_workspace_bytes(layer, tiles.gate_up, tiles.down, *bytes), answer);
  });
}

int tilefit_moe_mlp(const tilefit_moe_args* args, const tilefit_flags* gate_up, const tilefit_flags* down, void* stream,
                    tilefit_answer* answer) {
  using namespace tilefit::detail;
  return c_call([&] {
    c_layer layer;
    c_layer_flags tiles;
    if (const c_fault fault = read_layer(args, layer)) return write_answer(fault, answer);
    if (const c_fault fault = flags_for(layer, gate_up, down, tiles)) return write_answer(fault, answer);
    return write_answer(c_device::moe_mlp(layer, tiles.gate_up, tiles.down, stream), answer);
  });
}

}  // extern "C"
// NOLINTEND(misc-definitions-in-headers)
