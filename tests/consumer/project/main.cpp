#include <tilefit/dtype.hpp>

int main() { return tilefit::find_dtype("mxfp4") == tilefit::dtype::mxfp4 ? 0 : 1; }
