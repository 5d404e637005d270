# SPDX-License-Identifier: MIT
#
# attn_add_cuda_program(<target> <file.cu>...)
#
# Somebody's CUDA program, with its own main() and nothing of this project's, as a program for the
# CPU machine. The files stay as they are (common/simt/cuda/program/translate.cmake says what
# happens to them); CUDA's headers are common/simt/cuda/toolkit. When the program ends, it prints
# what the detectors saw and what each kernel's accesses cost, and exits with 1 if that is more than
# warnings; with ATTN_WATCH=0 in its environment it only runs.
function(attn_add_cuda_program target)
  set(program ${PROJECT_SOURCE_DIR}/common/simt/cuda/program)
  add_executable(${target} ${PROJECT_SOURCE_DIR}/common/simt/watch/watch_program.cpp)
  target_link_libraries(${target} PRIVATE attn_simt)
  foreach(file IN LISTS ARGN)
    cmake_path(ABSOLUTE_PATH file NORMALIZE OUTPUT_VARIABLE path)
    get_filename_component(name ${path} NAME)
    get_filename_component(folder ${path} DIRECTORY)
    set(translated ${CMAKE_CURRENT_BINARY_DIR}/${target}.kernels/${name}.cpp)
    add_custom_command(OUTPUT ${translated}
      COMMAND ${CMAKE_COMMAND} -DFROM=${path} -DTO=${translated} -P ${program}/translate.cmake
      DEPENDS ${path} ${program}/translate.cmake VERBATIM)
    # The warnings are its author's affair.
    set_source_files_properties(${translated} PROPERTIES
      COMPILE_OPTIONS "${ATTN_KERNEL_OPTIONS};-w"
      INCLUDE_DIRECTORIES "${folder};${PROJECT_SOURCE_DIR}/common/simt/cuda/toolkit")
    target_sources(${target} PRIVATE ${translated})
  endforeach()
endfunction()
