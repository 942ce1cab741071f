// What calls answer where there is no AMD GPU: errors of the runtime with their number, and `empty` for nothing to do.
// Ends with 0, 1, or 77 where there is a device.
#include <tilefit/hip/moe_mlp.cuh>

#include <cstdio>

using namespace tilefit;

namespace {

/// None of its kernels is for the architecture that this is compiled for: nothing is launched.
struct no_kernels {
  static constexpr dtype formats[] = {dtype::mxfp4};
};

int failed = 0;
void check(bool holds, const char* what) {
  if (holds) return;
  std::printf("FAILED: %s\n", what);
  failed = 1;
}

void check_no_device(const hip::launch_status& status, const char* what) {
  check(status.code == status_code::runtime_error, what);
  check(status.native_error != 0, what);
  check(status.reason.subject == "error of the HIP runtime", what);
}

}  // namespace

int main() {
  int devices = 0;
  if (hipGetDeviceCount(&devices) == hipSuccess && devices > 0) return 77;
  alignas(16) static std::uint16_t x[64], y[64];
  alignas(16) static std::uint8_t w[16 * 1088];
  const matmul_args args{.m = 1,
                         .n = 32,
                         .k = 64,
                         .x = {.data = x, .rows = 1, .row_stride = 64},
                         .w = {.data = w, .layout = weight_layout::mfma_m16k128},
                         .y = {.data = y, .rows = 1, .row_stride = 32}};
  check_no_device(hip::launch<no_kernels>(args, nullptr), "launch with the engine's choice");
  check_no_device(hip::launch<no_kernels>(args, opt_flags{}, nullptr), "launch");
  check_no_device(hip::can_launch<no_kernels>(args, opt_flags{}), "can_launch");
  check(hip::choose(args).status == status_code::runtime_error, "choose");

  matmul_args empty = args;
  empty.m = 0;
  check(hip::launch<no_kernels>(empty, nullptr).code == status_code::empty, "launch of nothing, engine's choice");
  check(hip::launch<no_kernels>(empty, opt_flags{}, nullptr).code == status_code::empty, "launch of nothing");
  matmul_args bad = args;
  bad.k = 63;
  check(hip::launch<no_kernels>(bad, nullptr).code == status_code::invalid_argument, "launch of something wrong");

  hip::moe_args layer{.tokens = 1,
                      .hidden = 64,
                      .intermediate = 32,
                      .experts = 1,
                      .topk = 1,
                      .x = args.x,
                      .logits = {.data = x, .type = dtype::bf16, .row_stride = 1},
                      .gate_up = args.w,
                      .down = args.w,
                      .y = {.data = y, .rows = 1, .row_stride = 64}};
  check(choose_moe(layer).gate_up.status == status_code::runtime_error, "choose_moe");
  alignas(256) static std::byte workspace[1 << 17];
  layer.workspace = workspace;
  layer.workspace_bytes = sizeof workspace;
  check_no_device(moe_mlp<no_kernels>(layer, {}, nullptr), "moe_mlp");
  layer.tokens = layer.x.rows = layer.y.rows = 0;
  check(moe_mlp<no_kernels>(layer, {}, nullptr).code == status_code::empty, "moe_mlp of no tokens");
  if (failed == 0) std::printf("no AMD GPU: every call says so\n");
  return failed;
}
