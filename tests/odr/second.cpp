#include "all_headers.hpp"

int second_translation_unit();

int second_translation_unit() { return tilefit::bits_of(tilefit::dtype::mxfp4); }
