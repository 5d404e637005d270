# SPDX-License-Identifier: MIT
#
# CUDA is optional. Where nvcc is found, every kernel is compiled for sm_80 and sm_90a, with
# warnings, register spills, local memory and repaired wgmmas as errors. Sets ATTN_CUDA_FOUND, and
# ATTN_CUDA_IN_ALL: whether the programs for a GPU, and the exercises by nvcc, belong to the target
# "all". Where there is no GPU to run them they do only with ATTN_ALL_TESTS.
set(ATTN_CUDA_FOUND OFF)
set(ATTN_CUDA_IN_ALL OFF)
if(ATTN_CUDA)
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES "80;90a" CACHE STRING "Compute capabilities nvcc compiles for")
    endif()
    enable_language(CUDA)
    # CMake 3.25.1 does not know nvcc's C++20 switch; 3.25.2 does.
    if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
      set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
      set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
    endif()
    set(CMAKE_CUDA_STANDARD 20)
    set(CMAKE_CUDA_STANDARD_REQUIRED ON)
    list(PREPEND CMAKE_CUDA_COMPILER_LAUNCHER ${PROJECT_SOURCE_DIR}/common/cmake/refuse_remarks.sh)
    find_package(CUDAToolkit QUIET)
    if(CUDAToolkit_FOUND)
      set(ATTN_CUDA_FOUND ON)
    endif()
    execute_process(COMMAND nvidia-smi -L OUTPUT_VARIABLE gpus ERROR_QUIET
      RESULT_VARIABLE status)
    if(ATTN_ALL_TESTS OR gpus MATCHES "GPU")
      set(ATTN_CUDA_IN_ALL ON)
    endif()
  endif()
endif()

# Files that nvcc must accept and nobody links here: one architecture is enough.
function(attn_for_one_architecture target)
  if(CMAKE_CUDA_ARCHITECTURES)
    list(GET CMAKE_CUDA_ARCHITECTURES 0 one)
    set_target_properties(${target} PROPERTIES CUDA_ARCHITECTURES "${one}")
  endif()
endfunction()

# A target for a GPU that "all" may leave out.
function(attn_maybe_in_all target)
  if(NOT ATTN_CUDA_IN_ALL)
    set_target_properties(${target} PROPERTIES EXCLUDE_FROM_ALL ON)
  endif()
endfunction()
