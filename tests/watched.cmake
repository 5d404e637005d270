# SPDX-License-Identifier: MIT
#
# Programs that watch themselves, as build/mine does, each with a bug that its report must name.
if(NOT ATTN_HAS_SIMT OR ATTN_SANITIZE OR NOT Python3_FOUND)
  return()
endif()
set(programs mine)
foreach(name out_of_bounds endless)
  add_executable(watched_${name} ${PROJECT_SOURCE_DIR}/common/simt/watch/watch_program.cpp)
  attn_add_cpu_kernel(watched_${name} watched/${name}.cu)
  target_link_libraries(watched_${name} PRIVATE attn_simt)
  set_target_properties(watched_${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/watched)
  list(APPEND programs watched_${name})
endforeach()
# mine.cu after the first edit that the playground asks for.
set(mine ${PROJECT_SOURCE_DIR}/chapters/00_playground/mine.cu)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${mine})
file(READ ${mine} text)
string(REPLACE "if (i >= n) return;" "if (i > n) return;" text "${text}")
set(edited ${CMAKE_CURRENT_BINARY_DIR}/edited/mine.cu)
file(GENERATE OUTPUT ${edited} CONTENT "${text}")
add_executable(edited_mine ${PROJECT_SOURCE_DIR}/common/simt/watch/watch_program.cpp)
attn_add_cpu_kernel(edited_mine ${edited})
target_link_libraries(edited_mine PRIVATE attn_simt)
set_target_properties(edited_mine PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/watched)
list(APPEND programs edited_mine shared_reuse)
# A chapter's own programs with a kernel in them that never ends: the objects of the real ones, and
# the mutant's kernel, which the linker takes before it looks into the chapter's library.
set(mutant mutant_07_v2_loop_order_endless)
set(endless "")
if(TARGET ${mutant})
  set(endless ${CMAKE_CURRENT_BINARY_DIR}/${mutant}/chapters/07_v2_loop_order/step3_exp2.cu)
  add_library(endless_kernel OBJECT)
  attn_add_cpu_kernel(endless_kernel ${endless})
  target_link_libraries(endless_kernel PRIVATE attn_simt)
  add_dependencies(endless_kernel ${mutant})  # one of the two makes the file
  foreach(program ch07_test ch07_demo attn)
    if(NOT TARGET ${program})
      continue()
    endif()
    add_executable(endless_${program} $<TARGET_OBJECTS:${program}> $<TARGET_OBJECTS:endless_kernel>)
    get_target_property(libraries ${program} LINK_LIBRARIES)
    target_link_libraries(endless_${program} PRIVATE ${libraries})
    set_target_properties(endless_${program} PROPERTIES
      RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/watched)
    list(APPEND programs endless_${program})
  endforeach()
endif()
# The bug that notes/limits.md finds.
set(session mutant_07_v2_loop_order_one_maximum_for_all_rows)
if(TARGET ${session})
  set_target_properties(${session} PROPERTIES EXCLUDE_FROM_ALL OFF)
  list(APPEND programs ${session})
endif()
list(TRANSFORM programs REPLACE "(.+)" "$<TARGET_FILE:\\1>")
add_test(NAME watched_test COMMAND Python3::Interpreter
  ${CMAKE_CURRENT_SOURCE_DIR}/watched_test.py ${CMAKE_COMMAND} ${CMAKE_CXX_COMPILER} ${programs})
set_tests_properties(watched_test PROPERTIES LABELS ch00 TIMEOUT 600)
