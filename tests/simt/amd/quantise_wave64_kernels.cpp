// The kernels of ../quantise_kernels.cpp in waves of 64 lanes.
#include "../quantise_kernels.cpp"
