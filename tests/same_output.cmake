# SPDX-License-Identifier: MIT
#
# cmake "-DPROGRAMS=<file>;<file>;..." -P same_output.cmake: runs the programs and fails unless all
# succeed and print the same, at least one line; shows the first line that differs.
set(first "")
foreach(program IN LISTS PROGRAMS)
  execute_process(COMMAND ${program} RESULT_VARIABLE status OUTPUT_VARIABLE output)
  if(NOT status EQUAL 0 OR output STREQUAL "")
    message(FATAL_ERROR "${program}: exit status ${status}, output '${output}'")
  endif()
  if(first STREQUAL "")
    set(first "${output}")
    set(first_program ${program})
  elseif(NOT output STREQUAL first)
    string(REPLACE "\n" ";" expected "${first}")
    string(REPLACE "\n" ";" lines "${output}")
    foreach(one other IN ZIP_LISTS expected lines)
      if(NOT one STREQUAL other)
        message(FATAL_ERROR "${first_program}: ${one}\n${program}: ${other}")
      endif()
    endforeach()
  endif()
endforeach()
