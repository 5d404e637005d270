# SPDX-License-Identifier: MIT
#
# Libraries: found first; fetched second, and only where ATTN_FETCH_DEPS asks for it (fmt, which
# everything needs, is fetched without being asked). What is missing switches off what needs it and
# is named in the summary at the end of configuring; nothing else fails.
include(FetchContent)
if(POLICY CMP0167)
  cmake_policy(SET CMP0167 NEW)  # Boost's own package files: newer CMake has no FindBoost
endif()

find_package(Threads REQUIRED)
set(ATTN_MISSING "")

# attn_dependency(<package> TARGET <target> DEBIAN <apt name> FOR <what it is for>
#                 [ALWAYS_FETCH] <arguments of FetchContent_Declare>...)
# Sets ATTN_HAVE_<package>.
macro(attn_dependency package)
  cmake_parse_arguments(DEP "ALWAYS_FETCH" "TARGET;DEBIAN;FOR" "COMPONENTS" ${ARGN})
  if(DEP_COMPONENTS)
    find_package(${package} QUIET COMPONENTS ${DEP_COMPONENTS})
  else()
    find_package(${package} QUIET)
  endif()
  if(NOT TARGET ${DEP_TARGET} AND (ATTN_FETCH_DEPS OR DEP_ALWAYS_FETCH))
    message(STATUS "${package}: not installed, downloading it")
    FetchContent_Declare(${package} SYSTEM ${DEP_UNPARSED_ARGUMENTS})
    FetchContent_MakeAvailable(${package})
  endif()
  if(TARGET ${DEP_TARGET})
    set(ATTN_HAVE_${package} ON)
  else()
    set(ATTN_HAVE_${package} OFF)
    list(APPEND ATTN_MISSING "${package}|${DEP_DEBIAN}|${DEP_FOR}")
  endif()
endmacro()

attn_dependency(fmt TARGET fmt::fmt DEBIAN libfmt-dev FOR "everything" ALWAYS_FETCH
  GIT_REPOSITORY https://github.com/fmtlib/fmt.git GIT_TAG 11.2.0 GIT_SHALLOW ON)

set(BOOST_INCLUDE_LIBRARIES context)
set(BOOST_ENABLE_CMAKE ON)
attn_dependency(Boost COMPONENTS context TARGET Boost::context DEBIAN libboost-context-dev
  FOR "the CPU machine: chapters from 02 on"
  URL https://github.com/boostorg/boost/releases/download/boost-1.88.0/boost-1.88.0-cmake.tar.xz
  DOWNLOAD_EXTRACT_TIMESTAMP ON)

attn_dependency(Catch2 TARGET Catch2::Catch2WithMain DEBIAN catch2 FOR "the tests"
  GIT_REPOSITORY https://github.com/catchorg/Catch2.git GIT_TAG v3.8.1 GIT_SHALLOW ON)

attn_dependency(CLI11 TARGET CLI11::CLI11 DEBIAN libcli11-dev FOR "the program attn"
  GIT_REPOSITORY https://github.com/CLIUtils/CLI11.git GIT_TAG v2.5.0 GIT_SHALLOW ON)

attn_dependency(nlohmann_json TARGET nlohmann_json::nlohmann_json DEBIAN nlohmann-json3-dev
  FOR "the program attn"
  GIT_REPOSITORY https://github.com/nlohmann/json.git GIT_TAG v3.12.0 GIT_SHALLOW ON)

set(BENCHMARK_ENABLE_TESTING OFF)
set(BENCHMARK_ENABLE_INSTALL OFF)
attn_dependency(benchmark TARGET benchmark::benchmark DEBIAN libbenchmark-dev FOR "the benchmarks"
  GIT_REPOSITORY https://github.com/google/benchmark.git GIT_TAG v1.9.4 GIT_SHALLOW ON)

function(attn_print_summary)
  foreach(entry IN LISTS ATTN_MISSING)
    string(REPLACE "|" ";" entry "${entry}")
    list(GET entry 0 package)
    list(GET entry 1 debian)
    list(GET entry 2 purpose)
    message(STATUS "Not found: ${package}. Left out: ${purpose}. Install ${debian}.")
  endforeach()
  if(ATTN_MISSING AND NOT ATTN_FETCH_DEPS)
    message(STATUS "Libraries that are not installed: -DATTN_FETCH_DEPS=ON downloads them.")
  endif()
  if(ATTN_CUDA_FOUND)
    message(STATUS "CUDA: nvcc ${CMAKE_CUDA_COMPILER_VERSION} compiles every kernel for "
                   "${CMAKE_CUDA_ARCHITECTURES}")
  else()
    message(STATUS "CUDA: no nvcc; the kernels run on the CPU machine")
  endif()
endfunction()
