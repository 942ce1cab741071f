// The test of ../quantise_test.cpp in waves of 64 lanes.
#include "../quantise_test.cpp"
