// The one file of a C program that is C++: the library behind c.h. Compiled by nvcc or a HIP compiler instead, the same
// calls compute on a GPU. As a shared library it is what examples/python loads.
#define TILEFIT_C_IMPLEMENTATION
#include <tilefit/c.h>
