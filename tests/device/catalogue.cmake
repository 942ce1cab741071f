# Compiles catalogue.cu with -D nvcc=..., -D flags=..., -D arch=90a, and holds what ptxas reports of every kernel
# (-Xptxas -v) to what the plan says: no spills, no stack, no static shared memory (a block's shared memory is asked for
# at the launch, smem_plan's total, and laid out from the plan by static_assert), registers within what the launch bounds
# leave, no warning about serialised wgmma.
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
string(REGEX MATCHALL "Compiling entry function '[^']*matmul_ogs_[^']*'" kernels "${text}")
list(LENGTH kernels count)
if(count LESS least_kernels)
  message(FATAL_ERROR "${count} matmul_ogs kernels, at least ${least_kernels} expected:\n${text}")
endif()
string(REGEX MATCHALL "[0-9]+ bytes stack frame, [0-9]+ bytes spill stores, [0-9]+ bytes spill loads" stacks "${text}")
list(LENGTH stacks reported)
if(reported LESS count)
  message(FATAL_ERROR "ptxas reported on ${reported} functions of ${count}:\n${text}")
endif()
foreach(stack IN LISTS stacks)
  if(NOT stack STREQUAL "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads")
    message(FATAL_ERROR "a kernel uses local memory: ${stack}\n${text}")
  endif()
endforeach()
if(text MATCHES "[1-9][0-9]* bytes smem")
  message(FATAL_ERROR "a kernel has static shared memory beside its plan: ${CMAKE_MATCH_0}\n${text}")
endif()
message(STATUS "sm_${arch}: ${count} kernels, no spills, no stack, no static shared memory")
