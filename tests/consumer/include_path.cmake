# No build system at all: one compiler call, then the program.
cmake_minimum_required(VERSION 3.25)

foreach(command IN ITEMS "${compiler};-std=c++20;-I;${include};${source};-o;${program}" "${program}")
  execute_process(COMMAND ${command} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
