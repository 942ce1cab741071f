#include <set>
#include <string>
#include <tilefit/dtype.hpp>
#include <tilefit/launch_args.hpp>
#include <tilefit/launch_status.hpp>
#include <tilefit/status.hpp>

#include "catch.hpp"

using namespace tilefit;

TEST_CASE("every format is found by its name and by nothing else") {
  std::set<std::string> names;
  for (const dtype type : all_dtypes) {
    CHECK(find_dtype(name_of(type)) == type);
    CHECK(bits_of(type) > 0);
    names.emplace(name_of(type));
  }
  CHECK(names.size() == std::size(all_dtypes));
  CHECK(names.count("?") == 0);
  for (const char* name : {"", "?", "FP32", "fp32 ", "mxfp", "int4"}) CHECK_FALSE(find_dtype(name));
  CHECK(name_of(static_cast<dtype>(200)) == "?");
}

TEST_CASE("every status code has a name, and success ends at empty") {
  std::set<std::string> names;
  for (int i = 0; i <= static_cast<int>(status_code::runtime_error); ++i) {
    const auto code = static_cast<status_code>(i);
    names.emplace(name_of(code));
    CHECK(succeeded(code) == (i <= static_cast<int>(status_code::empty)));
  }
  CHECK(names.size() == static_cast<std::size_t>(status_code::runtime_error) + 1);
  CHECK(names.count("?") == 0);
}

TEST_CASE("an error of the GPU's runtime has a code of its own, and its number") {
  CHECK(detail::answer_of_runtime(0).code == status_code::ok);
  CHECK_FALSE(detail::answer_of_runtime(0).reason);
  const cuda::launch_status status = detail::answer_of_runtime(209);
  CHECK(status.code == status_code::runtime_error);
  CHECK(status.native_error == 209);
  CHECK(status.reason.status == status.code);
  CHECK(status.reason.value == 209);
  CHECK_FALSE(succeeded(status.code));
}

TEST_CASE("a launch that finds no device passes the error on, unless there is nothing to do") {
  const selection none = detail::no_choice(detail::answer_of_runtime(100, "error of the HIP runtime"));
  CHECK(none.status == status_code::runtime_error);
  const gpu::launch_status status = detail::answer_without_tile(none);
  CHECK(status.code == status_code::runtime_error);
  CHECK(status.native_error == 100);
  CHECK(status.reason.subject == "error of the HIP runtime");
  selection unfitting;
  unfitting.status = status_code::no_fit;
  CHECK(detail::answer_without_tile(unfitting).native_error == 0);

  CHECK(detail::refuse_call({.m = 0, .n = 32, .k = 32}).status == status_code::empty);
  CHECK(detail::refuse_call({.m = 1, .n = 32, .k = 32}).status == status_code::invalid_argument);
}
