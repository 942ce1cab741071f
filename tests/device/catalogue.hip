// Every kernel of the AMD catalogue: mfma_catalogue.cmake reads what the code object says of them.
#include <tilefit/hip/launch.cuh>
#include <tilefit/hip/quantise_rows.cuh>

using namespace tilefit;

hip::launch_status every_kernel(const matmul_args& args, const opt_flags& flags, hipStream_t stream) {
  return hip::launch(args, flags, stream);
}

hip::launch_status every_format(const quantise_args& args, hipStream_t stream) {
  return hip::quantise_rows(args, stream);
}
