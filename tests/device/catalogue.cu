// Every kernel of the catalogue, compiled for one architecture: catalogue.cmake reads what the assembler says of them.
#include <tilefit/launch.cuh>
#include <tilefit/quantise_rows.cuh>

using namespace tilefit;

cuda::launch_status every_kernel(const matmul_args& args, const opt_flags& flags, cudaStream_t stream) {
  return cuda::launch(args, flags, stream);
}

cuda::launch_status every_format(const quantise_args& args, cudaStream_t stream) {
  return cuda::quantise_rows(args, stream);
}
