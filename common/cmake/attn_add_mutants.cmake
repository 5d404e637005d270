# SPDX-License-Identifier: MIT
#
# attn_add_mutants(<id>)
#
# Mutants are broken copies of a chapter's files, one patch each: tests/mutants/<id>/<name>.patch.
# The lines above "---" say what the bug is. Every patch becomes a program, mutant_<id>_<name>, in
# which the patched file takes the original's place, and a test that passes only if the program
# finds itself wrong (exit status 1; a crash or a timeout does not count). hunt.patch is the
# lesson's bug to hunt; its program is called chNN_hunt and lies in the build folder, beside the
# exercise's.
#
# The program is the battery on all steps. Above "---", a line "Step: <id>" asks for that step
# alone, and "Found by: <file>.cpp" for that program of tests/ instead.
#
# The target "all" and ctest have only the hunts and those that tests/mutants/sample.txt names; with
# ATTN_ALL_TESTS they have all.
#
# A patched header (.cuh, .hpp) takes the original's place on the include path of the program, under
# the same name, and the kernel files that include it, themselves or by another header of the
# chapter or of common/device, are compiled again: all of them, or that of the step asked for. With
# "Step: cpu" it is the twin.
find_program(ATTN_PATCH patch)
set(ATTN_EXPECT_EXIT ${PROJECT_SOURCE_DIR}/tests/expect_exit.cmake)

# A test that passes only if the target's program, given what follows as arguments, exits with the
# given status.
function(attn_add_exit_test name target status label)
  add_test(NAME ${name} COMMAND ${CMAKE_COMMAND} "-DPROGRAM=$<TARGET_FILE:${target}>;${ARGN}"
    -DSTATUS=${status} -P ${ATTN_EXPECT_EXIT})
  set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT 300)
endfunction()

# The kernel files of a chapter that a header reaches.
function(attn_find_includers result id header)
  file(GLOB files RELATIVE ${PROJECT_SOURCE_DIR} CONFIGURE_DEPENDS
    ${PROJECT_SOURCE_DIR}/chapters/${id}/*.cu ${PROJECT_SOURCE_DIR}/chapters/${id}/*.cuh
    ${PROJECT_SOURCE_DIR}/chapters/${id}/*.hpp ${PROJECT_SOURCE_DIR}/common/device/*.cuh
    ${PROJECT_SOURCE_DIR}/common/device/*.hpp)
  set(headers ${header})
  set(kernels "")
  while(headers)
    list(POP_FRONT headers header)
    set(others "")
    foreach(file IN LISTS files)
      file(STRINGS ${PROJECT_SOURCE_DIR}/${file} includes REGEX "^#include \"${header}\"")
      if(NOT includes)
        list(APPEND others ${file})
      elseif(NOT file MATCHES "\\.cu$")
        list(APPEND headers ${file})
      else()
        list(APPEND kernels ${file})
      endif()
    endforeach()
    set(files ${others})  # each once
  endwhile()
  set(${result} ${kernels} PARENT_SCOPE)
endfunction()

function(attn_add_mutant id patch)
  string(SUBSTRING ${id} 0 2 number)
  set(ch ch${number})
  get_filename_component(name ${patch} NAME_WE)
  set(target mutant_${id}_${name})
  set(folder ${PROJECT_BINARY_DIR}/mutants)
  if(name MATCHES "^hunt")
    set(target ${ch}_${name})
    set(folder ${PROJECT_BINARY_DIR})
  endif()

  file(STRINGS ${patch} header REGEX "^\\+\\+\\+ b/")
  if(NOT header MATCHES "^\\+\\+\\+ b/([^ \t;]+)$")
    message(FATAL_ERROR "${patch}: it must change exactly one file, named on a line '+++ b/...'")
  endif()
  set(path ${CMAKE_MATCH_1})
  set(source ${PROJECT_SOURCE_DIR}/${path})
  set(include ${CMAKE_CURRENT_BINARY_DIR}/${target})
  set(mutated ${include}/${path})
  cmake_path(GET mutated PARENT_PATH mutated_folder)
  file(MAKE_DIRECTORY ${mutated_folder})
  add_custom_command(OUTPUT ${mutated}
    COMMAND ${ATTN_PATCH} --silent --fuzz=0 --reject-file=- -o ${mutated} ${source} ${patch}
    DEPENDS ${source} ${patch} COMMENT "Breaking ${path}: ${name}" VERBATIM)

  file(STRINGS ${patch} step REGEX "^Step: ")
  string(REPLACE "Step: " "" step "${step}")
  file(STRINGS ${patch} finder REGEX "^Found by: ")
  if(finder MATCHES "^Found by: ([a-z_]+\\.cpp)$")
    add_executable(${target} EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/tests/${CMAKE_MATCH_1})
    target_link_libraries(${target} PRIVATE attn_chapters)
  else()
    attn_add_checker(${target} ch${id})
  endif()
  target_sources(${target} PRIVATE ${mutated})
  if(path MATCHES "\\.(cuh|hpp)$")
    target_include_directories(${target} BEFORE PRIVATE ${include})
    attn_find_includers(kernels ${id} ${path})
    list(FILTER kernels EXCLUDE REGEX "/candidates\\.cu$")  # no step launches them
    if(chapters/${id}/${step}.cu IN_LIST kernels)
      set(kernels chapters/${id}/${step}.cu)
    elseif(step STREQUAL cpu)
      set(kernels "")
      target_sources(${target} PRIVATE ${PROJECT_SOURCE_DIR}/chapters/${id}/cpu.cpp)
    endif()
    foreach(kernel IN LISTS kernels)
      attn_add_cpu_kernel(${target} ${PROJECT_SOURCE_DIR}/${kernel})
    endforeach()
  elseif(path MATCHES "\\.cu$")
    set_source_files_properties(${mutated} PROPERTIES HEADER_FILE_ONLY ON)
    attn_add_cpu_kernel(${target} ${mutated})
  endif()
  target_compile_options(${target} PRIVATE -Wno-unused)  # a bug often leaves a variable without use
  # The linker takes the patched file's symbols before it looks into the chapter's library.
  target_link_libraries(${target} PRIVATE ${ch})
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${folder})
  add_dependencies(mutants ${target})
  if(NOT ATTN_ALL_TESTS AND NOT name MATCHES "^hunt" AND NOT "${id}/${name}" IN_LIST sample)
    return()
  endif()
  set_target_properties(${target} PROPERTIES EXCLUDE_FROM_ALL OFF)
  attn_add_exit_test(${target} ${target} 1 mutants_${number} ${step})
  set_tests_properties(${target} PROPERTIES ENVIRONMENT ATTN_SCATTERED=1)
endfunction()

function(attn_add_mutants id)
  string(SUBSTRING ${id} 0 2 number)
  if(NOT TARGET ch${number})
    return()
  endif()
  if(NOT TARGET mutants)
    add_custom_target(mutants)
  endif()
  set(list ${PROJECT_SOURCE_DIR}/tests/mutants/sample.txt)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${list})
  file(STRINGS ${list} sample REGEX "^[^#]")
  foreach(entry IN LISTS sample)
    if(NOT EXISTS ${PROJECT_SOURCE_DIR}/tests/mutants/${entry}.patch)
      message(FATAL_ERROR "${list}: there is no mutant ${entry}")
    endif()
  endforeach()
  file(GLOB patches CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/mutants/${id}/*.patch)
  foreach(patch IN LISTS patches)
    attn_add_mutant(${id} ${patch})
  endforeach()
endfunction()
