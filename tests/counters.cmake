# SPDX-License-Identifier: MIT
#
# What the tracer counts must not depend on how g++ optimised the kernels, and must agree with what
# nvcc makes of them. dump_counters_O0 and _O1 run the same launches with kernels compiled at these
# levels and print their counters. The libraries' own kernels are compiled at -O1.
function(attn_add_dump_counters level)
  set(target dump_counters_${level})
  list(TRANSFORM ATTN_KERNEL_OPTIONS REPLACE "^-O1$" "-${level}")
  add_executable(${target} $<TARGET_OBJECTS:dump_counters_main> $<TARGET_OBJECTS:scenarios>)
  attn_add_cpu_kernel(${target} simt/tracer_kernels.cpp)
  set(others ${ATTN_CHAPTERS})
  # The reader's, whose mine.cu has a main() of its own. And 13's, as yet: its structs in shared
  # memory are read and written whole or by fields as g++ likes, so that -O0 and -O1 differ by up to
  # 5 % in the bytes stored there and 1 % in those loaded.
  list(REMOVE_ITEM others 00_playground 13_packed)
  if(level STREQUAL "O1")
    set(others "")
  endif()
  foreach(id IN LISTS others)
    file(GLOB kernels CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/chapters/${id}/*.cu)
    if(kernels)
      # The linker takes these before it looks into the chapter's library.
      add_library(${target}_${id} OBJECT)
      target_link_libraries(${target}_${id} PRIVATE attn_simt)
      foreach(kernel IN LISTS kernels)
        attn_add_cpu_kernel(${target}_${id} ${kernel})
      endforeach()
      target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_${id}>)
    endif()
  endforeach()
  target_link_libraries(${target} PRIVATE attn_chapters attn_simt)
  set_target_properties(${target} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/counters)
endfunction()

function(attn_add_counter_tests)
  add_library(dump_counters_main OBJECT simt/dump_counters.cpp)
  target_link_libraries(dump_counters_main PRIVATE attn_chapters attn_simt)
  foreach(level IN ITEMS O0 O1)
    attn_add_dump_counters(${level})
    list(APPEND programs $<TARGET_FILE:dump_counters_${level}>)
  endforeach()
  add_test(NAME counters_equal COMMAND ${CMAKE_COMMAND} "-DPROGRAMS=${programs}"
    -P ${CMAKE_CURRENT_SOURCE_DIR}/same_output.cmake)
  set_tests_properties(counters_equal PROPERTIES LABELS tracer TIMEOUT 600 COST 70)

  find_package(Python3 QUIET COMPONENTS Interpreter)
  if(Python3_FOUND)
    set(nvcc "")
    if(ATTN_CUDA_FOUND)
      set(nvcc --nvcc ${CMAKE_CUDA_COMPILER})
    endif()
    add_test(NAME access_widths COMMAND Python3::Interpreter
      ${CMAKE_CURRENT_SOURCE_DIR}/access_widths.py $<TARGET_FILE:dump_counters_O1> ${nvcc})
    set_tests_properties(access_widths PROPERTIES LABELS tracer TIMEOUT 600 COST 40
      SKIP_RETURN_CODE 77)
  endif()
endfunction()
