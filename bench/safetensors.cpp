// The safetensors parser and the file mapping behind it.
// Knows: JSON through nlohmann-json's event interface (it is not recursive and builds no tree), POSIX mmap.
// Must not let an exception out: every public function ends in a value or a sentence.
#include "safetensors.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <nlohmann/json.hpp>
#include <system_error>
#include <tuple>

namespace tilefit::inline v0::bench {
namespace {

struct dtype_row {
  file_dtype type;
  std::string_view name;
  int bits;
};

// https://github.com/huggingface/safetensors, safetensors/src/tensor.rs, enum Dtype and its bitsize().
constexpr std::array dtype_rows = {
    dtype_row{file_dtype::boolean, "BOOL", 8},
    dtype_row{file_dtype::f4, "F4", 4},
    dtype_row{file_dtype::f6_e2m3, "F6_E2M3", 6},
    dtype_row{file_dtype::f6_e3m2, "F6_E3M2", 6},
    dtype_row{file_dtype::u8, "U8", 8},
    dtype_row{file_dtype::i8, "I8", 8},
    dtype_row{file_dtype::f8_e5m2, "F8_E5M2", 8},
    dtype_row{file_dtype::f8_e4m3, "F8_E4M3", 8},
    dtype_row{file_dtype::f8_e8m0, "F8_E8M0", 8},
    dtype_row{file_dtype::f8_e4m3fnuz, "F8_E4M3FNUZ", 8},
    dtype_row{file_dtype::f8_e5m2fnuz, "F8_E5M2FNUZ", 8},
    dtype_row{file_dtype::i16, "I16", 16},
    dtype_row{file_dtype::u16, "U16", 16},
    dtype_row{file_dtype::f16, "F16", 16},
    dtype_row{file_dtype::bf16, "BF16", 16},
    dtype_row{file_dtype::i32, "I32", 32},
    dtype_row{file_dtype::u32, "U32", 32},
    dtype_row{file_dtype::f32, "F32", 32},
    dtype_row{file_dtype::c64, "C64", 64},
    dtype_row{file_dtype::f64, "F64", 64},
    dtype_row{file_dtype::i64, "I64", 64},
    dtype_row{file_dtype::u64, "U64", 64},
};

constexpr bool rows_follow_the_enum() {
  for (std::size_t i = 0; i < dtype_rows.size(); ++i)
    if (static_cast<std::size_t>(dtype_rows[i].type) != i) return false;
  return true;
}
static_assert(rows_follow_the_enum());

constexpr std::string_view metadata_key = "__metadata__";
constexpr std::size_t length_bytes = 8;

/// Text of a file, fit for a message: quoted, control bytes escaped, long text cut at a character.
std::string in_quotes(std::string_view text) {
  constexpr std::size_t limit = 64;
  std::string out = "'";
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const bool starts_a_character = (c & 0xC0) != 0x80;
    if (i >= limit && starts_a_character) {
      out += "...";
      break;
    }
    if (c < 0x20 || c == 0x7F || c == '\'' || c == '\\')
      out += fmt::format("\\x{:02x}", c);
    else
      out += static_cast<char>(c);
  }
  return out + "'";
}

/// Bytes of the character that starts at `text[at]`, or 0 when it is not well-formed UTF-8 (Unicode 15, table 3-7).
std::size_t utf8_length(std::string_view text, std::size_t at) noexcept {
  const auto byte = [&](std::size_t i) { return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0u; };
  const auto within = [&](std::size_t i, unsigned low, unsigned high) { return byte(i) >= low && byte(i) <= high; };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return 0;
  if (lead < 0xE0) return within(1, 0x80, 0xBF) ? 2 : 0;
  if (lead < 0xF0) {
    const unsigned low = lead == 0xE0 ? 0xA0 : 0x80;
    const unsigned high = lead == 0xED ? 0x9F : 0xBF;
    return within(1, low, high) && within(2, 0x80, 0xBF) ? 3 : 0;
  }
  const unsigned low = lead == 0xF0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xF4 ? 0x8F : 0xBF;
  return within(1, low, high) && within(2, 0x80, 0xBF) && within(3, 0x80, 0xBF) ? 4 : 0;
}

/// What JSON allows at all. The library takes a NUL byte for the end of its input and so would not see what follows.
std::optional<file_error> check_text(std::string_view header) {
  for (std::size_t at = 0; at < header.size();) {
    const auto c = static_cast<unsigned char>(header[at]);
    if (c < 0x20 && c != '\t' && c != '\n' && c != '\r')
      return file_error{fmt::format("byte {} of the header is the control character 0x{:02x}", at, c)};
    const std::size_t length = utf8_length(header, at);
    if (length == 0) return file_error{fmt::format("the header is not UTF-8: byte {} is 0x{:02x}", at, c)};
    at += length;
  }
  return std::nullopt;
}

/// Receives the JSON events of a header and keeps the tensors, unchecked against each other.
class header_events {
 public:
  std::vector<tensor_info> tensors;
  std::map<std::string, std::string, std::less<>> metadata;
  std::string error;

  bool null() { return other_value("null"); }
  bool boolean(bool) { return other_value("a boolean"); }
  bool number_integer(std::int64_t value) {
    if (place_ != place::shape && place_ != place::offsets) return other_value("a number");
    return fail("{}: {} holds the negative number {}", subject(), list_name(), value);
  }
  bool number_unsigned(std::uint64_t value) {
    if (place_ == place::shape) {
      if (current_.shape.size() == safetensors::max_rank)
        return fail("{}: shape has more than {} dimensions", subject(), safetensors::max_rank);
      current_.shape.push_back(value);
      return true;
    }
    if (place_ == place::offsets) {
      if (offset_count_ == 2) return fail("{}: data_offsets has more than two numbers", subject());
      (offset_count_++ == 0 ? current_.begin : current_.end) = value;
      return true;
    }
    return other_value("a number");
  }
  bool number_float(double, const std::string& text) {
    if (place_ != place::shape && place_ != place::offsets) return other_value("a number");
    return fail("{}: {} holds {}, which is not an integer of at most 64 bits", subject(), list_name(), in_quotes(text));
  }
  bool string(std::string& value) {
    if (place_ == place::metadata) {
      metadata[key_] = std::move(value);
      return true;
    }
    if (place_ == place::tensor && key_ == "dtype") {
      const std::optional<file_dtype> type = find_file_dtype(value);
      if (!type) return fail("{}: unknown dtype {}", subject(), in_quotes(value));
      current_.dtype = *type;
      has_dtype_ = true;
      return true;
    }
    return other_value("a string");
  }
  bool binary(std::vector<std::uint8_t>&) { return other_value("binary data"); }

  bool start_object(std::size_t) {
    switch (place_) {
      case place::start: place_ = place::top; return true;
      case place::top:
        if (key_ == metadata_key) {
          place_ = place::metadata;
          return true;
        }
        place_ = place::tensor;
        current_ = {};
        current_.name = key_;
        has_dtype_ = has_shape_ = has_offsets_ = false;
        return true;
      default: return start_nested("an object");
    }
  }
  bool key(std::string& name) {
    if (nesting_ > 0) return true;
    if (place_ == place::top && name == metadata_key && std::exchange(has_metadata_, true))
      return fail("the header has the key {} twice", in_quotes(name));
    if (place_ == place::metadata && metadata.find(name) != metadata.end())
      return fail("{} has the key {} twice", metadata_key, in_quotes(name));
    if (place_ == place::tensor && ((name == "dtype" && has_dtype_) || (name == "shape" && has_shape_) ||
                                    (name == "data_offsets" && has_offsets_)))
      return fail("{} has the member {} twice", subject(), in_quotes(name));
    key_ = std::move(name);
    return true;
  }
  bool end_object() {
    if (nesting_ > 0) {
      --nesting_;
      return true;
    }
    if (place_ == place::tensor) {
      const char* missing = !has_dtype_ ? "dtype" : !has_shape_ ? "shape" : !has_offsets_ ? "data_offsets" : nullptr;
      if (missing) return fail("{} has no member '{}'", subject(), missing);
      tensors.push_back(std::move(current_));
    }
    place_ = place_ == place::top ? place::done : place::top;
    return true;
  }
  bool start_array(std::size_t) {
    if (place_ == place::tensor && nesting_ == 0 && key_ == "shape") {
      place_ = place::shape;
      has_shape_ = true;
      return true;
    }
    if (place_ == place::tensor && nesting_ == 0 && key_ == "data_offsets") {
      place_ = place::offsets;
      has_offsets_ = true;
      offset_count_ = 0;
      return true;
    }
    return start_nested("an array");
  }
  bool end_array() {
    if (nesting_ > 0) {
      --nesting_;
      return true;
    }
    if (place_ == place::offsets && offset_count_ != 2)
      return fail("{}: data_offsets has {} numbers instead of two", subject(), offset_count_);
    place_ = place::tensor;
    return true;
  }
  bool parse_error(std::size_t position, const std::string& token, const nlohmann::detail::exception&) {
    return fail("the header is not valid JSON at its byte {}, near {}", position == 0 ? 0 : position - 1,
                in_quotes(token));
  }

 private:
  enum class place { start, top, metadata, tensor, shape, offsets, done };

  template <class... Args>
  bool fail(fmt::format_string<Args...> form, Args&&... args) {
    error = fmt::format(form, std::forward<Args>(args)...);
    return false;
  }
  std::string subject() const { return "tensor " + in_quotes(current_.name); }
  std::string_view list_name() const { return place_ == place::shape ? "shape" : "data_offsets"; }
  bool is_ignored_member() const {
    return place_ == place::tensor && key_ != "dtype" && key_ != "shape" && key_ != "data_offsets";
  }

  bool other_value(std::string_view what) {
    if (nesting_ > 0 || is_ignored_member()) return true;
    switch (place_) {
      case place::top:
        if (key_ == metadata_key) return fail("{} is {} instead of an object", metadata_key, what);
        return fail("tensor {} is {} instead of an object", in_quotes(key_), what);
      case place::metadata:
        return fail("{}: the value of {} is {} instead of a string", metadata_key, in_quotes(key_), what);
      case place::shape:
      case place::offsets: return fail("{}: {} holds {} instead of a number", subject(), list_name(), what);
      case place::tensor:
        return fail("{}: {} is {} instead of {}", subject(), key_, what, key_ == "dtype" ? "a string" : "an array");
      default: return fail("the header is {} instead of an object", what);
    }
  }
  bool start_nested(std::string_view what) {
    if (nesting_ == 0 && !is_ignored_member()) return other_value(what);
    if (++nesting_ > safetensors::max_nesting)
      return fail("{}: member {} is nested more than {} levels deep", subject(), in_quotes(key_),
                  safetensors::max_nesting);
    return true;
  }

  place place_ = place::start;
  std::string key_;
  tensor_info current_;
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false, has_metadata_ = false;
  int offset_count_ = 0;
  int nesting_ = 0;  ///< open brackets inside an ignored member
};

/// Bytes that shape and dtype ask for, or the sentence why there is no such number.
result<std::uint64_t> bytes_needed(const tensor_info& tensor) {
  constexpr std::uint64_t max = std::numeric_limits<std::uint64_t>::max();
  // Empty tensors are allowed, but not as a way to hide sizes that no file could hold.
  auto bits = static_cast<std::uint64_t>(bits_of(tensor.dtype));
  bool is_empty = false;
  for (const std::uint64_t size : tensor.shape) {
    is_empty = is_empty || size == 0;
    if (size == 0) continue;
    if (bits > max / size)
      return file_error{
          fmt::format("tensor {}: the size of {} does not fit in 64 bits", in_quotes(tensor.name), describe(tensor))};
    bits *= size;
  }
  if (is_empty) return std::uint64_t{0};
  if (bits % 8 != 0)
    return file_error{fmt::format("tensor {}: {} takes {} bits, which is not a whole number of bytes",
                                  in_quotes(tensor.name), describe(tensor), bits)};
  return bits / 8;
}

std::optional<file_error> check_tensor(const tensor_info& tensor, std::uint64_t data_bytes) {
  if (tensor.begin > tensor.end)
    return file_error{fmt::format("tensor {}: data_offsets [{}, {}] end before they begin", in_quotes(tensor.name),
                                  tensor.begin, tensor.end)};
  if (tensor.end > data_bytes)
    return file_error{fmt::format("tensor {}: data_offsets [{}, {}] reach past the {} bytes of data in the file",
                                  in_quotes(tensor.name), tensor.begin, tensor.end, data_bytes)};
  const result<std::uint64_t> needed = bytes_needed(tensor);
  if (!needed) return file_error{needed.error()};
  if (*needed != tensor.end - tensor.begin)
    return file_error{fmt::format("tensor {}: {} takes {} bytes, but data_offsets [{}, {}] span {}",
                                  in_quotes(tensor.name), describe(tensor), *needed, tensor.begin, tensor.end,
                                  tensor.end - tensor.begin)};
  return std::nullopt;
}

/// The format wants every byte of the data section to belong to exactly one tensor. `tensors` are sorted by offset.
std::optional<file_error> check_coverage(std::span<const tensor_info> tensors, std::uint64_t data_bytes) {
  std::uint64_t covered = 0;
  const tensor_info* previous = nullptr;
  for (const tensor_info& tensor : tensors) {
    if (tensor.begin < covered)
      return file_error{fmt::format("tensors {} [{}, {}] and {} [{}, {}] overlap", in_quotes(previous->name),
                                    previous->begin, previous->end, in_quotes(tensor.name), tensor.begin, tensor.end)};
    if (tensor.begin > covered)
      return file_error{fmt::format("{} bytes of data before tensor {} [{}, {}] belong to no tensor",
                                    tensor.begin - covered, in_quotes(tensor.name), tensor.begin, tensor.end)};
    covered = tensor.end;
    previous = &tensor;
  }
  if (covered != data_bytes)
    return file_error{
        fmt::format("the tensors end at byte {} of the data, but the file holds {} bytes of it", covered, data_bytes)};
  return std::nullopt;
}

file_error system_error(const char* action) {
  return file_error{fmt::format("cannot {}: {}", action, std::generic_category().message(errno))};
}

class descriptor {
 public:
  explicit descriptor(int fd) noexcept : fd_(fd) {}
  descriptor(const descriptor&) = delete;
  descriptor& operator=(const descriptor&) = delete;
  ~descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

// Short enough for the small-string buffer: it must not allocate.
file_error out_of_memory() noexcept { return file_error{"out of memory"}; }

}  // namespace

std::string_view name_of(file_dtype type) noexcept { return dtype_rows[static_cast<std::size_t>(type)].name; }

int bits_of(file_dtype type) noexcept { return dtype_rows[static_cast<std::size_t>(type)].bits; }

std::optional<file_dtype> find_file_dtype(std::string_view name) noexcept {
  for (const dtype_row& row : dtype_rows)
    if (row.name == name) return row.type;
  return std::nullopt;
}

std::string describe(const tensor_info& tensor) {
  return fmt::format("{} [{}]", name_of(tensor.dtype), fmt::join(tensor.shape, ", "));
}

file_error wrong_element_type(const tensor_info& tensor, std::size_t bytes_of_t) noexcept {
  try {
    return {fmt::format("tensor {}: elements of {} cannot be read as this {}-byte type", in_quotes(tensor.name),
                        describe(tensor), bytes_of_t)};
  } catch (const std::exception&) {
    return out_of_memory();
  }
}

result<safetensors> safetensors::parse(std::span<const std::byte> bytes) noexcept {
  try {
    if (bytes.size() < length_bytes)
      return file_error{
          fmt::format("the file has {} bytes, fewer than the {} of a header length", bytes.size(), length_bytes)};
    std::uint64_t header_bytes = 0;
    for (std::size_t i = 0; i < length_bytes; ++i) header_bytes |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
    if (header_bytes > max_header_bytes)
      return file_error{
          fmt::format("the header length {} is over the format's limit of {} bytes", header_bytes, max_header_bytes)};
    const std::span<const std::byte> rest = bytes.subspan(length_bytes);
    if (header_bytes > rest.size())
      return file_error{
          fmt::format("the header of {} bytes reaches past the end of the file, which has {} after the "
                      "length",
                      header_bytes, rest.size())};
    const std::string_view header(reinterpret_cast<const char*>(rest.data()), static_cast<std::size_t>(header_bytes));
    if (header.empty() || header.front() != '{') return file_error{"the header does not begin with '{'"};
    if (const std::optional<file_error> error = check_text(header)) return *error;

    header_events events;
    if (!nlohmann::json::sax_parse(header.begin(), header.end(), &events)) return file_error{std::move(events.error)};

    const std::span<const std::byte> data = rest.subspan(header.size());
    for (tensor_info& tensor : events.tensors) {
      if (const std::optional<file_error> error = check_tensor(tensor, data.size())) return *error;
      tensor.data =
          data.subspan(static_cast<std::size_t>(tensor.begin), static_cast<std::size_t>(tensor.end - tensor.begin));
    }
    // A tensor without bytes sorts before the one that starts at the same place.
    std::sort(events.tensors.begin(), events.tensors.end(), [](const tensor_info& a, const tensor_info& b) {
      return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
    });

    safetensors file;
    file.tensors_ = std::move(events.tensors);
    file.metadata_ = std::move(events.metadata);
    file.by_name_.resize(file.tensors_.size());
    for (std::size_t i = 0; i < file.by_name_.size(); ++i) file.by_name_[i] = static_cast<std::uint32_t>(i);
    const auto name = [&](std::uint32_t i) -> const std::string& { return file.tensors_[i].name; };
    std::sort(file.by_name_.begin(), file.by_name_.end(),
              [&](std::uint32_t a, std::uint32_t b) { return name(a) < name(b); });
    const auto twin = std::adjacent_find(file.by_name_.begin(), file.by_name_.end(),
                                         [&](std::uint32_t a, std::uint32_t b) { return name(a) == name(b); });
    if (twin != file.by_name_.end())
      return file_error{fmt::format("the header has the key {} twice", in_quotes(name(*twin)))};
    if (const std::optional<file_error> error = check_coverage(file.tensors_, data.size())) return *error;
    return file;
  } catch (const std::exception&) {
    return out_of_memory();
  }
}

const tensor_info* safetensors::find(std::string_view name) const noexcept {
  const auto at = std::lower_bound(by_name_.begin(), by_name_.end(), name,
                                   [&](std::uint32_t i, std::string_view wanted) { return tensors_[i].name < wanted; });
  return at != by_name_.end() && tensors_[*at].name == name ? &tensors_[*at] : nullptr;
}

result<const tensor_info*> safetensors::require(std::string_view name, file_dtype type,
                                                std::initializer_list<std::int64_t> shape) const noexcept {
  try {
    const tensor_info* tensor = find(name);
    if (!tensor) return file_error{fmt::format("there is no tensor {}", in_quotes(name))};
    const bool matches =
        tensor->dtype == type && std::equal(shape.begin(), shape.end(), tensor->shape.begin(), tensor->shape.end(),
                                            [](std::int64_t wanted, std::uint64_t size) {
                                              return wanted < 0 || static_cast<std::uint64_t>(wanted) == size;
                                            });
    if (matches) return tensor;
    std::string wanted;
    for (const std::int64_t size : shape)
      wanted += fmt::format("{}{}", wanted.empty() ? "" : ", ", size < 0 ? "any" : std::to_string(size));
    return file_error{
        fmt::format("tensor {} is {} instead of {} [{}]", in_quotes(name), describe(*tensor), name_of(type), wanted)};
  } catch (const std::exception&) {
    return out_of_memory();
  }
}

result<mapped_file> mapped_file::open(const std::string& path) noexcept {
  try {
    if (path.empty() || path.find('\0') != std::string::npos)
      return file_error{"the file name is empty or holds a NUL"};
    // Without O_NONBLOCK, opening a pipe would wait for a writer.
    const descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (file.get() < 0) return system_error("open the file");
    struct stat facts {};
    if (::fstat(file.get(), &facts) != 0) return system_error("read the size of the file");
    if (!S_ISREG(facts.st_mode)) return file_error{"this is not a regular file"};
    if (facts.st_size == 0) return mapped_file(std::span<const std::byte>{});
    const auto size = static_cast<std::size_t>(facts.st_size);
    const void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (address == MAP_FAILED) return system_error("map the file");
    return mapped_file(std::span(static_cast<const std::byte*>(address), size));
  } catch (const std::exception&) {
    return out_of_memory();
  }
}

mapped_file::~mapped_file() {
  // munmap takes a pointer to non-const, though nothing is written.
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

result<safetensors_file> safetensors_file::open(const std::string& path) noexcept {
  try {
    result<mapped_file> mapping = mapped_file::open(path);
    if (!mapping) return file_error{fmt::format("{}: {}", path, mapping.error())};
    result<safetensors> contents = safetensors::parse(mapping->bytes());
    if (!contents) return file_error{fmt::format("{}: {}", path, contents.error())};
    return safetensors_file{.mapping = *std::move(mapping), .contents = *std::move(contents)};
  } catch (const std::exception&) {
    return out_of_memory();
  }
}

}  // namespace tilefit::inline v0::bench
