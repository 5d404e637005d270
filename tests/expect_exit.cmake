# SPDX-License-Identifier: MIT
#
# cmake -DPROGRAM=<file> -DSTATUS=<number> -P expect_exit.cmake: runs the program, shows what it
# prints, and fails unless it exits with exactly that status. A crash has no status.
execute_process(COMMAND ${PROGRAM} RESULT_VARIABLE status)
if(NOT status STREQUAL STATUS)
  message(FATAL_ERROR "${PROGRAM}: exit status ${status} instead of ${STATUS}")
endif()
