# Compiles catalogue.cu with -D nvcc=..., -D flags=..., -D arch=90a, and holds what ptxas reports (-Xptxas -v) of each
# of the -D count=... kernels whose names have -D kernels=... to what the plan says: no spills, no stack, no static shared
# memory (a block's shared memory is asked for at the launch, smem_plan's total, and laid out from the plan by
# static_assert), registers within what the launch bounds leave, no warning about serialised wgmma. A kernel that was
# left out of this architecture has a few registers and does not count.
# With -D nvdisasm=... (optional): no cp.async with a uniform register in its shared address beside the descriptor of
# its global one, which ptxas 13.0 makes for sm_90 and sm_120 and the hardware refuses as an illegal instruction.
cmake_minimum_required(VERSION 3.25)

execute_process(COMMAND ${nvcc} ${flags} -gencode arch=compute_${arch},code=sm_${arch} -Xptxas -v -cubin
    -o ${output} ${source}
  RESULT_VARIABLE code OUTPUT_VARIABLE text ERROR_VARIABLE text)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "${text}")
endif()
if(text MATCHES "C75[0-9][0-9][^\n]*")
  message(FATAL_ERROR "${CMAKE_MATCH_0}")
endif()
# What follows the name of an entry function up to the next one is about it.
string(REPLACE ";" " " text "${text}")
string(REPLACE "Compiling entry function '" ";" reports "${text}")
set(found 0)
foreach(report IN LISTS reports)
  if(NOT report MATCHES "^[^']*${kernels}[^']*'")
    continue()
  endif()
  if(NOT report MATCHES "Used ([0-9]+) registers")
    message(FATAL_ERROR "ptxas says nothing about a kernel:\n${report}")
  endif()
  if(CMAKE_MATCH_1 LESS 16)
    continue()
  endif()
  math(EXPR found "${found} + 1")
  if(NOT report MATCHES " 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads")
    message(FATAL_ERROR "a kernel uses local memory:\n${report}")
  endif()
  if(report MATCHES "[1-9][0-9]* bytes smem")
    message(FATAL_ERROR "a kernel has static shared memory beside its plan:\n${report}")
  endif()
endforeach()
if(NOT found EQUAL count)
  message(FATAL_ERROR "${found} kernels ${kernels}, ${count} expected:\n${text}")
endif()
if(nvdisasm)
  execute_process(COMMAND ${nvdisasm} -c ${output} OUTPUT_FILE ${output}.sass ERROR_VARIABLE text RESULT_VARIABLE code)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "${text}")
  endif()
  file(STRINGS ${output}.sass copies REGEX "LDGSTS")
  file(STRINGS ${output}.sass refused REGEX "LDGSTS[^;]*\\+UR[^;]*desc")
  if(refused OR NOT copies)
    list(LENGTH copies copies)
    list(JOIN refused "\n" refused)
    message(FATAL_ERROR "of ${copies} asynchronous copies these do not exist:\n${refused}")
  endif()
endif()
message(STATUS "sm_${arch}: ${found} kernels ${kernels}, no spills, no stack, no static shared memory")
