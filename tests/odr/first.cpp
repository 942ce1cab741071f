#include "all_headers.hpp"

int second_translation_unit();

int main() { return second_translation_unit() == tilefit::bits_of(tilefit::dtype::mxfp4) ? 0 : 1; }
