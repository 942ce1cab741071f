// safetensors files for the tools, tests and examples.
// Knows: the file format, its limits, and how to say in one sentence what is wrong with a file.
// Must not know: what the tensors mean. Parsing works on any bytes in memory; mapping a file is a separate step.
// Format: https://github.com/huggingface/safetensors, README.md section "Format" and safetensors/src/tensor.rs.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace tilefit::inline v0::bench {

/// What went wrong, as one sentence without a final full stop.
struct file_error {
  std::string sentence;
};

/// A value, or the reason there is none. `*` and `->` need a value, `error()` needs none to be there.
template <class T>
class [[nodiscard]] result {
 public:
  result(T value) noexcept : state_(std::in_place_index<0>, std::move(value)) {}
  result(file_error error) noexcept : state_(std::in_place_index<1>, std::move(error)) {}

  bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }
  T& operator*() & noexcept { return *std::get_if<0>(&state_); }
  const T& operator*() const& noexcept { return *std::get_if<0>(&state_); }
  T&& operator*() && noexcept { return std::move(*std::get_if<0>(&state_)); }
  T* operator->() noexcept { return std::get_if<0>(&state_); }
  const T* operator->() const noexcept { return std::get_if<0>(&state_); }
  const std::string& error() const noexcept { return std::get_if<1>(&state_)->sentence; }

 private:
  std::variant<T, file_error> state_;
};

/// Element type, named as in a safetensors header but in small letters (the reference implementation's list).
enum class file_dtype : std::uint8_t {
  boolean,
  f4,
  f6_e2m3,
  f6_e3m2,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  f8_e8m0,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  c64,
  f64,
  i64,
  u64,
};

std::string_view name_of(file_dtype type) noexcept;
int bits_of(file_dtype type) noexcept;
/// Case-sensitive, as in the header: "BF16".
std::optional<file_dtype> find_file_dtype(std::string_view name) noexcept;

/// True when one T is one element of `type`: the type itself, or the unsigned integer that holds the bits of a
/// format C++ has no type for. Formats of less than a byte come as the packed bytes.
template <class T>
constexpr bool holds(file_dtype type) noexcept {
  using enum file_dtype;
  if constexpr (std::is_same_v<T, std::uint8_t> || std::is_same_v<T, std::byte>)
    return type <= f8_e5m2fnuz && type != i8;
  else if constexpr (std::is_same_v<T, std::int8_t>)
    return type == i8;
  else if constexpr (std::is_same_v<T, std::uint16_t>)
    return type == u16 || type == f16 || type == bf16;
  else if constexpr (std::is_same_v<T, std::int16_t>)
    return type == i16;
  else if constexpr (std::is_same_v<T, std::uint32_t>)
    return type == u32;
  else if constexpr (std::is_same_v<T, std::int32_t>)
    return type == i32;
  else if constexpr (std::is_same_v<T, std::uint64_t>)
    return type == u64;
  else if constexpr (std::is_same_v<T, std::int64_t>)
    return type == i64;
  else if constexpr (std::is_same_v<T, float>)
    return type == f32;
  else if constexpr (std::is_same_v<T, double>)
    return type == f64;
  else
    return false;
}

/// One tensor: row-major, little-endian. `data` may start at any address; use `copy_as` to read wider types.
struct tensor_info {
  std::string name;
  file_dtype dtype{};
  std::vector<std::uint64_t> shape;  ///< empty = one element
  std::uint64_t begin = 0;           ///< byte offsets into the data section
  std::uint64_t end = 0;
  std::span<const std::byte> data;
};

/// "BF16 [8, 320]"
std::string describe(const tensor_info& tensor);

/// The sentence for a T that cannot hold the elements of `tensor`.
file_error wrong_element_type(const tensor_info& tensor, std::size_t bytes_of_t) noexcept;

/// The elements, copied to memory that is aligned for them. Fails when `holds<T>` says no, or without memory.
template <class T>
result<std::vector<T>> copy_as(const tensor_info& tensor) noexcept {
  static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");
  static_assert(std::is_trivially_copyable_v<T>);
  if (!holds<T>(tensor.dtype)) return wrong_element_type(tensor, sizeof(T));
  try {
    std::vector<T> elements(tensor.data.size() / sizeof(T));
    if (!elements.empty()) std::memcpy(elements.data(), tensor.data.data(), elements.size() * sizeof(T));
    return elements;
  } catch (const std::exception&) {
    return file_error{"out of memory"};
  }
}

/// The checked header of a safetensors file whose bytes somebody else keeps alive.
class safetensors {
 public:
  /// The format's own limit on the header.
  static constexpr std::uint64_t max_header_bytes = 100'000'000;
  /// tilefit's limits, so that a hostile header cannot make a small file expensive.
  static constexpr std::size_t max_rank = 64;
  static constexpr int max_nesting = 16;

  /// Checks everything a header says before any of it is used: afterwards each tensor's `data` lies inside `bytes`,
  /// has exactly the bytes that its shape and type need, and tensors neither overlap nor leave holes.
  /// Members of a tensor that the format does not define are ignored, as the reference implementation does.
  static result<safetensors> parse(std::span<const std::byte> bytes) noexcept;

  /// In the order of their data.
  std::span<const tensor_info> tensors() const noexcept { return tensors_; }
  const std::map<std::string, std::string, std::less<>>& metadata() const noexcept { return metadata_; }

  /// nullptr when there is no such tensor.
  const tensor_info* find(std::string_view name) const noexcept;

  /// The tensor, if it is there with this type and this shape; -1 in `shape` stands for any size.
  result<const tensor_info*> require(std::string_view name, file_dtype type,
                                     std::initializer_list<std::int64_t> shape) const noexcept;

 private:
  std::vector<tensor_info> tensors_;
  std::vector<std::uint32_t> by_name_;  ///< indices into tensors_, sorted by name
  std::map<std::string, std::string, std::less<>> metadata_;
};

/// A file, read-only in memory. The file must not shrink while it is mapped (the system then ends the process).
class mapped_file {
 public:
  /// Regular files only; an empty file is an empty span.
  static result<mapped_file> open(const std::string& path) noexcept;

  mapped_file(mapped_file&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  mapped_file& operator=(mapped_file&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  mapped_file(const mapped_file&) = delete;
  mapped_file& operator=(const mapped_file&) = delete;
  ~mapped_file();

  std::span<const std::byte> bytes() const noexcept { return bytes_; }

 private:
  explicit mapped_file(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}
  std::span<const std::byte> bytes_;
};

/// A mapped file and its checked header. Moving it keeps every `tensor_info::data` valid; destroying it does not.
struct safetensors_file {
  mapped_file mapping;
  safetensors contents;

  /// Errors start with the path.
  static result<safetensors_file> open(const std::string& path) noexcept;
};

}  // namespace tilefit::inline v0::bench
