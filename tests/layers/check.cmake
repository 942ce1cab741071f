# Reads the headers under -D include=DIR and holds them to the layers of the design:
#   * every header is in the table below, and includes only headers of its own layer or of lower ones, without a cycle
#   * detail/ headers are included by their own layer only (the base is for everybody)
#   * L0-L3 never include a .cuh, and nothing includes the umbrella
#   * beside our own headers only the standard library is included, with the exceptions named below
#   * `#pragma once`, at least three lines of comment first, at most 400 lines
# Prints every violation; fails when there is one.
cmake_minimum_required(VERSION 3.25)

# --- the table: layer, then regular expressions of paths relative to include/tilefit ---------------------------------
set(layers base L0 L1 L2 L3 L4 L5 L6)
set(base version.hpp detail/config.hpp detail/math.hpp detail/bits.hpp)
set(L0 status.hpp arch.hpp arch_table.hpp arch_lookup.hpp device_report.hpp detail/arch_common.hpp)
set(L1 dtype.hpp float_formats.hpp fp4_widening.hpp mxfp4.hpp matmul_problem.hpp)
set(L2 opt_flags.hpp smem_plan.hpp math_path.hpp cost_model.hpp)
set(L3 kernel_policy.hpp ogs_policy.hpp triton_ogs_policy.hpp tuned.hpp detail/search.hpp detail/validate.hpp make_opt_flags.hpp
  detail/explain_words.hpp detail/explain_neighbours.hpp explain.hpp
  constraints.hpp constraint_rules.hpp constraint_text.hpp
  matmul_args.hpp quantise_args.hpp launch_status.hpp routing.hpp weight_layout.hpp weights.hpp dispatch.hpp tilefit.hpp)
set(L4 device/.*)
set(L5 kernels/.*)
set(L6 runtime.cuh compiled_kernels.cuh launch.cuh launch_args.hpp launch_steps.cuh moe_hidden.hpp moe_mlp.cuh moe_plan.hpp
  quantise_rows.cuh hip/.* host/.* c/.* c.h)

# Pairs "layer including -> layer included" that the order of the layers does not express.
set(forbidden
  "^L4 .* -> L3 .*"
  "^L5 .* -> .* (make_opt_flags|constraint.*|explain|dispatch)\\.hpp$"  # kernels see flags and plans, not the engine
  ".* -> L3 tilefit\\.hpp$"
  "^(base|L[0-3]) .* -> .*\\.cuh$")

# <...> includes: the standard library has no dots in its names.
set(standard "^[a-z_0-9]+$")
set(exceptions
  "^(explain|detail/explain_[a-z]+)\\.hpp <fmt/.*>$"
  "^c/types\\.h <std(int|def|bool)\\.h>$"
  "^c/(door|structs)\\.hpp <fmt/.*>$"
  "^(device|kernels|host)/.* <(immintrin|arm_neon)\\.h>$"
  "^device/simt/fiber\\.hpp <boost/context/.*>$"
  "^(device/cuda/.*|.*\\.cuh) <cuda[a-z0-9_]*\\.(h|hpp)>$"
  "^(device/hip/.*|.*\\.cuh) <hip/.*>$")

# --- the check ------------------------------------------------------------------------------------------------------
set(problems 0)
function(problem)
  string(JOIN "" text ${ARGN})
  message(NOTICE "${text}")
  math(EXPR count "${problems} + 1")
  set(problems ${count} PARENT_SCOPE)
endfunction()

function(layer_of header out)
  set(number -1)
  set(index 0)
  foreach(layer IN LISTS layers)
    foreach(pattern IN LISTS ${layer})
      string(REPLACE ".hpp" "\\.hpp" pattern ${pattern})
      if(header MATCHES "^${pattern}$")
        set(number ${index})
      endif()
    endforeach()
    math(EXPR index "${index} + 1")
  endforeach()
  set(${out} ${number} PARENT_SCOPE)
endfunction()

cmake_path(ABSOLUTE_PATH include NORMALIZE OUTPUT_VARIABLE include)
set(root ${include}/tilefit)
file(GLOB_RECURSE headers RELATIVE ${root} ${root}/*)
if(NOT headers)
  problem("${root}: no headers here")
endif()

foreach(header IN LISTS headers)
  layer_of(${header} layer)
  file(READ ${root}/${header} text)
  if(layer EQUAL -1)
    problem("${header}: not in the table of tests/layers/check.cmake")
  elseif(text MATCHES "^// (L[0-9])[:,]")
    list(GET layers ${layer} name)
    if(NOT name STREQUAL CMAKE_MATCH_1)
      problem("${header}: calls itself ${CMAKE_MATCH_1} and is ${name} in the table of tests/layers/check.cmake")
    endif()
  endif()

  string(REGEX REPLACE "[^\n]" "" newlines "${text}")
  string(LENGTH "${newlines}" lines)
  if(lines GREATER 400)
    problem("${header}: ${lines} lines, more than 400")
  endif()
  if(NOT text MATCHES "^(//[^\n]*\n//[^\n]*\n//|/\\*[^\n]*\n[^\n]*\n)")
    problem("${header}: does not start with three lines of comment")
  endif()
  if(header MATCHES "\\.h$")
    if(NOT text MATCHES "\n#ifndef TILEFIT_|\n#pragma once")
      problem("${header}: no include guard")
    endif()
  elseif(NOT text MATCHES "\n#pragma once\n")
    problem("${header}: no #pragma once")
  endif()

  set(own_${header} "")
  file(STRINGS ${root}/${header} includes REGEX "^[ \t]*#[ \t]*include")
  cmake_path(GET header PARENT_PATH folder)
  foreach(line IN LISTS includes)
    if(line MATCHES "<([^>]+)>")
      set(name ${CMAKE_MATCH_1})
      set(allowed FALSE)
      foreach(pattern IN LISTS exceptions)
        if("${header} <${name}>" MATCHES "${pattern}")
          set(allowed TRUE)
        endif()
      endforeach()
      if(NOT name MATCHES "${standard}" AND NOT allowed)
        problem("${header}: includes <${name}>, which is not the standard library")
      endif()
      continue()
    elseif(NOT line MATCHES "\"([^\"]+)\"")
      problem("${header}: cannot read '${line}'")
      continue()
    endif()

    set(written ${CMAKE_MATCH_1})
    set(included ${folder}/${written})
    string(REGEX REPLACE "^/" "" included ${included})
    cmake_path(NORMAL_PATH included)
    if(NOT included IN_LIST headers)
      problem("${header}: includes \"${written}\", which is not a header of the library")
      continue()
    endif()
    list(APPEND own_${header} ${included})

    layer_of(${included} lower)
    if(layer EQUAL -1 OR lower EQUAL -1)
      continue()  # said already
    endif()
    list(GET layers ${layer} from)
    list(GET layers ${lower} to)
    if(lower GREATER layer)
      problem("${header} (${from}) includes ${included} (${to}): dependencies point down only")
    endif()
    if(included MATCHES "(^|/)detail/" AND lower GREATER 0 AND NOT lower EQUAL layer)
      problem("${header}: includes ${included}, a detail of another layer")
    endif()
    foreach(pattern IN LISTS forbidden)
      if("${from} ${header} -> ${to} ${included}" MATCHES "${pattern}")
        problem("${header}: must not include ${included}")
      endif()
    endforeach()
  endforeach()
endforeach()

# Take away headers whose own includes are gone already; what stays is in a cycle or above one.
set(left ${headers})
set(before 0)
list(LENGTH left now)
while(NOT now EQUAL before)
  set(before ${now})
  foreach(header IN LISTS left)
    set(waiting FALSE)
    foreach(included IN LISTS own_${header})
      if(included IN_LIST left)
        set(waiting TRUE)
      endif()
    endforeach()
    if(NOT waiting)
      list(REMOVE_ITEM left ${header})
    endif()
  endforeach()
  list(LENGTH left now)
endwhile()
if(left)
  problem("headers include each other in a circle, or include such headers: ${left}")
endif()

if(problems GREATER 0)
  message(FATAL_ERROR "${problems} violation(s) of the layers in ${root}")
endif()
