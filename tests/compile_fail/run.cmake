# Compiles one case and compares what the compiler says with what the source expects.
cmake_minimum_required(VERSION 3.25)

set(expect "")
set(flags -std=c++20)
file(STRINGS ${source} line REGEX "^#(el)?if CASE == ${number} ")
if(line MATCHES "// flags: (.*)$")
  separate_arguments(more UNIX_COMMAND "${CMAKE_MATCH_1}")
  list(APPEND flags ${more})
  string(REGEX REPLACE " *// flags: .*$" "" line "${line}")
endif()
if(line MATCHES "// expect: (.*)$")
  set(expect "${CMAKE_MATCH_1}")
endif()

execute_process(COMMAND ${compiler} ${flags} -fsyntax-only -I ${include} -DCASE=${number} ${source}
  RESULT_VARIABLE code OUTPUT_VARIABLE said ERROR_VARIABLE said)

if(number EQUAL 0)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "${source} must compile when no case is chosen:\n${said}")
  endif()
elseif(code EQUAL 0)
  message(FATAL_ERROR "${source}, case ${number} compiles and must not")
elseif(NOT said MATCHES "${expect}")
  message(FATAL_ERROR "${source}, case ${number} fails for another reason than '${expect}':\n${said}")
endif()
