// The kernels of amd_wave_kernels.hpp.
#include "amd_wave_kernels.hpp"

#include <cstddef>

#include "tilefit/device/ops.cuh"

namespace tilefit_simt {
namespace {

using namespace tilefit;

void do_multiply_from_lds(wave_arguments args) {
  constexpr unsigned stage_bytes = 3072;
  std::byte* const stages = device::shared_array<2 * stage_bytes>();
  const unsigned lane = device::lane_of_wave(), wave = device::thread_of_block() / 64;
  const device::buffer a(args.a, 16 * 2 * args.k), b(args.b, 32 * 2 * args.k);
  const auto row_bytes = static_cast<unsigned>(2 * args.k);
  const int steps = args.k / 32;
  const auto begin = [&](int step) {
    if (step == steps) return;
    std::byte* const stage = stages + stage_bytes * static_cast<unsigned>(step % 2);
    const auto at = static_cast<unsigned>(64 * step);
    if (wave == 0) a.load_chunk_to_lds(stage, lane / 4 * row_bytes + lane % 4 * 16, at);
    b.load_chunk_to_lds(stage + 1024 + 1024 * wave, (16 * wave + lane / 4) * row_bytes + lane % 4 * 16, at);
  };
  device::f32x4 sum = {};
  begin(0);
  for (int step = 0; step < steps; ++step) {
    begin(step + 1);
    if (step + 1 == steps)
      device::wait_loads<0>();
    else if (wave == 0)
      device::wait_loads<2>();
    else
      device::wait_loads<1>();
    device::meet_block();
    const std::byte* const stage = stages + stage_bytes * static_cast<unsigned>(step % 2);
    const unsigned place = lane % 16 * 64 + lane / 16 * 16;
    device::multiply_16bit<16, dtype::bf16>(sum, device::read_chunk(stage + place),
                                            device::read_chunk(stage + 1024 + 1024 * wave + place));
    device::meet_block();
  }
  for (unsigned i = 0; i < 4; ++i)
    args.y[(4 * (lane / 16) + i) * 32 + 16 * wave + lane % 16] = sum[static_cast<int>(i)];
}

void do_multiply_transposed(wave_arguments args) {
  std::byte* const matrix = device::shared_array<1024>();
  const unsigned lane = device::lane_of_wave();
  const device::buffer a(args.a, 1024), b(args.b, 1024);
  device::write_chunk(matrix + 16 * lane, b.load_chunk(16 * lane, 0));
  device::meet_block();
  const std::byte* const rows = matrix + 256 * (lane / 16) + 8 * (lane % 16);
  const device::u32x2 low = device::read_transposed_16bit(rows), high = device::read_transposed_16bit(rows + 128);
  device::f32x4 sum = {};
  device::multiply_16bit<16, dtype::bf16>(sum, a.load_chunk(64 * (lane % 16) + 16 * (lane / 16), 0),
                                          device::u32x4{low[0], low[1], high[0], high[1]});
  for (unsigned i = 0; i < 4; ++i) args.y[(4 * (lane / 16) + i) * 16 + lane % 16] = sum[static_cast<int>(i)];
}

template <int Tile, int BitsOfB>
void do_multiply_scaled(wave_arguments args) {
  constexpr unsigned tile = Tile, k = 2048 / Tile;
  const unsigned lane = device::lane_of_wave(), row = lane % tile, group = lane / tile;
  const device::buffer a(args.a, tile * k / 2), b(args.b, tile * k * BitsOfB / 8);
  const device::buffer scales_a(args.scales_a, tile * k / 32), scales_b(args.scales_b, tile * k / 32);
  device::u32x8 right = {};
  if constexpr (BitsOfB == 8) {
    const device::u32x4 low = b.load_chunk(k * row + 16 * group, 0),
                        high = b.load_chunk(k * row + 16 * group, 0, k / 2);
    right = {low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]};
  } else {
    const device::u32x4 all = b.load_chunk(k / 2 * row + 16 * group, 0);
    right = {all[0], all[1], all[2], all[3], 0, 0, 0, 0};
  }
  device::mfma_accumulators<Tile> sum = {};
  const std::uint32_t scale_a = scales_a.load_byte(k / 32 * row + group, 0) << 16;
  const std::uint32_t scale_b = scales_b.load_byte(k / 32 * row + group, 0) << 8;
  device::multiply_scaled<Tile, BitsOfB, 2, 1>(sum, a.load_chunk(k / 2 * row + 16 * group, 0), scale_a, right, scale_b);
  for (unsigned i = 0; i < tile * tile / 64; ++i) {
    const unsigned y_row = Tile == 16 ? 4 * group + i : 8 * (i / 4) + 4 * group + i % 4;
    args.y[y_row * tile + row] = sum[static_cast<int>(i)];
  }
}

void do_look_at_lanes(wave_arguments args) {
  const auto lane = static_cast<std::int32_t>(device::lane_of_wave());
  args.out[lane] = device::uniform(lane + 7);
  args.out[64 + lane] = device::first_lane_with(lane >= 41);
  args.out[128 + lane] = device::value_of_lane(3 * lane, 50);
  args.out[192 + lane] = device::value_from_below(lane, 8);
  args.out[256 + lane] = device::value_of_neighbour<5>(lane);
  args.out[320 + lane] = static_cast<std::int32_t>(device::sum_of_16_lanes(static_cast<float>(lane)));
}

void do_load_with_bounds(wave_arguments args) {
  const device::buffer words(args.a, 4 * 60);
  const unsigned lane = device::lane_of_wave();
  args.out[lane] = static_cast<std::int32_t>(words.load_word(4 * lane, 0));
  args.out[64 + lane] = static_cast<std::int32_t>(words.load_word(device::buffer::outside, 4 * lane));
  args.out[128 + lane] = static_cast<std::int32_t>(words.load_byte(4 * (lane % 32), 8, 4));
}
void do_load_behind_by_scalar(wave_arguments args) {
  const device::buffer words(args.a, 4 * 64);
  args.out[device::lane_of_wave()] = static_cast<std::int32_t>(words.load_word(4 * device::lane_of_wave(), 4));
}
void do_load_to_two_places(wave_arguments args) {
  const unsigned lane = device::lane_of_wave();
  const device::buffer words(args.a, 4 * 64);
  words.load_word_to_lds(device::shared_array<1024>() + (lane == 9 ? 4 : 0), 4 * lane, 0);
  device::wait_loads<0>();
}
void do_three_arrays(wave_arguments args) {
  const unsigned lane = device::lane_of_wave();
  const device::u32x4 chunk = {lane, 0, 0, 0};
  device::write_chunk(device::shared_array<1024, 0>() + 16 * lane, chunk);
  device::write_chunk(device::shared_array<1024, 1>() + 16 * lane, chunk);
  device::write_chunk(device::shared_array<1024, 2>() + 16 * lane, chunk);
  device::meet_block();
  args.out[lane] = static_cast<std::int32_t>(device::read_word(device::shared_array<1024, 1>() + 16 * (63 - lane)));
}
void do_half_of_a_wave(wave_arguments args) {
  device::f32x4 sum = {};
  if (device::lane_of_wave() < 32) device::multiply_16bit<16, dtype::bf16>(sum, {}, {});
  args.y[device::lane_of_wave()] = sum[0];
}

}  // namespace

const wave_kernel multiply_from_lds = do_multiply_from_lds;
const wave_kernel multiply_transposed = do_multiply_transposed;
const wave_kernel multiply_fp4_fp8 = do_multiply_scaled<16, 8>;
const wave_kernel multiply_fp4_fp4 = do_multiply_scaled<16, 4>;
const wave_kernel multiply_fp4_fp8_32 = do_multiply_scaled<32, 8>;
const wave_kernel look_at_lanes = do_look_at_lanes;
const wave_kernel load_with_bounds = do_load_with_bounds;
const wave_kernel load_behind_by_scalar = do_load_behind_by_scalar;
const wave_kernel load_to_two_places = do_load_to_two_places;
const wave_kernel three_arrays = do_three_arrays;
const wave_kernel half_of_a_wave = do_half_of_a_wave;

}  // namespace tilefit_simt
