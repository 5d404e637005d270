# SPDX-License-Identifier: MIT
#
# Programs that watch themselves, as build/mine does, each with a bug that its report must name.
if(NOT ATTN_HAS_SIMT OR ATTN_SANITIZE OR NOT Python3_FOUND)
  return()
endif()
set(programs mine)
foreach(name out_of_bounds endless)
  add_executable(watched_${name} ${PROJECT_SOURCE_DIR}/common/simt/watch_program.cpp)
  attn_add_cpu_kernel(watched_${name} watched/${name}.cu)
  target_link_libraries(watched_${name} PRIVATE attn_simt)
  set_target_properties(watched_${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/watched)
  list(APPEND programs watched_${name})
endforeach()
list(TRANSFORM programs REPLACE "(.+)" "$<TARGET_FILE:\\1>")
add_test(NAME watched_test COMMAND Python3::Interpreter
  ${CMAKE_CURRENT_SOURCE_DIR}/watched_test.py ${CMAKE_COMMAND} ${CMAKE_CXX_COMPILER} ${programs})
set_tests_properties(watched_test PROPERTIES LABELS ch00 TIMEOUT 600)
