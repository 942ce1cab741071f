// libFuzzer target: any bytes give a checked file or a sentence.
// Each input is parsed twice: as a whole file, and as header plus data with the header length put right, because a
// mutated length hides everything behind it.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "safetensors.hpp"

namespace {

using namespace tilefit::bench;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_error(const std::string& sentence) {
  require(!sentence.empty() && sentence.size() < 2000);
  for (const char c : sentence) require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F);
}

void check(std::span<const std::byte> bytes) {
  const result<safetensors> file = safetensors::parse(bytes);
  if (!file) return check_error(file.error());
  const std::byte* at = bytes.data() + bytes.size();
  for (const tensor_info& tensor : file->tensors()) at -= tensor.data.size();
  // The tensors lie one behind the other up to the end of the file.
  for (const tensor_info& tensor : file->tensors()) {
    require(tensor.data.data() == at);
    at += tensor.data.size();
    require(file->find(tensor.name) == &tensor);
    unsigned sum = 0;
    for (const std::byte b : tensor.data) sum += std::to_integer<unsigned>(b);
    if (const result<std::vector<std::uint8_t>> copy = copy_as<std::uint8_t>(tensor)) {
      for (const std::uint8_t b : *copy) sum -= b;
      require(sum == 0);
    } else {
      check_error(copy.error());
    }
    if (const result<std::vector<double>> copy = copy_as<double>(tensor))
      require(copy->size() * 8 == tensor.data.size());
    if (const auto missing = file->require(tensor.name, file_dtype::f32, {-1, 3}); !missing)
      check_error(missing.error());
  }
  require(at == bytes.data() + bytes.size());
}

}  // namespace

// The name is libFuzzer's. NOLINTNEXTLINE(readability-identifier-naming)
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  check(std::as_bytes(std::span(data, size)));

  const std::size_t header = input.rfind('}') + 1;
  std::string framed;
  for (int i = 0; i < 8; ++i) framed += static_cast<char>(std::uint64_t{header} >> (8 * i) & 0xFF);
  framed += input;
  check(std::as_bytes(std::span(framed)));
  return 0;
}
