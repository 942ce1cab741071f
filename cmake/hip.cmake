# How HIP sources are compiled here: tilefit_hip_command, with ROCm's compiler, or with clang 22 and the HIP headers of a
# distribution; empty where there is neither. enable_language(HIP) does not work without ROCm.
find_program(tilefit_hip_compiler NAMES amdclang++ clang++-22 HINTS /opt/rocm/bin $ENV{ROCM_PATH}/bin)
find_path(tilefit_hip_include hip/hip_runtime.h HINTS /opt/rocm/include $ENV{ROCM_PATH}/include)
mark_as_advanced(tilefit_hip_compiler tilefit_hip_include)
set(tilefit_hip_command "")
if(tilefit_hip_compiler AND tilefit_hip_include)
  set(tilefit_hip_command ${tilefit_hip_compiler} -std=c++20 -O3 -Wall -Wextra -Wconversion -Wshadow -Werror)
  if(tilefit_hip_include STREQUAL "/usr/include")
    # Distribution headers come without device libraries: compiler builtins must do.
    list(APPEND tilefit_hip_command --rocm-path=/usr -nogpulib -D__AMDGCN_WAVEFRONT_SIZE=64)
  endif()
else()
  message(NOTICE "tilefit: no ROCm, and not both clang++-22 and the HIP headers (libamdhip64-dev): "
    "what is for AMD GPUs is left out")
endif()
