// Catch2 under one name: version 2 (Debian 12) and version 3 keep their headers in different places.
// Knows: which of them is installed. Must not know: anything about tilefit.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif
