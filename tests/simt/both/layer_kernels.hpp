// The steps of a layer as they are launched on a GPU, for the executor: compiled with instrumentation, in a file of
// their own, for lanes of 32 and of 64 a wave.
#pragma once

#include "simt_kernels.hpp"
#include "tilefit/device/launch_options.hpp"
#include "tilefit/device/simt/launch_control.hpp"
#include "tilefit/kernels/reduce_args.hpp"
#include "tilefit/kernels/routing_args.hpp"
#include "tilefit/launch_status.hpp"
#include "tilefit/weight_layout.hpp"
#include "tilefit/weights.hpp"

namespace tilefit_simt {

using namespace tilefit;

gpu::launch_status route(const gpu::routing_args& args, simt::stream& stream);
/// The kernels for many tokens and given experts, with blocks of so many tokens.
gpu::launch_status route_in_blocks(const gpu::routing_args& args, int tokens_per_block, simt::stream& stream);
gpu::launch_status reduce_topk(const gpu::reduce_topk_args& args, simt::stream& stream);
gpu::launch_status zero_rows(const y_operand& y, std::int64_t columns, simt::stream& stream);

gpu::launch_status shuffle_weights(const weight_shape& shape, weight_source from, weight_storage to,
                                   simt::stream& stream);
gpu::launch_status shuffle_transposed_weights(const weight_shape& shape, weight_source from, weight_storage to,
                                              simt::stream& stream);
gpu::launch_status unshuffle_weights(const weight_shape& shape, weight_source from, weight_storage to,
                                     simt::stream& stream);
/// What these kernels pack and unpack.
weight_layout layout_of_device();

/// What a launch of matmul_ogs enqueues, with this kernel in `blocks` blocks. `present` and `parts`: for topk > 1.
gpu::launch_status launch_matmul(const matmul_kernel& kernel, const matmul_args& args, std::int64_t blocks,
                                 std::uint8_t* present, float* parts, simt::stream& stream);

}  // namespace tilefit_simt
