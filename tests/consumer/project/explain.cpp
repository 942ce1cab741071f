#include <fmt/core.h>
#include <tilefit/dtype.hpp>
#if __has_include(<tilefit/explain.hpp>)
#include <tilefit/explain.hpp>
#endif

int main() { fmt::print("{}\n", tilefit::name_of(tilefit::dtype::mxfp4)); }
