# SPDX-License-Identifier: MIT
#
# attn_add_chapter(<id>                     for example 02_naive_gpu
#   [CPP <file>...]                         plain C++ sources
#   [KERNELS <file.cu>...]                  kernels: for the CPU machine by g++, for a GPU by nvcc
#   [ARCHITECTURES <name>...]               nvcc's, where not all: 90a-real for wgmma and TMA
#   [TWIN <file>...]                        the same algorithm as plain C++ loops: real CPU times
#   [EXERCISE <file>]                       exercises/<file>, solved in exercises/solution/<file>;
#                                           checked by the battery, or by <file>_check.cpp
#   [WRITE <file.cu>])                      the same for a kernel to be written from nothing, its
#                                           stages in exercises/<file>_check.cpp
#
# Makes, for chapter 02:
#   ch02           the chapter's library                       ch02_cuda       the same by nvcc
#   ch02_demo      runs it once and shows the result           ch02_demo_cuda
#   ch02_test      its tests; ctest -L ch02                    ch02_test_cuda
#   ch02_exercise  checks what you wrote in exercises/
#   ch02_write     the same, stage by stage, for the kernel written from nothing
# tests/CMakeLists.txt adds ch02_test, and attn_add_mutants() ch02_hunt and mutant_*, broken copies
# of the kernels (tests/mutants/<id>/*.patch).

# The tracer's hooks sit where g++ would call ThreadSanitizer: every memory access of a kernel that
# is not a register. The other flags keep one access in the source one access in the program.
# DWARF 4: addr2line 2.40 mixes up the files of a wrapper (below) in DWARF 5.
# -fsanitize-coverage=trace-pc: a call at the start of each piece of straight-line code, which the
# sanitizers leave alone, so that a kernel that never ends is stopped in their builds, too.
set(ATTN_KERNEL_OPTIONS -gdwarf-4 -O1 -Wno-tsan -fsanitize-coverage=trace-pc)
if(NOT ATTN_SANITIZE)
  list(APPEND ATTN_KERNEL_OPTIONS -fno-tree-sra -fno-tree-sink -fno-thread-jumps
    -fno-reorder-blocks -fsanitize=thread --param tsan-instrument-func-entry-exit=0)
endif()

# Adds a kernel file to a target as C++ for the CPU machine. (CMake keeps one language per file and
# folder, so the .cu itself is nvcc's, and g++ compiles a one-line file that includes it.)
function(attn_add_cpu_kernel target kernel)  # ARGN: options for this file alone
  get_filename_component(name ${kernel} NAME_WE)
  cmake_path(ABSOLUTE_PATH kernel OUTPUT_VARIABLE path)
  # Not in <target>/: a program may be called so.
  set(wrapper ${CMAKE_CURRENT_BINARY_DIR}/${target}.kernels/${name}.cpu.cpp)
  set(script ${PROJECT_SOURCE_DIR}/common/cmake/wrap_kernel.cmake)
  add_custom_command(OUTPUT ${wrapper}
    COMMAND ${CMAKE_COMMAND} -DKERNEL=${path} -DWRAPPER=${wrapper} -P ${script}
    DEPENDS ${path} ${script} COMMENT "Wrapping ${name}.cu for g++" VERBATIM)
  # Half of what a chapter's kernel takes to compile is CUDA's names: compiled once, for all.
  set(header "")
  if(TARGET attn_kernel_header AND path MATCHES "/chapters/[^/]+/"
      AND "-O1" IN_LIST ATTN_KERNEL_OPTIONS)
    add_dependencies(${target} attn_kernel_header)
    get_target_property(folder attn_kernel_header BINARY_DIR)
    set(header -include ${folder}/CMakeFiles/attn_kernel_header.dir/cmake_pch.hxx)
  endif()
  set_source_files_properties(${wrapper} PROPERTIES
    COMPILE_OPTIONS "${ATTN_KERNEL_OPTIONS};${header};${ARGN}" SKIP_PRECOMPILE_HEADERS ON)
  target_sources(${target} PRIVATE ${wrapper})
endfunction()

# A program of the reader's own: one .cu with a main(), run on the CPU machine, its kernels watched
# and its launches printed at its end; and, where nvcc is found, <name>-cuda for a GPU.
function(attn_add_watched_program name source)
  if(ATTN_HAS_SIMT)
    add_executable(${name} ${PROJECT_SOURCE_DIR}/common/simt/watch/watch_program.cpp)
    attn_add_cpu_kernel(${name} ${source})
    target_link_libraries(${name} PRIVATE attn_simt)
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  endif()
  if(ATTN_CUDA_FOUND)
    add_executable(${name}-cuda ${source})
    target_link_libraries(${name}-cuda PRIVATE attn_device_cuda)
    set_target_properties(${name}-cuda PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  endif()
endfunction()

# A program that checks one Chapter record and exits with 1 if it is wrong.
function(attn_add_checker target record)
  if(NOT TARGET ${record}_check_main)  # compiled once per record
    add_library(${record}_check_main OBJECT EXCLUDE_FROM_ALL
      ${PROJECT_SOURCE_DIR}/common/verify/check_main.cpp)
    target_compile_definitions(${record}_check_main PRIVATE ATTN_CHAPTER=${record})
    target_link_libraries(${record}_check_main PRIVATE attn_common)
    target_precompile_headers(${record}_check_main REUSE_FROM attn_common)
  endif()
  add_executable(${target} EXCLUDE_FROM_ALL $<TARGET_OBJECTS:${record}_check_main>)
endfunction()

# A twin is the one kind of file whose CPU time is a result: compiled for this very processor, with
# OpenMP where there is one. (A wheel of the Python package holds one library for each kind.)
find_package(OpenMP QUIET COMPONENTS CXX)
set(ATTN_TWIN_ARCH native CACHE STRING "Processor of the twins: a value of -march; empty: any")
function(attn_add_twin target)
  target_sources(${target} PRIVATE ${ARGN})
  set(arch "")
  if(ATTN_TWIN_ARCH)
    set(arch -march=${ATTN_TWIN_ARCH})
  endif()
  # g++ for aarch64 would put a register tile's loads first, and then have too few registers.
  set(order $<$<CXX_COMPILER_ID:GNU>:-fno-schedule-insns>)
  set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS
    "-O3;-fno-math-errno;-ffp-contract=fast;${arch};${order};${OpenMP_CXX_FLAGS}")
  if(OpenMP_CXX_FOUND)
    target_link_libraries(${target} PRIVATE OpenMP::OpenMP_CXX)
  endif()
endfunction()

# The program that goes through the stages of chapter `ch` with this kernel file. ARGN: options for
# the file alone. One that is being written has variables without use: no warning is an error there.
function(attn_add_write_program target ch kernel)
  add_executable(${target} EXCLUDE_FROM_ALL $<TARGET_OBJECTS:${ch}_write_check>)
  attn_add_cpu_kernel(${target} ${kernel} ${ARGN})
  target_link_libraries(${target} PRIVATE attn_exercise ${ch})
endfunction()

function(attn_add_chapter id)
  cmake_parse_arguments(ARG "" "EXERCISE;WRITE" "CPP;KERNELS;TWIN;ARCHITECTURES" ${ARGN})
  string(SUBSTRING ${id} 0 2 number)
  set(ch ch${number})
  set(record ch${id})
  set(backend attn_common)
  if(ARG_KERNELS)
    set(backend attn_simt)
  endif()
  if(ARG_KERNELS AND NOT ATTN_HAS_SIMT)
    set(on_cpu OFF)
  else()
    set(on_cpu ON)
  endif()

  # What is no kernel is compiled once, for both machines.
  add_library(${ch}_host OBJECT chapter.cpp ${ARG_CPP})
  target_link_libraries(${ch}_host PUBLIC attn_common)
  set(openmp "")
  if(ARG_TWIN)
    attn_add_twin(${ch}_host ${ARG_TWIN})
    if(OpenMP_CXX_FOUND)
      set(openmp $<LINK_ONLY:OpenMP::OpenMP_CXX>)  # kernels have no part in it
    endif()
  endif()

  if(on_cpu)
    add_library(${ch} STATIC $<TARGET_OBJECTS:${ch}_host>)
    target_link_libraries(${ch} PUBLIC ${backend} PRIVATE ${openmp})
    foreach(kernel IN LISTS ARG_KERNELS)
      attn_add_cpu_kernel(${ch} ${kernel})
    endforeach()

    add_executable(${ch}_demo ${PROJECT_SOURCE_DIR}/common/verify/demo_main.cpp)
    target_compile_definitions(${ch}_demo PRIVATE ATTN_CHAPTER=${record})
    target_link_libraries(${ch}_demo PRIVATE ${ch})
    set_target_properties(${ch}_demo PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})

    # With sanitizers one chapter's exercises stand for all: what runs them is the same.
    if(ATTN_SANITIZE AND NOT number STREQUAL "03")
      unset(ARG_WRITE)
      unset(ARG_EXERCISE)
    endif()
    if(ARG_WRITE)
      get_filename_component(name ${ARG_WRITE} NAME_WE)
      add_library(${ch}_write_check OBJECT EXCLUDE_FROM_ALL exercises/${name}_check.cpp)
      target_link_libraries(${ch}_write_check PRIVATE attn_exercise)
      target_precompile_headers(${ch}_write_check REUSE_FROM attn_common)
      attn_add_write_program(${ch}_write ${ch} exercises/${ARG_WRITE} -Wno-error)
      attn_add_write_program(${ch}_write_solution ${ch} exercises/solution/${ARG_WRITE})
      set_target_properties(${ch}_write ${ch}_write_solution PROPERTIES
        RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}
        ATTN_WRITE_SOLUTION chapters/${id}/exercises/solution/${ARG_WRITE})
      set_property(GLOBAL APPEND PROPERTY ATTN_FINISH
        ${ch}_write=chapters/${id}/exercises/${ARG_WRITE})
    endif()

    if(ARG_EXERCISE)
      foreach(variant exercise solution)
        set(target ${ch}_${variant})
        set(source exercises/${ARG_EXERCISE})
        if(variant STREQUAL solution)
          set(source exercises/solution/${ARG_EXERCISE})
        endif()
        get_filename_component(name ${ARG_EXERCISE} NAME_WE)
        if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/exercises/${name}_check.cpp)
          add_executable(${target} EXCLUDE_FROM_ALL exercises/${name}_check.cpp)
          target_link_libraries(${target} PRIVATE ${ch})
        else()
          attn_add_checker(${target} ${ch}_exercise)
          target_link_libraries(${target} PRIVATE ${backend})
        endif()
        if(ARG_EXERCISE MATCHES "\\.cu$")
          attn_add_cpu_kernel(${target} ${source})
        else()
          target_sources(${target} PRIVATE ${source})
        endif()
        if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/exercises/goal.cpp)
          target_sources(${target} PRIVATE exercises/goal.cpp)  # the record, and what it must reach
        endif()
        set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
      endforeach()
      set_property(GLOBAL APPEND PROPERTY ATTN_FINISH
        ${ch}_exercise=chapters/${id}/exercises/${ARG_EXERCISE})
    endif()
  endif()

  if(ATTN_CUDA_FOUND)
    add_library(${ch}_cuda STATIC $<TARGET_OBJECTS:${ch}_host> ${ARG_KERNELS})
    target_link_libraries(${ch}_cuda PUBLIC attn_device_cuda PRIVATE ${openmp})
    if(ARG_ARCHITECTURES)
      set_target_properties(${ch}_cuda PROPERTIES CUDA_ARCHITECTURES "${ARG_ARCHITECTURES}")
    endif()
    if(ARG_KERNELS)
      add_executable(${ch}_demo_cuda ${PROJECT_SOURCE_DIR}/common/verify/demo_main.cpp)
      target_compile_definitions(${ch}_demo_cuda PRIVATE ATTN_CHAPTER=${record})
      target_link_libraries(${ch}_demo_cuda PRIVATE ${ch}_cuda)
      set_target_properties(${ch}_demo_cuda PROPERTIES
        RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
      attn_maybe_in_all(${ch}_demo_cuda)
    endif()
    if(ARG_EXERCISE MATCHES "\\.cu$")
      # nvcc must accept the exercises too: compiled, never linked here. The solution has all that
      # the exercise has.
      add_library(${ch}_exercise_cuda OBJECT)
      attn_for_one_architecture(${ch}_exercise_cuda)
      if(ARG_ARCHITECTURES)
        set_target_properties(${ch}_exercise_cuda PROPERTIES
          CUDA_ARCHITECTURES "${ARG_ARCHITECTURES}")
      endif()
      foreach(file IN LISTS ARG_EXERCISE ARG_WRITE)
        target_sources(${ch}_exercise_cuda PRIVATE exercises/solution/${file})
      endforeach()
      target_link_libraries(${ch}_exercise_cuda PRIVATE attn_device_cuda)
      attn_maybe_in_all(${ch}_exercise_cuda)
    endif()
  endif()
endfunction()
