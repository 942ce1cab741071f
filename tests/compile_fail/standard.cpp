// Below C++20 the first thing a user reads is a sentence.
#if CASE == 1  // expect: tilefit needs C\+\+20 // flags: -std=c++17
#endif
#include <tilefit/dtype.hpp>
