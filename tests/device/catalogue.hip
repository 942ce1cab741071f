// Every kernel for AMD GPUs: mfma_catalogue.cmake reads what the code object says of them.
#include <tilefit/hip/moe_mlp.cuh>
#include <tilefit/hip/quantise_rows.cuh>
#include <tilefit/kernels/shuffle_weights.cuh>

using namespace tilefit;

hip::launch_status every_kernel_of_layers(const hip::moe_args& args, const hip::moe_flags& flags, hipStream_t stream) {
  return hip::moe_mlp(args, flags, stream);
}

hip::launch_status every_kernel_for_weights(const weight_shape& shape, weight_source from, weight_storage to,
                                            hipStream_t stream) {
  constexpr auto layout = weight_layout::mfma_m16k128;
  const hip::launch_status packed = hip::shuffle_weights(layout, shape, from, to, stream);
  const hip::launch_status unpacked = hip::unshuffle_weights(layout, shape, from, to, stream);
  return succeeded(packed.code) && succeeded(unpacked.code)
             ? hip::shuffle_transposed_weights(layout, shape, from, to, stream)
             : packed;
}

hip::launch_status every_format(const quantise_args& args, hipStream_t stream) {
  return hip::quantise_rows(args, stream);
}
