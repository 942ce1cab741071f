// The expert MLP of a gpt-oss-20b layer on an AMD GPU: weights are packed on the device, tiles chosen, the whole layer
// captured in a graph and replayed. Weights and inputs are made up. Ends with 77 where there is no HIP device.
#include <tilefit/hip/moe_mlp.cuh>
#include <tilefit/kernels/shuffle_weights.cuh>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

namespace {

constexpr std::int64_t tokens = 64, hidden = 2880, intermediate = 2880;
constexpr int experts = 32, topk = 4;
constexpr auto layout = tilefit::weight_layout::mfma_m16k128;

void check(hipError_t error) {
  if (error == hipSuccess) return;
  std::printf("HIP: %s\n", hipGetErrorString(error));
  std::exit(1);
}

/// Every call of the library that enqueues work says how that went. A refusal names the number that was wrong.
void check(const tilefit::hip::launch_status& status) {
  if (status.code == tilefit::status_code::ok) return;
  std::printf("%s: %.*s is %lld (limit %lld), HIP error %d\n", name_of(status.code).data(),
              static_cast<int>(status.reason.subject.size()), status.reason.subject.data(),
              static_cast<long long>(status.reason.value), static_cast<long long>(status.reason.limit),
              status.native_error);
  std::exit(1);
}

class device_memory {
 public:
  explicit device_memory(std::size_t bytes) { check(hipMalloc(&data_, bytes)); }
  template <class T>
  explicit device_memory(const std::vector<T>& values) : device_memory(values.size() * sizeof(T)) {
    upload(values);
  }
  device_memory(const device_memory&) = delete;
  device_memory& operator=(const device_memory&) = delete;
  ~device_memory() { static_cast<void>(hipFree(data_)); }

  template <class T>
  void upload(const std::vector<T>& values) {
    check(hipMemcpy(data_, values.data(), values.size() * sizeof(T), hipMemcpyHostToDevice));
  }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
};

/// One expert at a time comes from the host, as a loader would read it from a file, and is packed into its place.
void pack_weights(const device_memory& packed, std::int64_t n, std::int64_t k, hipStream_t stream) {
  std::mt19937_64 random(static_cast<unsigned>(n));
  std::vector<std::uint8_t> values(static_cast<std::size_t>(n * k / 2)), scales(static_cast<std::size_t>(n * k / 32));
  device_memory values_here(values.size()), scales_here(scales.size());
  for (int expert = 0; expert < experts; ++expert) {
    for (std::size_t i = 0; i < values.size(); i += 8) {
      const std::uint64_t codes = random();
      std::memcpy(values.data() + i, &codes, 8);
    }
    for (std::uint8_t& scale : scales) scale = static_cast<std::uint8_t>(118 + random() % 4);  // 2^-9 .. 2^-6
    values_here.upload(values);
    scales_here.upload(scales);
    std::uint8_t* const place = packed.as<std::uint8_t>() + expert * bytes_per_expert(layout, n, k);
    check(tilefit::hip::shuffle_weights(layout, {.experts = 1, .n = n, .k = k},
                                        {values_here.as<std::uint8_t>(), scales_here.as<std::uint8_t>()},
                                        {place, nullptr}, stream));
    check(hipStreamSynchronize(stream));
  }
}

void print_choice(const char* name, const tilefit::selection& choice) {
  const tilefit::opt_flags& tile = choice.flags;
  std::printf("%s: %s: %d x %d x %d with %d stages takes %lld of %lld B; split_k %d\n", name,
              name_of(choice.status).data(), tile.block_m, tile.block_n, tile.block_k, tile.num_stages,
              static_cast<long long>(choice.need_bytes()), static_cast<long long>(choice.budget_bytes), tile.split_k);
}

std::uint64_t checksum(const device_memory& y) {
  std::vector<std::uint16_t> codes(static_cast<std::size_t>(tokens * hidden));
  check(hipMemcpy(codes.data(), y.as<void>(), codes.size() * 2, hipMemcpyDeviceToHost));
  std::uint64_t sum = 0xCBF2'9CE4'8422'2325u;  // FNV-1a
  for (const std::uint16_t code : codes) sum = (sum ^ code) * 0x100'0000'01B3u;
  return sum;
}

}  // namespace

int main() {
  int devices = 0;
  if (hipGetDeviceCount(&devices) != hipSuccess || devices == 0) {
    std::printf("no HIP device: nothing is run\n");
    return 77;
  }
  hipStream_t stream = nullptr;
  check(hipStreamCreate(&stream));

  const device_memory gate_up(static_cast<std::size_t>(experts * bytes_per_expert(layout, 2 * intermediate, hidden)));
  const device_memory down(static_cast<std::size_t>(experts * bytes_per_expert(layout, hidden, intermediate)));
  pack_weights(gate_up, 2 * intermediate, hidden, stream);
  pack_weights(down, hidden, intermediate, stream);

  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<std::uint16_t> x(static_cast<std::size_t>(tokens * hidden));
  std::vector<float> logits(static_cast<std::size_t>(tokens * experts));
  for (std::uint16_t& code : x) code = tilefit::float_to_bf16(normal(random));
  for (float& logit : logits) logit = normal(random);
  const device_memory x_here(x), logits_here(logits);
  const device_memory y(x.size() * 2);

  tilefit::hip::moe_args layer{
      .tokens = tokens,
      .hidden = hidden,
      .intermediate = intermediate,
      .experts = experts,
      .topk = topk,
      .x = {.data = x_here.as<void>(), .rows = tokens, .row_stride = hidden},
      .logits = {.data = logits_here.as<void>(), .type = tilefit::dtype::fp32, .row_stride = experts},
      .gate_up = {.data = gate_up.as<void>(), .layout = layout},
      .down = {.data = down.as<void>(), .layout = layout},
      .y = {.data = y.as<void>(), .rows = tokens, .row_stride = hidden}};

  const tilefit::hip::moe_selection choice = tilefit::hip::choose_moe(layer);
  print_choice("gate and up", choice.gate_up);
  print_choice("down", choice.down);
  if (!choice.ok()) return 1;

  layer.workspace_bytes = moe_workspace_bytes(layer, choice.flags());
  const device_memory workspace(layer.workspace_bytes);
  layer.workspace = workspace.as<void>();

  // The first call loads the kernels; after that nothing but launches is left, which a graph can hold.
  check(moe_mlp(layer, choice.flags(), stream));
  check(hipStreamSynchronize(stream));
  const std::uint64_t called = checksum(y);

  hipGraph_t graph = nullptr;
  hipGraphExec_t replay = nullptr;
  check(hipStreamBeginCapture(stream, hipStreamCaptureModeThreadLocal));
  check(moe_mlp(layer, choice.flags(), stream));
  check(hipStreamEndCapture(stream, &graph));
  check(hipGraphInstantiate(&replay, graph, nullptr, nullptr, 0));

  check(hipMemset(y.as<void>(), 0xFF, x.size() * 2));
  check(hipGraphLaunch(replay, stream));
  check(hipStreamSynchronize(stream));
  const std::uint64_t replayed = checksum(y);
  std::printf("%lld tokens, %d experts, top-%d: checksum %016llx, from the graph %016llx\n",
              static_cast<long long>(tokens), experts, topk, static_cast<unsigned long long>(called),
              static_cast<unsigned long long>(replayed));
  check(hipGraphExecDestroy(replay));
  check(hipGraphDestroy(graph));
  check(hipStreamDestroy(stream));
  return called == replayed ? 0 : 1;
}
