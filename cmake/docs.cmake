# cmake -P cmake/docs.cmake
# The reference of the public symbols, from their /// comments: build/docs/html/index.html. Needs Doxygen. Fails when a
# comment is wrong, or a type or function of the library has none (members whose name says it all may go without).
# -D output=... before -P: another folder.
cmake_minimum_required(VERSION 3.25)
cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH root)
if(NOT output)
  set(output ${root}/build/docs)
endif()
find_program(doxygen doxygen)
if(NOT doxygen)
  message(FATAL_ERROR "no doxygen on the PATH (Debian: apt-get install doxygen)")
endif()
file(STRINGS ${root}/include/tilefit/version.hpp digits REGEX "#define TILEFIT_VERSION_(MAJOR|MINOR|PATCH) [0-9]+")
list(TRANSFORM digits REPLACE ".* " "")
list(JOIN digits "." version)

file(MAKE_DIRECTORY ${output})
# The filter spells out what Doxygen does not know: that v0 is an inline namespace.
file(WRITE ${output}/Doxyfile "
PROJECT_NAME = tilefit
PROJECT_NUMBER = ${version}
PROJECT_BRIEF = \"Tiles and kernels for MXFP4 outer gather/scatter matmuls\"
INPUT = \"${root}/README.md\" \"${root}/bench/results\" \"${root}/include\"
USE_MDFILE_AS_MAINPAGE = \"${root}/README.md\"
RECURSIVE = YES
FILE_PATTERNS = *.hpp *.cuh *.h *.md
EXTENSION_MAPPING = cuh=C++ h=C
EXCLUDE_PATTERNS = */detail/* */device/* */kernels/hopper* */kernels/mfma* */kernels/matmul_ogs* */host/kernel* */c/*.hpp */c/*.cuh
EXCLUDE_SYMBOLS = *detail::* *::detail tilefit::kernels* *portable_kernels* *avx*_kernels*
INPUT_FILTER = \"sed 's/namespace tilefit::inline v0/namespace tilefit/'\"
PREDEFINED = TILEFIT_HD= TILEFIT_ALWAYS_INLINE=inline __device__= __host__= __global__= __launch_bounds__(x)=
MACRO_EXPANSION = YES
EXPAND_ONLY_PREDEF = YES
STRIP_FROM_PATH = \"${root}/include\"
JAVADOC_AUTOBRIEF = YES
OUTPUT_DIRECTORY = \"${output}\"
GENERATE_LATEX = NO
HAVE_DOT = NO
CLASS_GRAPH = NO
QUIET = YES
WARN_LOGFILE = \"${output}/warnings\"
")
execute_process(COMMAND ${doxygen} ${output}/Doxyfile RESULT_VARIABLE code)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "doxygen failed")
endif()
file(STRINGS ${output}/warnings warnings)
list(FILTER warnings EXCLUDE REGEX "\\((variable|enumvalue|friend)\\) of .* is not documented")
list(LENGTH warnings count)
if(count GREATER 0)
  list(JOIN warnings "\n" text)
  message(FATAL_ERROR "${text}\n${count} warnings")
endif()
message(STATUS "${output}/html/index.html")
