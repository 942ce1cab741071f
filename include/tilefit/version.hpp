// The one version number of tilefit.
// Knows: the digits.
// Must not know: anything else. CMake reads the three macros below; nothing else in the tree repeats them.
#pragma once

#define TILEFIT_VERSION_MAJOR 0
#define TILEFIT_VERSION_MINOR 1
#define TILEFIT_VERSION_PATCH 0
