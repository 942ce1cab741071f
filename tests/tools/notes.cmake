# -D program, report, notes: what `static --show REPORT` prints stands in the notes, letter by letter.
cmake_minimum_required(VERSION 3.25)
execute_process(COMMAND ${program} static --show ${report} OUTPUT_VARIABLE text COMMAND_ERROR_IS_FATAL ANY)
file(READ ${notes} contents)
string(FIND "${contents}" "${text}" place)
if(place EQUAL -1)
  message(FATAL_ERROR "${notes} does not have the output of `static --show ${report}`:\n${text}")
endif()
