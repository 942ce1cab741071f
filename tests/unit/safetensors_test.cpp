// The safetensors reader: good files come back as written, every kind of bad file is named in a sentence.
#include "safetensors.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

#include "catch.hpp"

namespace {

using namespace tilefit::bench;

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string with_length(std::uint64_t length, const std::string& rest) {
  std::string file;
  for (int i = 0; i < 8; ++i) file += static_cast<char>(length >> (8 * i) & 0xFF);
  return file + rest;
}

std::string file_of(const std::string& header, const std::string& data = {}) {
  return with_length(header.size(), header + data);
}

/// A header with one tensor called w.
std::string one_tensor(const std::string& members, const std::string& data = {}) {
  return file_of("{\"w\":{" + members + "}}", data);
}

std::string error_of(const std::string& file) {
  const auto parsed = safetensors::parse(bytes_of(file));
  return parsed ? "no error" : parsed.error();
}

class temporary_file {
 public:
  explicit temporary_file(const std::string& content) {
    path_ = (std::filesystem::temp_directory_path() / "tilefit_safetensors_XXXXXX").string();
    const int fd = ::mkstemp(path_.data());
    REQUIRE(fd >= 0);
    ::close(fd);
    std::ofstream(path_, std::ios::binary) << content;
  }
  temporary_file(const temporary_file&) = delete;
  temporary_file& operator=(const temporary_file&) = delete;
  ~temporary_file() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

TEST_CASE("safetensors: a good file comes back as written", "[safetensors]") {
  std::vector<float> floats(6);
  std::iota(floats.begin(), floats.end(), 0.5f);
  std::string data(reinterpret_cast<const char*>(floats.data()), 24);
  data += std::string("\x80\x3f\x00\xc0", 4);  // bf16 1.0, -2.0
  data += '\x21';                              // two fp4 values
  const std::string file = file_of(
      R"({"b":{"data_offsets":[24,28],"dtype":"BF16","shape":[2]},"__metadata__":{"made by":"hand"},)"
      R"("a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"none":{"dtype":"I64","shape":[4,0],"data_offsets":[24,24]},)"
      R"("q":{"dtype":"F4","shape":[1,2],"data_offsets":[28,29]}}   )",
      data);
  const auto parsed = safetensors::parse(bytes_of(file));
  REQUIRE(parsed);
  REQUIRE(parsed->tensors().size() == 4);
  CHECK(parsed->tensors()[0].name == "a");
  CHECK(parsed->tensors()[1].name == "none");
  CHECK(parsed->tensors()[2].name == "b");
  CHECK(parsed->metadata().at("made by") == "hand");

  const auto a = parsed->require("a", file_dtype::f32, {2, -1});
  REQUIRE(a);
  CHECK((*a)->shape == std::vector<std::uint64_t>{2, 3});
  const auto values = copy_as<float>(**a);
  REQUIRE(values);
  CHECK(*values == floats);
  CHECK(copy_as<float>(*parsed->find("b")).error() ==
        "tensor 'b': elements of BF16 [2] cannot be read as this 4-byte type");
  CHECK(copy_as<std::int32_t>(**a).error() == "tensor 'a': elements of F32 [2, 3] cannot be read as this 4-byte type");
  CHECK(*copy_as<std::uint16_t>(*parsed->find("b")) == std::vector<std::uint16_t>{0x3f80, 0xc000});
  CHECK(*copy_as<std::uint8_t>(*parsed->find("q")) == std::vector<std::uint8_t>{0x21});
  CHECK(copy_as<std::int64_t>(*parsed->find("none"))->empty());

  CHECK(parsed->find("c") == nullptr);
  CHECK(parsed->require("c", file_dtype::f32, {}).error() == "there is no tensor 'c'");
  CHECK(parsed->require("a", file_dtype::f32, {2, 4}).error() == "tensor 'a' is F32 [2, 3] instead of F32 [2, 4]");
  CHECK(parsed->require("a", file_dtype::bf16, {2, -1}).error() == "tensor 'a' is F32 [2, 3] instead of BF16 [2, any]");
  CHECK_FALSE(parsed->require("a", file_dtype::f32, {2}));
  CHECK_FALSE(parsed->require("a", file_dtype::f32, {2, 3, 1}));
}

TEST_CASE("safetensors: odd but legal files", "[safetensors]") {
  CHECK(safetensors::parse(bytes_of(file_of("{}")))->tensors().empty());
  CHECK(safetensors::parse(bytes_of(file_of("{}    \n\t"))));
  CHECK(safetensors::parse(bytes_of(file_of(R"({"__metadata__":{}})")))->metadata().empty());

  const std::string scalar = one_tensor(R"("dtype":"U8","shape":[],"data_offsets":[0,1])", "x");
  const auto parsed = safetensors::parse(bytes_of(scalar));
  REQUIRE(parsed);
  CHECK(parsed->find("w")->data.size() == 1);

  // Members that the format does not define are skipped, whatever they hold.
  CHECK(safetensors::parse(bytes_of(one_tensor(
      R"("note":{"dtype":[1,-2,3.5,null,true,{"shape":"x"}]},"dtype":"U8","more":[[]],"shape":[0],"data_offsets":[0,0])"))));

  // Names are any JSON string.
  const std::string named =
      file_of(R"({"\u00e9\ud83d\ude00\u0000\"":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})");
  CHECK(safetensors::parse(bytes_of(named))->find(std::string_view("\xC3\xA9\xF0\x9F\x98\x80\0\"", 8)) != nullptr);
}

TEST_CASE("safetensors: data at any address can be copied out", "[safetensors]") {
  std::string file = "?" + one_tensor(R"("dtype":"F64","shape":[2],"data_offsets":[0,16])",
                                      std::string("\0\0\0\0\0\0\xf0\x3f\0\0\0\0\0\0\0\x40", 16));
  for (int shift = 1; shift <= 8; ++shift) {
    const auto parsed = safetensors::parse(bytes_of(file).subspan(static_cast<std::size_t>(shift)));
    REQUIRE(parsed);
    CHECK(*copy_as<double>(*parsed->find("w")) == std::vector<double>{1.0, 2.0});
    file.insert(0, "?");
  }
}

TEST_CASE("safetensors: every dtype has its size", "[safetensors]") {
  const std::pair<const char*, int> sizes[] = {
      {"BOOL", 8},    {"U8", 8},      {"I8", 8},          {"I16", 16},        {"U16", 16},  {"I32", 32},
      {"U32", 32},    {"I64", 64},    {"U64", 64},        {"F16", 16},        {"BF16", 16}, {"F32", 32},
      {"F64", 64},    {"F8_E4M3", 8}, {"F8_E5M2", 8},     {"F8_E8M0", 8},     {"F4", 4},    {"F6_E2M3", 6},
      {"F6_E3M2", 6}, {"C64", 64},    {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8},
  };
  for (const auto& [name, bits] : sizes) {
    const auto type = find_file_dtype(name);
    REQUIRE(type);
    CHECK(name_of(*type) == name);
    CHECK(bits_of(*type) == bits);
    const std::string size = std::to_string(bits);
    CHECK(
        error_of(one_tensor("\"dtype\":\"" + std::string(name) + "\",\"shape\":[2,4],\"data_offsets\":[0," + size + "]",
                            std::string(static_cast<std::size_t>(bits), 'x'))) == "no error");
  }
  CHECK_FALSE(find_file_dtype("bf16"));
  CHECK_FALSE(find_file_dtype(""));
}

TEST_CASE("safetensors: files that are cut, or whose length lies", "[safetensors]") {
  CHECK(error_of("") == "the file has 0 bytes, fewer than the 8 of a header length");
  CHECK(error_of("1234567") == "the file has 7 bytes, fewer than the 8 of a header length");
  CHECK(error_of(with_length(0, "")) == "the header does not begin with '{'");
  CHECK(error_of(with_length(3, "{}")) ==
        "the header of 3 bytes reaches past the end of the file, which has 2 after the length");
  CHECK(error_of(with_length(100'000'000, "{}")) ==
        "the header of 100000000 bytes reaches past the end of the file, which has 2 after the length");
  CHECK(error_of(with_length(100'000'001, "{}")) ==
        "the header length 100000001 is over the format's limit of 100000000 bytes");
  CHECK(error_of(with_length(~std::uint64_t{0}, "{}")) ==
        "the header length 18446744073709551615 is over the format's limit of 100000000 bytes");
  CHECK(error_of(one_tensor(R"("dtype":"U8","shape":[4],"data_offsets":[0,4])", "xyz")) ==
        "tensor 'w': data_offsets [0, 4] reach past the 3 bytes of data in the file");

  // No prefix of a good file is a good file, and none crashes.
  const std::string good = one_tensor(R"("dtype":"U8","shape":[4],"data_offsets":[0,4])", "wxyz");
  CHECK(error_of(good) == "no error");
  for (std::size_t size = 0; size < good.size(); ++size) CHECK(error_of(good.substr(0, size)) != "no error");
}

TEST_CASE("safetensors: headers that are not the JSON that is asked for", "[safetensors]") {
  CHECK(error_of(file_of("[]")) == "the header does not begin with '{'");
  CHECK(error_of(file_of(" {}")) == "the header does not begin with '{'");
  CHECK(error_of(file_of("\xEF\xBB\xBF{}")) == "the header does not begin with '{'");
  CHECK(error_of(file_of("{\"a\xFF\":1}")) == "the header is not UTF-8: byte 3 is 0xff");
  CHECK(error_of(file_of("{\"\xC0\xAF\":1}")) == "the header is not UTF-8: byte 2 is 0xc0");          // overlong
  CHECK(error_of(file_of("{\"\xE0\x80\xAF\":1}")) == "the header is not UTF-8: byte 2 is 0xe0");      // overlong
  CHECK(error_of(file_of("{\"\xED\xA0\x80\":1}")) == "the header is not UTF-8: byte 2 is 0xed");      // surrogate
  CHECK(error_of(file_of("{\"\xF4\x90\x80\x80\":1}")) == "the header is not UTF-8: byte 2 is 0xf4");  // > U+10FFFF
  CHECK(error_of(file_of("{\"\xE2\x82")) == "the header is not UTF-8: byte 2 is 0xe2");               // cut
  // The JSON library would stop at a NUL and never see the rest.
  CHECK(error_of(file_of(std::string("{}\0 trailing", 12))) == "byte 2 of the header is the control character 0x00");
  CHECK(error_of(file_of("{\"a\nb\":{}}")) == "the header is not valid JSON at its byte 3, near '\"a<U+000A>'");
  CHECK(error_of(file_of("{}{}")) == "the header is not valid JSON at its byte 2, near '{}{'");
  CHECK(error_of(file_of("{\"a\":}")) == "the header is not valid JSON at its byte 5, near '\"a\":}'");
  CHECK(error_of(file_of("{")) == "the header is not valid JSON at its byte 1, near '{'");
  CHECK(error_of(file_of("{/**/}")) != "no error");
  CHECK(error_of(file_of("{\"\\ud800\":{}}")) != "no error");
  CHECK(error_of(file_of("{\"a\":1}")) == "tensor 'a' is a number instead of an object");
  CHECK(error_of(file_of("{\"a\":[]}")) == "tensor 'a' is an array instead of an object");
  CHECK(error_of(file_of("{\"a\":null}")) == "tensor 'a' is null instead of an object");
  CHECK(error_of(one_tensor(R"("dtype":1e999,"shape":[],"data_offsets":[0,0])")) != "no error");
}

TEST_CASE("safetensors: duplicate keys", "[safetensors]") {
  const std::string w = R"("w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  CHECK(error_of(file_of("{" + w + "}")) == "no error");
  CHECK(error_of(file_of("{" + w + "," + w + "}")) == "the header has the key 'w' twice");
  CHECK(error_of(file_of(R"({"__metadata__":{},"__metadata__":{}})")) == "the header has the key '__metadata__' twice");
  CHECK(error_of(file_of(R"({"__metadata__":{"k":"1","k":"1"}})")) == "__metadata__ has the key 'k' twice");
  CHECK(error_of(one_tensor(R"("dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0])")) ==
        "tensor 'w' has the member 'dtype' twice");
  CHECK(error_of(one_tensor(R"("dtype":"U8","shape":[0],"shape":[0],"data_offsets":[0,0])")) ==
        "tensor 'w' has the member 'shape' twice");
  CHECK(error_of(one_tensor(R"("dtype":"U8","shape":[0],"data_offsets":[0,0],"data_offsets":[0,0])")) ==
        "tensor 'w' has the member 'data_offsets' twice");
}

TEST_CASE("safetensors: members that are missing or of the wrong kind", "[safetensors]") {
  CHECK(error_of(file_of(R"({"w":{}})")) == "tensor 'w' has no member 'dtype'");
  CHECK(error_of(one_tensor(R"("dtype":"U8","data_offsets":[0,0])")) == "tensor 'w' has no member 'shape'");
  CHECK(error_of(one_tensor(R"("dtype":"U8","shape":[0])")) == "tensor 'w' has no member 'data_offsets'");
  CHECK(error_of(one_tensor(R"("dtype":"F12")")) == "tensor 'w': unknown dtype 'F12'");
  CHECK(error_of(one_tensor(R"("dtype":16)")) == "tensor 'w': dtype is a number instead of a string");
  CHECK(error_of(one_tensor(R"("dtype":{})")) == "tensor 'w': dtype is an object instead of a string");
  CHECK(error_of(one_tensor(R"("shape":4)")) == "tensor 'w': shape is a number instead of an array");
  CHECK(error_of(one_tensor(R"("shape":null)")) == "tensor 'w': shape is null instead of an array");
  CHECK(error_of(one_tensor(R"("shape":["4"])")) == "tensor 'w': shape holds a string instead of a number");
  CHECK(error_of(one_tensor(R"("shape":[[4]])")) == "tensor 'w': shape holds an array instead of a number");
  CHECK(error_of(one_tensor(R"("shape":[true])")) == "tensor 'w': shape holds a boolean instead of a number");
  CHECK(error_of(one_tensor(R"("shape":[{}])")) == "tensor 'w': shape holds an object instead of a number");
  CHECK(error_of(one_tensor(R"("shape":[4,-1])")) == "tensor 'w': shape holds the negative number -1");
  CHECK(error_of(one_tensor(R"("shape":[1.5])")) ==
        "tensor 'w': shape holds '1.5', which is not an integer of at most 64 bits");
  CHECK(error_of(one_tensor(R"("shape":[1e2])")) ==
        "tensor 'w': shape holds '1e2', which is not an integer of at most 64 bits");
  CHECK(error_of(one_tensor(R"("shape":[18446744073709551616])")) ==
        "tensor 'w': shape holds '18446744073709551616', which is not an integer of at most 64 bits");
  CHECK(error_of(one_tensor(R"("data_offsets":{})")) == "tensor 'w': data_offsets is an object instead of an array");
  CHECK(error_of(one_tensor(R"("data_offsets":[0])")) == "tensor 'w': data_offsets has 1 numbers instead of two");
  CHECK(error_of(one_tensor(R"("data_offsets":[])")) == "tensor 'w': data_offsets has 0 numbers instead of two");
  CHECK(error_of(one_tensor(R"("data_offsets":[0,1,2])")) == "tensor 'w': data_offsets has more than two numbers");
  CHECK(error_of(one_tensor(R"("data_offsets":[-8,0])")) == "tensor 'w': data_offsets holds the negative number -8");
  CHECK(error_of(one_tensor(R"("data_offsets":[0,0.5])")) ==
        "tensor 'w': data_offsets holds '0.5', which is not an integer of at most 64 bits");
}

TEST_CASE("safetensors: metadata is text to text", "[safetensors]") {
  CHECK(error_of(file_of(R"({"__metadata__":"x"})")) == "__metadata__ is a string instead of an object");
  CHECK(error_of(file_of(R"({"__metadata__":null})")) == "__metadata__ is null instead of an object");
  CHECK(error_of(file_of(R"({"__metadata__":{"k":1}})")) ==
        "__metadata__: the value of 'k' is a number instead of a string");
  CHECK(error_of(file_of(R"({"__metadata__":{"k":{}}})")) ==
        "__metadata__: the value of 'k' is an object instead of a string");
  CHECK(error_of(file_of(R"({"__metadata__":{"k":["v"]}})")) ==
        "__metadata__: the value of 'k' is an array instead of a string");
}

TEST_CASE("safetensors: nesting does not exhaust the stack", "[safetensors]") {
  const std::string deep(1'000'000, '[');
  CHECK(error_of(one_tensor("\"x\":" + deep)) == "tensor 'w': member 'x' is nested more than 16 levels deep");
  CHECK(error_of(one_tensor("\"shape\":" + deep)) == "tensor 'w': shape holds an array instead of a number");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  CHECK(error_of(file_of(objects)) == "tensor 'a': member 'a' is nested more than 16 levels deep");
  std::string ones = "1";
  for (int i = 0; i < 63; ++i) ones += ",1";
  CHECK(error_of(one_tensor("\"dtype\":\"U8\",\"data_offsets\":[0,1],\"shape\":[" + ones + "]", "x")) == "no error");
  CHECK(error_of(one_tensor("\"shape\":[" + ones + ",1]")) == "tensor 'w': shape has more than 64 dimensions");
}

TEST_CASE("safetensors: sizes that do not add up", "[safetensors]") {
  CHECK(error_of(one_tensor(R"("dtype":"F32","shape":[2,3],"data_offsets":[0,23])", std::string(23, 'x'))) ==
        "tensor 'w': F32 [2, 3] takes 24 bytes, but data_offsets [0, 23] span 23");
  CHECK(error_of(one_tensor(R"("dtype":"F32","shape":[],"data_offsets":[0,0])")) ==
        "tensor 'w': F32 [] takes 4 bytes, but data_offsets [0, 0] span 0");
  CHECK(error_of(one_tensor(R"("dtype":"F32","shape":[0],"data_offsets":[0,4])", "xxxx")) ==
        "tensor 'w': F32 [0] takes 0 bytes, but data_offsets [0, 4] span 4");
  CHECK(error_of(one_tensor(R"("dtype":"F4","shape":[3],"data_offsets":[0,1])", "x")) ==
        "tensor 'w': F4 [3] takes 12 bits, which is not a whole number of bytes");
  CHECK(error_of(one_tensor(R"("dtype":"U8","shape":[4],"data_offsets":[4,0])", "xxxx")) ==
        "tensor 'w': data_offsets [4, 0] end before they begin");
  // 2^61 elements of 8 bits are 2^64 bits; 2^32 * 2^32 elements do not even count.
  CHECK(error_of(one_tensor(R"("dtype":"U8","shape":[2305843009213693952],"data_offsets":[0,0])")) ==
        "tensor 'w': the size of U8 [2305843009213693952] does not fit in 64 bits");
  CHECK(error_of(one_tensor(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])")) ==
        "tensor 'w': the size of F32 [4294967296, 4294967296] does not fit in 64 bits");
  CHECK(error_of(one_tensor(R"("dtype":"F32","shape":[4294967296,0,4294967296],"data_offsets":[0,0])")) ==
        "tensor 'w': the size of F32 [4294967296, 0, 4294967296] does not fit in 64 bits");
  CHECK(
      error_of(one_tensor(R"("dtype":"U8","shape":[1],"data_offsets":[18446744073709551615,18446744073709551615])")) ==
      "tensor 'w': data_offsets [18446744073709551615, 18446744073709551615] reach past the 0 bytes of data in the "
      "file");
}

TEST_CASE("safetensors: every byte of data belongs to one tensor", "[safetensors]") {
  const auto pair = [](const std::string& a, const std::string& b, std::size_t data) {
    return error_of(
        file_of(R"({"a":{"dtype":"U8",)" + a + R"(},"b":{"dtype":"U8",)" + b + "}}", std::string(data, 'x')));
  };
  CHECK(pair(R"("shape":[4],"data_offsets":[4,8])", R"("shape":[4],"data_offsets":[0,4])", 8) == "no error");
  CHECK(pair(R"("shape":[4],"data_offsets":[0,4])", R"("shape":[4],"data_offsets":[3,7])", 7) ==
        "tensors 'a' [0, 4] and 'b' [3, 7] overlap");
  CHECK(pair(R"("shape":[4],"data_offsets":[0,4])", R"("shape":[4],"data_offsets":[0,4])", 4) ==
        "tensors 'a' [0, 4] and 'b' [0, 4] overlap");
  CHECK(pair(R"("shape":[8],"data_offsets":[0,8])", R"("shape":[4],"data_offsets":[2,6])", 8) ==
        "tensors 'a' [0, 8] and 'b' [2, 6] overlap");
  CHECK(pair(R"("shape":[8],"data_offsets":[0,8])", R"("shape":[0],"data_offsets":[2,2])", 8) ==
        "tensors 'a' [0, 8] and 'b' [2, 2] overlap");
  CHECK(pair(R"("shape":[4],"data_offsets":[0,4])", R"("shape":[4],"data_offsets":[5,9])", 9) ==
        "1 bytes of data before tensor 'b' [5, 9] belong to no tensor");
  CHECK(pair(R"("shape":[4],"data_offsets":[1,5])", R"("shape":[4],"data_offsets":[5,9])", 9) ==
        "1 bytes of data before tensor 'a' [1, 5] belong to no tensor");
  CHECK(pair(R"("shape":[4],"data_offsets":[0,4])", R"("shape":[4],"data_offsets":[4,8])", 10) ==
        "the tensors end at byte 8 of the data, but the file holds 10 bytes of it");
  CHECK(error_of(file_of("{}", "x")) == "the tensors end at byte 0 of the data, but the file holds 1 bytes of it");
}

TEST_CASE("safetensors: names from the file cannot spoil a message", "[safetensors]") {
  CHECK(error_of(file_of(R"({"a\n\u001b[31m'\\":1})")) ==
        R"(tensor 'a\x0a\x1b[31m\x27\x5c' is a number instead of an object)");
  const std::string message = error_of(file_of("{\"" + std::string(100'000, 'n') + "\":1}"));
  CHECK(message == "tensor '" + std::string(64, 'n') + "...' is a number instead of an object");
  // Cut between characters, not inside one.
  const std::string accents = error_of(file_of("{\"" + std::string(63, 'n') + "\xC3\xA9\xC3\xA9\":1}"));
  CHECK(accents == "tensor '" + std::string(63, 'n') + "\xC3\xA9...' is a number instead of an object");
}

TEST_CASE("safetensors: files on disk", "[safetensors]") {
  const temporary_file good(one_tensor(R"("dtype":"U8","shape":[4],"data_offsets":[0,4])", "wxyz"));
  auto opened = safetensors_file::open(good.path());
  REQUIRE(opened);
  const safetensors_file moved = *std::move(opened);
  CHECK(*copy_as<std::uint8_t>(*moved.contents.find("w")) == std::vector<std::uint8_t>{'w', 'x', 'y', 'z'});

  const temporary_file empty("");
  CHECK(mapped_file::open(empty.path())->bytes().empty());
  CHECK(safetensors_file::open(empty.path()).error() ==
        empty.path() + ": the file has 0 bytes, fewer than the 8 of a header length");
  CHECK(safetensors_file::open("/nonexistent/x").error() ==
        "/nonexistent/x: cannot open the file: No such file or directory");
  CHECK(safetensors_file::open("/").error() == "/: this is not a regular file");
  CHECK(safetensors_file::open("").error() == ": the file name is empty or holds a NUL");
  CHECK(mapped_file::open(good.path() + std::string(1, '\0')).error() == "the file name is empty or holds a NUL");

  // A pipe without a writer must not block.
  const std::string pipe = good.path() + ".pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(mapped_file::open(pipe).error() == "this is not a regular file");
  std::remove(pipe.c_str());
}

TEST_CASE("safetensors: the golden layers", "[safetensors]") {
  const auto [file_name, tokens] =
      GENERATE(std::pair<std::string, std::int64_t>{"moe_layer_h320_e8.safetensors", 37},
               std::pair<std::string, std::int64_t>{"moe_layer_h320_e8_skew.safetensors", 130});
  const auto file = safetensors_file::open(std::string(TILEFIT_GOLDEN_DIR) + "/" + file_name);
  INFO((file ? "" : file.error()));
  REQUIRE(file);
  const safetensors& layer = file->contents;
  CHECK(layer.tensors().size() == 12);
  CHECK(layer.metadata().at("num_experts") == "8");
  CHECK(layer.metadata().at("swiglu_alpha") == "1.702");
  using enum file_dtype;
  CHECK(layer.require("hidden_states", bf16, {tokens, 320}));
  CHECK(layer.require("router_weight", bf16, {8, 320}));
  CHECK(layer.require("router_bias", bf16, {8}));
  CHECK(layer.require("gate_up_proj_blocks", u8, {8, 640, 10, 16}));
  CHECK(layer.require("gate_up_proj_scales", u8, {8, 640, 10}));
  CHECK(layer.require("gate_up_proj_bias", bf16, {8, 640}));
  CHECK(layer.require("down_proj_blocks", u8, {8, 320, 10, 16}));
  CHECK(layer.require("down_proj_scales", u8, {8, 320, 10}));
  CHECK(layer.require("down_proj_bias", bf16, {8, 320}));
  CHECK(layer.require("expected_output", f32, {tokens, 320}));

  // The softmax weights of a token add up to one; its experts differ.
  const auto weights = copy_as<float>(**layer.require("expected_expert_weight", f32, {tokens, 4}));
  const auto experts = copy_as<std::int32_t>(**layer.require("expected_expert_index", i32, {tokens, 4}));
  REQUIRE(weights);
  REQUIRE(experts);
  for (std::size_t t = 0; t < static_cast<std::size_t>(tokens); ++t) {
    const float sum = std::accumulate(weights->begin() + 4 * static_cast<std::ptrdiff_t>(t),
                                      weights->begin() + 4 * static_cast<std::ptrdiff_t>(t + 1), 0.0f);
    CHECK(std::abs(sum - 1.0f) <= 1e-6f);
    for (std::size_t i = 0; i < 4; ++i) {
      CHECK((*experts)[4 * t + i] >= 0);
      CHECK((*experts)[4 * t + i] < 8);
      for (std::size_t j = 0; j < i; ++j) CHECK((*experts)[4 * t + i] != (*experts)[4 * t + j]);
    }
  }
}
