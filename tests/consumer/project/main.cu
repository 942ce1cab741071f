#include <tilefit/dtype.hpp>

__global__ void kernel(int* out) { *out = tilefit::bits_of(tilefit::dtype::mxfp4); }

int main() { return 0; }
