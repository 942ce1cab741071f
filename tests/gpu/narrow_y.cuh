// Y in FP8, MXFP8 and MXFP4: the bytes that the CPU makes of the same tile's Y in FP32, in the rows that are written,
// and nothing beside them. Knows: cases and flags. Must not know: how FP32 results are judged (matmul_case.cuh).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "matmul_behaviour.cuh"
#include "tilefit/host/quantise_rows.hpp"

namespace tilefit_gpu {

/// What differs on a case whose Y in FP32 has just been computed with these flags, or nothing.
inline std::string compare_narrow(matmul_test& test, matmul_case& one, const opt_flags& flags, dtype type) {
  constexpr std::uint8_t before = 0xA5;
  const std::int64_t stride = detail::align_up(one.columns, 32) + 32, scale_stride = stride / 32;
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(one.y_rows * stride * bits_of(type) / 8), before);
  std::vector<std::uint8_t> scales(static_cast<std::size_t>(one.y_rows * scale_stride), before);
  constexpr float scale = 0.37f;
  guarded_memory memory;
  const cudaStream_t stream = test.gpu.main;
  const auto place = [&]<class T>(const std::vector<T>& from, const char* name) {
    T* const to = memory.take<T>(stream, static_cast<std::int64_t>(from.size()), name);
    upload(stream, to, from);
    return to;
  };
  y_operand y{.data = place(codes, "narrow Y"), .type = type, .rows = one.y_rows, .row_stride = stride};
  if (has_block_scales(type)) {
    y.block_scales = place(scales, "scales of Y");
    y.block_scale_stride = scale_stride;
  } else {
    y.scale = place(std::vector<float>{scale}, "scale of Y");
  }
  matmul_args args = one.args;
  args.y = y;
  const cuda::launch_status possible = ogs::can_launch(args, flags);
  if (!succeeded(possible.code)) return stores_narrow_y(flags) ? "refused: " + text_of(possible) : std::string();
  if (!stores_narrow_y(flags)) return "not refused";
  const cuda::launch_status status = ogs::launch(args, flags, stream);
  if (status.code != status_code::ok) return "launch answers " + text_of(status);
  wait_for(stream, test.gpu.most_wait_seconds);

  const std::vector<std::uint8_t> wide = one.y_contents();
  for (const std::int32_t slot : one.lists.row_slot) {
    if (slot < 0) continue;
    quantise_args row{
        .rows = 1,
        .columns = one.columns,
        .x = {.data = wide.data() + slot * one.y_stride * 4, .type = dtype::fp32, .row_stride = one.columns},
        .y = {.data = codes.data() + slot * stride * bits_of(type) / 8, .type = type, .row_stride = stride}};
    if (has_block_scales(type)) {
      row.y.block_scales = scales.data() + slot * scale_stride;
      row.y.block_scale_stride = scale_stride;
    } else {
      row.y.scale = &scale;
    }
    if (host::quantise_rows(row) != status_code::ok) return "the CPU refuses";
  }
  const auto count = [](const std::vector<std::uint8_t>& a, const std::vector<std::uint8_t>& b) {
    std::int64_t differing = 0;
    for (std::size_t i = 0; i < a.size(); ++i) differing += a[i] != b[i] ? 1 : 0;
    return differing;
  };
  std::int64_t differing = count(download(static_cast<const std::uint8_t*>(y.data), codes.size()), codes);
  if (has_block_scales(type)) differing += count(download(y.block_scales, scales.size()), scales);
  if (differing != 0) return std::to_string(differing) + " bytes differ";
  const std::string guards = memory.broken_guards(stream);
  return guards.empty() ? guards : "written outside: " + guards;
}

inline void test_narrow_y(matmul_test& test) {
  int number = 0;
  for (const activation act : {activation::none, activation::swiglu})
    for (const std::int64_t tokens : {1, 9, 37, 200})
      for (const std::int64_t n : {64, 320, 2880}) {
        ++number;
        case_spec spec{.tokens = tokens, .experts = 8, .topk = 4, .n = n, .k = number % 2 == 0 ? 320 : 2880};
        spec.y = dtype::fp32;
        spec.act = act;
        spec.x = number % 3 == 0 ? dtype::fp16 : dtype::bf16;
        spec.scatter = number % 4 != 0;
        spec.absent = number % 5 == 0;
        spec.gammas = number % 2 == 0;
        spec.routing = number % 7 == 0 ? routing_kind::one_expert : routing_kind::spread;
        test.in_case(shape_text(spec), [&] {
          matmul_case one(test.gpu, spec);
          for (const flag_choice& choice : test.all({0, 1, 3}, test.options.quick ? 2 : 1))
            for (const dtype type : {dtype::fp8_e4m3, dtype::mxfp8, dtype::mxfp4})
              test.in_run(choice, [&] {
                const outcome wide = one.run(choice.flags);
                if (wide.refused || !wide.fault.empty()) return test.count(wide, true);
                const std::string fault = compare_narrow(test, one, choice.flags, type);
                test.run.verdict(fault.empty(), std::string(name_of(type)) + ": " + fault);
              });
        });
      }
}

}  // namespace tilefit_gpu
