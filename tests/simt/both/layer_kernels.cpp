// The kernels around the matmuls, with the code that launches them.
#include "layer_kernels.hpp"

#include "tilefit/kernels/reduce_topk.cuh"
#include "tilefit/kernels/routing.cuh"
#include "tilefit/kernels/shuffle_weights.cuh"
#include "tilefit/launch_steps.cuh"

namespace tilefit_simt {

gpu::launch_status route(const gpu::routing_args& args, simt::stream& stream) { return gpu::route(args, &stream); }
gpu::launch_status route_in_blocks(const gpu::routing_args& args, int tokens_per_block, simt::stream& stream) {
  const device::launch_geometry geometry{
      .grid = dim3(static_cast<unsigned>(detail::ceil_div(args.shape.tokens, tokens_per_block))),
      .block = dim3(detail::routing_threads)};
  const int local = detail::local_experts_of(args);
  const gpu::launch_status counted = detail::answer_of_native(
      device::launch_kernel(detail::choose_and_count<0>, geometry, &stream, {}, args, local, tokens_per_block));
  if (counted.code != status_code::ok) return counted;
  return detail::answer_of_native(device::launch_kernel(detail::place_rows<detail::routing_threads>, geometry, &stream,
                                                        {}, args, local, tokens_per_block));
}
gpu::launch_status reduce_topk(const gpu::reduce_topk_args& args, simt::stream& stream) {
  return gpu::reduce_topk(args, &stream);
}
gpu::launch_status zero_rows(const y_operand& y, std::int64_t columns, simt::stream& stream) {
  return gpu::zero_rows(y, columns, &stream);
}

gpu::launch_status shuffle_weights(const weight_shape& shape, weight_source from, weight_storage to,
                                   simt::stream& stream) {
  return gpu::shuffle_weights(layout_of_device(), shape, from, to, &stream);
}
gpu::launch_status shuffle_transposed_weights(const weight_shape& shape, weight_source from, weight_storage to,
                                              simt::stream& stream) {
  return gpu::shuffle_transposed_weights(layout_of_device(), shape, from, to, &stream);
}
gpu::launch_status unshuffle_weights(const weight_shape& shape, weight_source from, weight_storage to,
                                     simt::stream& stream) {
  return gpu::unshuffle_weights(layout_of_device(), shape, from, to, &stream);
}
weight_layout layout_of_device() { return detail::layout_of_device; }

gpu::launch_status launch_matmul(const matmul_kernel& kernel, const matmul_args& args, std::int64_t blocks,
                                 std::uint8_t* present, float* parts, simt::stream& stream) {
  return detail::enqueue_matmul(
      detail::params_of(args, kernel.flags), {present, parts}, &stream, {},
      [&](const kernels::ogs_params& params, const gpu::launch_options& options) {
        return detail::answer_of_native(device::launch_kernel(
            kernel.run,
            {.grid = dim3(static_cast<unsigned>(blocks)), .block = dim3(static_cast<unsigned>(kernel.threads))},
            &stream, options, params));
      });
}

}  // namespace tilefit_simt
