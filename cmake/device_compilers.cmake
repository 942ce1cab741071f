# The compilers for GPUs, for bench and tests alike: tilefit_nvcc where TILEFIT_CUDA is on, tilefit_hip_command (compiler
# and flags, -x hip) where TILEFIT_HIP is; not defined or empty where there is none.
if(TILEFIT_CUDA)
  find_program(tilefit_nvcc nvcc HINTS $ENV{CUDA_HOME}/bin /usr/local/cuda/bin)
  mark_as_advanced(tilefit_nvcc)
endif()

if(TILEFIT_HIP)
  find_program(tilefit_hip_compiler NAMES amdclang++ clang++-22 HINTS /opt/rocm/bin $ENV{ROCM_PATH}/bin)
  find_path(tilefit_hip_include hip/hip_runtime.h HINTS /opt/rocm/include $ENV{ROCM_PATH}/include)
  mark_as_advanced(tilefit_hip_compiler tilefit_hip_include)
  if(tilefit_hip_compiler AND tilefit_hip_include)
    set(tilefit_hip_command ${tilefit_hip_compiler} -std=c++20 -x hip -O3 -Wall -Wextra -Wconversion -Wshadow -Werror
      -I ${PROJECT_SOURCE_DIR}/include)
    if(tilefit_hip_include STREQUAL "/usr/include")
      # Distribution headers come without device libraries: compiler builtins must do.
      list(APPEND tilefit_hip_command --rocm-path=/usr -nogpulib -D__AMDGCN_WAVEFRONT_SIZE=64)
    endif()
  endif()
endif()
