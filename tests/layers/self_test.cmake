# Plants one violation at a time into a copy of the headers (-D include=DIR -D scratch=DIR) and expects check.cmake to
# name it. Each plant is "file | text put at its end | what must be said".
cmake_minimum_required(VERSION 3.25)

set(head "// One.\\n// Two.\\n// Three.\\n#pragma once\\n")
set(plants
  "arch.hpp|#include \"opt_flags.hpp\"|arch\\.hpp \\(L0\\) includes opt_flags\\.hpp \\(L2\\)"
  "dtype.hpp|#include <fmt/core.h>|dtype\\.hpp: includes <fmt/core\\.h>"
  "dtype.hpp|#include <tilefit/status.hpp>|includes <tilefit/status\\.hpp>"
  "dtype.hpp|  #  include \"nowhere.hpp\"|nowhere\\.hpp\", which is not a header"
  "detail/math.hpp|#include \"../dtype.hpp\"|math\\.hpp \\(base\\) includes dtype\\.hpp \\(L1\\)"
  "brand_new.hpp|${head}|brand_new\\.hpp: not in the table"
  "weights.hpp|${head}#include \"device/copy.cuh\"|weights\\.hpp: must not include device/copy\\.cuh"
  "device/copy.hpp|${head}#include \"../make_opt_flags.hpp\"|device/copy\\.hpp: must not include make_opt_flags"
  "kernels/loop.cuh|${head}#include \"../make_opt_flags.hpp\"|kernels/loop\\.cuh: must not include make_opt_flags"
  "weights.hpp|${head}#include \"tilefit.hpp\"|weights\\.hpp: must not include tilefit\\.hpp"
  "opt_flags.hpp|#include \"detail/arch_common.hpp\"|a detail of another layer"
  "dtype.hpp|#include \"matmul_problem.hpp\"|in a circle"
  "weights.hpp|#pragma once\\n|does not start with three lines of comment"
  "weights.hpp|// One.\\n// Two.\\n// Three.\\n|no #pragma once"
  "weights.hpp|// L2: one.\\n// Two.\\n// Three.\\n#pragma once\\n|calls itself L2 and is L3"
  "long|400|more than 400")

foreach(plant IN LISTS plants)
  string(REGEX MATCH "^([^|]*)\\|([^|]*)\\|(.*)$" ignored "${plant}")
  set(file ${CMAKE_MATCH_1})
  string(REPLACE "\\n" "\n" text "${CMAKE_MATCH_2}")
  set(expect "${CMAKE_MATCH_3}")

  file(REMOVE_RECURSE ${scratch})
  file(COPY ${include}/tilefit DESTINATION ${scratch})
  # What the plants include must exist, so that only the direction is wrong.
  foreach(target make_opt_flags.hpp tilefit.hpp device/copy.cuh detail/arch_common.hpp)
    if(NOT EXISTS ${scratch}/tilefit/${target})
      file(CONFIGURE OUTPUT ${scratch}/tilefit/${target} CONTENT "// One.\n// Two.\n// Three.\n#pragma once\n" @ONLY)
    endif()
  endforeach()

  if(file STREQUAL "long")
    string(REPEAT "\n" ${text} text)
    set(file dtype.hpp)
  endif()
  if(text MATCHES "^(//|#pragma once)")
    file(REMOVE ${scratch}/tilefit/${file})  # a whole header, not an addition
  endif()
  file(APPEND ${scratch}/tilefit/${file} "${text}\n")

  execute_process(COMMAND ${CMAKE_COMMAND} -D include=${scratch} -P ${CMAKE_CURRENT_LIST_DIR}/check.cmake
    RESULT_VARIABLE code OUTPUT_VARIABLE said ERROR_VARIABLE said)
  if(code EQUAL 0 OR NOT said MATCHES "${expect}")
    message(FATAL_ERROR "planted in ${file}: ${text}\nexpected to read: ${expect}\nbut the check said:\n${said}")
  endif()
endforeach()
file(REMOVE_RECURSE ${scratch})
