# The compilers for GPUs, for bench, tests and examples alike. tilefit_nvcc and tilefit_hip_command (compiler and flags,
# -x hip) where TILEFIT_CUDA and TILEFIT_HIP are on and a compiler is found, else not defined or empty; tilefit_nvcc_program
# and tilefit_hip_program are what programs are compiled with, for the architectures chosen here.
option(TILEFIT_FAST_COMPILE "Compile the programs for GPUs in less time, for slow kernels: where no GPU runs them" OFF)
set(nvcc_optimises -O3)
set(hip_optimises -O3)
if(TILEFIT_FAST_COMPILE)
  set(nvcc_optimises -Ofc=max)
  set(hip_optimises -O1)
endif()

if(TILEFIT_CUDA)
  find_program(tilefit_nvcc nvcc HINTS $ENV{CUDA_HOME}/bin /usr/local/cuda/bin)
  mark_as_advanced(tilefit_nvcc)
  set(TILEFIT_GPU_ARCH 90a CACHE STRING "NVIDIA architecture that the programs for GPUs are compiled for")
  set(tilefit_nvcc_program ${tilefit_nvcc} -std=c++20 -ccbin ${CMAKE_CXX_COMPILER} -Werror all-warnings
    -Xcompiler=-Wall,-Wextra,-Wconversion,-Wshadow,-Wno-restrict -I ${PROJECT_SOURCE_DIR}/include
    -gencode arch=compute_${TILEFIT_GPU_ARCH},code=sm_${TILEFIT_GPU_ARCH} ${nvcc_optimises})
endif()

if(TILEFIT_HIP)
  find_program(tilefit_hip_compiler NAMES amdclang++ clang++-22 HINTS /opt/rocm/bin $ENV{ROCM_PATH}/bin)
  find_path(tilefit_hip_include hip/hip_runtime.h HINTS /opt/rocm/include $ENV{ROCM_PATH}/include)
  mark_as_advanced(tilefit_hip_compiler tilefit_hip_include)
  if(tilefit_hip_compiler AND tilefit_hip_include)
    set(TILEFIT_HIP_ARCHS gfx950 gfx942 CACHE STRING "AMD architectures that the programs for GPUs are compiled for")
    list(TRANSFORM TILEFIT_HIP_ARCHS PREPEND --offload-arch= OUTPUT_VARIABLE hip_archs)
    set(tilefit_hip_command ${tilefit_hip_compiler} -std=c++20 -x hip -O3 -Wall -Wextra -Wconversion -Wshadow -Werror
      -I ${PROJECT_SOURCE_DIR}/include)
    if(tilefit_hip_include STREQUAL "/usr/include")
      # Distribution headers come without device libraries: compiler builtins must do.
      list(APPEND tilefit_hip_command --rocm-path=/usr -nogpulib -D__AMDGCN_WAVEFRONT_SIZE=64)
    endif()
    set(tilefit_hip_program ${tilefit_hip_command} ${hip_archs} ${hip_optimises})
  endif()
endif()
