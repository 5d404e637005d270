# SPDX-License-Identifier: MIT
#
# cmake -DPROGRAM=<file> -DSTATUS=<number> -DSAYS=<text>|<text>... -P expect_text.cmake: runs the
# program, shows what it prints, and fails unless it exits with exactly that status and has printed
# all the texts, line breaks and runs of blanks aside. With -DPAGE=<file.md> -DNAME=<name>, a block
# of the page below "<!-- printed by: <name> -->" must stand in what it prints.
execute_process(COMMAND ${PROGRAM} RESULT_VARIABLE status OUTPUT_VARIABLE output
  ERROR_VARIABLE errors)
message(STATUS "${output}${errors}")
if(NOT status STREQUAL STATUS)
  message(FATAL_ERROR "${PROGRAM}: exit status ${status} instead of ${STATUS}")
endif()
string(REGEX REPLACE "[ \n]+" " " printed "${output}${errors}")
string(REPLACE ";" "," printed "${printed}")
string(REPLACE "|" ";" texts "${SAYS}")
foreach(text IN LISTS texts)
  string(FIND "${printed}" "${text}" at)
  if(at LESS 0)
    message(FATAL_ERROR "${PROGRAM}: does not say: ${text}")
  endif()
endforeach()
if(PAGE)
  file(READ ${PAGE} page)
  set(mark "<!-- printed by: ${NAME} -->\n```text\n")
  string(FIND "${page}" "${mark}" at)
  if(at GREATER_EQUAL 0)
    string(LENGTH "${mark}" length)
    math(EXPR at "${at} + ${length}")
    string(SUBSTRING "${page}" ${at} -1 block)
    string(FIND "${block}" "\n```" end)
    string(SUBSTRING "${block}" 0 ${end} block)
    string(FIND "${output}" "${block}" at)
    if(at LESS 0)
      message(FATAL_ERROR "${PAGE}: ${NAME} prints something else")
    endif()
  endif()
endif()
