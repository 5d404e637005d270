# SPDX-License-Identifier: MIT
#
# attn_add_write_tests(<id>)
#
# Tests of a chapter's "write it" exercise: the stub fails at stage 1, the solution gets its gold
# medal, and usual slips get their explanation. A slip is a patch of the solution,
# tests/write_it/<id>/<name>.patch, with lines above "---" that say what it is and
#   Stage: <n>      the stage at which the program must stop
#   Says: <text>    what it must say there; may be repeated
#   Status: 0       where all is right, and only a medal is missed; Stage is one more than there are
#   Hint: <text>    what it must say with --hint; may be repeated, or be missing
#
# The target "all" and ctest have those that tests/write_it/sample.txt names; with ATTN_ALL_TESTS
# they have all. chNN_write_slips builds all of a chapter's.
#
# What a page quotes below "<!-- printed by: slip_... -->", or "chNN_write_untouched", is compared,
# too: the page that has the kernel file's name (puzzles.md), where there is one, or the lesson.
function(attn_find_write_page result id kernel)
  get_filename_component(name ${kernel} NAME_WE)
  set(page ${PROJECT_SOURCE_DIR}/chapters/${id}/${name}.md)
  if(NOT EXISTS ${page})
    set(page ${PROJECT_SOURCE_DIR}/chapters/${id}/README.md)
  endif()
  set(${result} ${page} PARENT_SCOPE)
endfunction()

function(attn_add_text_test name program status says label page)
  add_test(NAME ${name} COMMAND ${CMAKE_COMMAND} "-DPROGRAM=${program}" -DSTATUS=${status}
    "-DSAYS=${says}" -DNAME=${name} "-DPAGE=${page}"
    -P ${PROJECT_SOURCE_DIR}/tests/expect_text.cmake)
  set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT 300
    ENVIRONMENT "ATTN_THIN=0;ATTN_FULL=0")
endfunction()

function(attn_add_write_slip id patch sample)
  string(SUBSTRING ${id} 0 2 number)
  set(ch ch${number})
  get_filename_component(name ${patch} NAME_WE)
  set(target slip_${id}_${name})
  get_target_property(path ${ch}_write ATTN_WRITE_SOLUTION)
  get_filename_component(file ${path} NAME)
  set(slipped ${CMAKE_CURRENT_BINARY_DIR}/${target}/${file})
  file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/${target})
  add_custom_command(OUTPUT ${slipped}
    COMMAND ${ATTN_PATCH} --silent --fuzz=0 --reject-file=- -o ${slipped}
      ${PROJECT_SOURCE_DIR}/${path} ${patch}
    DEPENDS ${PROJECT_SOURCE_DIR}/${path} ${patch} COMMENT "A slip: ${name}" VERBATIM)
  # A slip may leave a variable without use. half_done.patch is compiled as the stub is.
  set(quiet -Wno-unused)
  if(name STREQUAL "half_done")
    set(quiet "")
  endif()
  attn_add_write_program(${target} ${ch} ${slipped} -Wno-error ${quiet})
  set_target_properties(${target} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/mutants)
  add_dependencies(${ch}_write_slips ${target})
  if(NOT ATTN_ALL_TESTS AND NOT "${id}/${name}" IN_LIST sample)
    return()
  endif()
  set_target_properties(${target} PROPERTIES EXCLUDE_FROM_ALL OFF)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${patch})  # read below
  file(STRINGS ${patch} stage REGEX "^Stage: ")
  string(REPLACE "Stage: " "" stage "${stage}")
  file(STRINGS ${patch} texts REGEX "^Says: ")
  list(TRANSFORM texts REPLACE "^Says: " "")
  math(EXPR reached "${stage} - 1")
  list(PREPEND texts "${ch}_write: ${reached} of")
  file(STRINGS ${patch} status REGEX "^Status: ")
  string(REPLACE "Status: " "" status "${status}")
  if(status STREQUAL "")
    set(status 1)
  endif()
  list(JOIN texts "|" says)
  attn_find_write_page(page ${id} ${path})
  attn_add_text_test(${target} $<TARGET_FILE:${target}> ${status} "${says}" ${ch} ${page})
  file(STRINGS ${patch} hints REGEX "^Hint: ")
  if(hints)
    list(TRANSFORM hints REPLACE "^Hint: " "")
    list(JOIN hints "|" hints)
    attn_add_text_test(${target}_hint "$<TARGET_FILE:${target}>;--hint" 0 "${hints}" ${ch} "")
  endif()
endfunction()

function(attn_add_write_tests id)
  string(SUBSTRING ${id} 0 2 number)
  set(ch ch${number})
  if(NOT TARGET ${ch}_write)
    return()
  endif()
  add_custom_target(${ch}_write_its ALL DEPENDS ${ch}_write ${ch}_write_solution)
  get_target_property(path ${ch}_write ATTN_WRITE_SOLUTION)
  attn_find_write_page(page ${id} ${path})
  attn_add_text_test(${ch}_write_untouched $<TARGET_FILE:${ch}_write> 1
    "WRONG|${ch}_write: 0 of" exercises_${number} ${page})
  set(medal "medal: gold")
  if(ATTN_SANITIZE)  # untraced kernels count nothing, and no count is too high
    set(medal "Right in all")
  endif()
  set(says "of a thin part of the case table, --full runs the whole|${medal}")
  get_filename_component(name ${path} NAME_WE)
  file(STRINGS ${PROJECT_SOURCE_DIR}/chapters/${id}/exercises/${name}_check.cpp battery
    REGEX "check_battery")
  if(NOT battery)  # kernels that are no attention: no table, no medal
    set(says "stages reached")
  endif()
  attn_add_text_test(${ch}_write_solved $<TARGET_FILE:${ch}_write_solution> 0 "${says}"
    exercises_${number} "")
  attn_add_text_test(${ch}_write_full "$<TARGET_FILE:${ch}_write_solution>;1;--full" 0 "right"
    exercises_${number} "")
  if(ATTN_ALL_TESTS AND number STREQUAL "03")  # the quickest; --full is the same in all
    attn_add_text_test(${ch}_write_solved_full "$<TARGET_FILE:${ch}_write_solution>;--full" 0
      "cases. ${medal}" exercises_${number} "")
  endif()
  attn_add_text_test(${ch}_write_hint "$<TARGET_FILE:${ch}_write>;--hint" 0 "Hint for stage 1"
    exercises_${number} "")
  attn_add_text_test(${ch}_write_hint_of "$<TARGET_FILE:${ch}_write>;2;--hint" 0 "Hint for stage 2"
    exercises_${number} "")
  attn_add_text_test(${ch}_write_refuses "$<TARGET_FILE:${ch}_write>;99" 2
    "${ch}_write: 99: allowed are a stage from 1 to" exercises_${number} "")
  attn_add_text_test(${ch}_write_refuses_both "$<TARGET_FILE:${ch}_write>;--hint;--full" 2
    "${ch}_write: --hint: allowed are a stage from 1 to" exercises_${number} "")
  if(NOT ATTN_PATCH OR ATTN_SANITIZE)  # a sanitizer would stop some slips before the detectors do
    return()
  endif()
  add_custom_target(${ch}_write_slips)
  set(list ${PROJECT_SOURCE_DIR}/tests/write_it/sample.txt)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${list})
  file(STRINGS ${list} sample REGEX "^[^#]")
  file(GLOB patches CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/write_it/${id}/*.patch)
  foreach(patch IN LISTS patches)
    attn_add_write_slip(${id} ${patch} "${sample}")
  endforeach()
endfunction()
