# No build system at all: one compiler call, then the program. What was read shows that none of the packages was needed
# that our own programs, the executor or explain.hpp use.
cmake_minimum_required(VERSION 3.25)

foreach(command IN ITEMS "${compiler};-std=c++20;-MD;-MF;${program}.d;-I;${include};${source};-o;${program}" "${program}")
  execute_process(COMMAND ${command} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
file(READ ${program}.d files)
if(NOT files MATCHES "/tilefit/make_opt_flags\\.hpp")
  message(FATAL_ERROR "${program}.d does not name what was included")
endif()
if(files MATCHES "/(fmt|catch2|CLI|nlohmann|boost|hip)/|cuda_runtime")
  message(FATAL_ERROR "the core headers read ${CMAKE_MATCH_0}")
endif()
