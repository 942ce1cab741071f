// The C++ behind c.h, in a file of its own as a C program has it.
#define TILEFIT_C_IMPLEMENTATION
#include <tilefit/c.h>
