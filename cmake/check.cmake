# cmake -P cmake/check.cmake
# Installs what is missing (Debian) or says what is, then builds and tests every configuration that this machine has the
# tools for: clang 14, clang 22 with AddressSanitizer + UBSan, the fuzz targets for a moment, and last g++ with every test;
# warnings are errors everywhere. Ends with ctest's own last lines; any failure makes it fail.
# -D ONLY=host (or another preset, or a list of them) before -P leaves the others out.
include(${CMAKE_CURRENT_LIST_DIR}/setup.cmake)

tilefit_need_for_building()
tilefit_need(HEADER NAME catch2/catch_all.hpp catch2/catch.hpp FOR "the tests" PACKAGE catch2)
tilefit_need(HEADER NAME boost/context/detail/fcontext.hpp FOR "kernels on the CPU" PACKAGE libboost-context-dev OPTIONAL)
tilefit_need(PROGRAM NAME clang++-14 FOR "second compiler" PACKAGE clang-14 OPTIONAL)
tilefit_need(PROGRAM NAME clang++-22 FOR "third compiler, and gfx950 code" PACKAGE clang-22 lld-22 llvm-22 OPTIONAL)
tilefit_need(PROGRAM NAME clang-offload-bundler-22 FOR "joins gfx950 and host code" PACKAGE clang-tools-22 OPTIONAL)
tilefit_need(FILE NAME "usr/lib/llvm-22/lib/clang/22*/lib/*/libclang_rt.fuzzer*" FOR "fuzzing"
  PACKAGE libclang-rt-22-dev OPTIONAL)
tilefit_need(PROGRAM NAME clang-format-14 FOR "the formatting check" PACKAGE clang-format-14 OPTIONAL)
tilefit_need(PROGRAM NAME clang-tidy-14 FOR "static analysis" PACKAGE clang-tidy-14 OPTIONAL)
tilefit_need(PROGRAM NAME doxygen FOR "the reference" PACKAGE doxygen OPTIONAL)
tilefit_need(PROGRAM NAME python3 FOR "the Python example" PACKAGE python3 OPTIONAL)
tilefit_need(FILE NAME opt/rocm/include/hip/hip_runtime.h usr/include/hip/hip_runtime.h FOR "gfx950 code"
  PACKAGE libamdhip64-dev OPTIONAL)
tilefit_install_missing()

if(NOT ONLY)
  set(ONLY host-clang14 sanitize fuzz host)
endif()

function(tilefit_build preset)
  tilefit_step("${preset}: configure" ${CMAKE_COMMAND} --fresh --preset ${preset} --log-level=WARNING ${ARGN})
  tilefit_step("${preset}: build" ${CMAKE_COMMAND} --build --preset ${preset} --parallel ${cores})
endfunction()

function(tilefit_test preset title)
  tilefit_step("${preset}: ${title}" ${CMAKE_CTEST_COMMAND} --preset ${preset} --parallel ${cores}
    --no-label-summary ${ARGN})
endfunction()

find_program(clang14 clang++-14 NO_CACHE)
if(clang14 AND host-clang14 IN_LIST ONLY)
  tilefit_build(host-clang14)
  tilefit_test(host-clang14 "what must not compile" -L compile_fail)
endif()

find_program(clang22 clang++-22 NO_CACHE)
if(sanitize IN_LIST ONLY)
  set(compiler "")
  if(NOT clang22)
    set(compiler -DCMAKE_CXX_COMPILER=c++ -DTILEFIT_WERROR=OFF)
  endif()
  tilefit_build(sanitize ${compiler})
  tilefit_test(sanitize "tests" -L "unit|odr|compile_fail")
endif()

file(GLOB fuzzers ${root}/tests/fuzz/fuzz_*.cpp)
file(GLOB fuzz_runtime /usr/lib/llvm-22/lib/clang/22*/lib/*/libclang_rt.fuzzer*)
if(clang22 AND fuzzers AND fuzz_runtime AND fuzz IN_LIST ONLY)
  tilefit_build(fuzz)
  tilefit_test(fuzz "for a moment")
endif()

if(host IN_LIST ONLY)
  # Compilers for GPUs and the linters become tests here when they are found.
  # tests/device compiles every kernel for every chip, as it is to be; programs that need a GPU are only to compile.
  tilefit_build(host -DTILEFIT_CUDA=ON -DTILEFIT_HIP=ON -DTILEFIT_HIP_ARCHS=gfx942 -DTILEFIT_FAST_COMPILE=ON
    -DTILEFIT_LINT=ON)
  tilefit_print_times()
  tilefit_test(host "every test")
endif()
