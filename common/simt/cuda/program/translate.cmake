# SPDX-License-Identifier: MIT
#
# cmake -DFROM=<file.cu> -DTO=<file.cpp> -P translate.cmake
#
# Writes a CUDA file as C++ for the CPU machine, line for line. Four things are not C++:
#   kernel<<<grid, block>>>(args)        becomes  Chevrons(kernel, grid, block)(args), and for a
#                                        template without its arguments a DeducedChevrons
#   extern __shared__ float s[];         becomes  float* const s = ...;
#   the same in the first column         becomes  #define s ..., for all functions that follow
#   __noinline__                         becomes  g++'s attribute
# and the headers that nvcc includes by itself come first.
file(READ ${FROM} text)

set(name "[A-Za-z_][A-Za-z0-9_]*")
set(arguments "<([^<>;{}]|<[^<>;{}]*>)*>")
string(REGEX MATCHALL "template[ \t]*<[^;{}()]*>[^;{}]*__global__[^;{}]*\\{" templates "${text}")
foreach(template IN LISTS templates)
  string(REGEX REPLACE "__launch_bounds__[ \t\r\n]*\\([^()]*\\)" "" template "${template}")
  if(template MATCHES "(${name})[ \t\r\n]*\\(")
    set(kernel ${CMAKE_MATCH_1})
    string(REGEX REPLACE "([^A-Za-z0-9_])${kernel}[ \t\r\n]*<<<"
      "\\1 ::attn::simt::DeducedChevrons(\"${kernel}\", [](auto... a) { ${kernel}(a...); }, "
      text "${text}")
  endif()
endforeach()
string(REGEX REPLACE "((${name}::)*${name}([ \t]*${arguments})?)[ \t\r\n]*<<<"
  " ::attn::simt::Chevrons(\\1, " text "${text}")
string(REGEX REPLACE ">>>([ \t\r\n]*)\\(" ")\\1(" text "${text}")

string(REGEX MATCHALL "extern[^;\"=(){}]*(\\([^;{}]*\\))?[^;\"=(){}]*__shared__[^;={}]*\\[[ \t]*\\]"
  declarations "${text}")
foreach(declaration IN LISTS declarations)
  string(REGEX REPLACE "(extern|__shared__|(__align__|alignas)[ \t]*\\(.*\\))[ \t]*" "" rest
    "${declaration}")
  if(NOT rest MATCHES "^(.*[^A-Za-z0-9_])(${name})[ \t]*\\[[ \t]*\\]$")
    continue()
  endif()
  string(STRIP "${CMAKE_MATCH_1}" type)
  set(variable ${CMAKE_MATCH_2})
  set(memory "static_cast<${type}*>(::attn::simt::dynamic_shared_memory())")
  string(REPLACE "\n${declaration};" "\n#define ${variable} (${memory})" text "${text}")
  string(REPLACE "${declaration}" "${type}* const ${variable} = ${memory}" text "${text}")
endforeach()

string(REGEX REPLACE "(^|[^A-Za-z0-9_(])__noinline__" "\\1__attribute__((noinline))" text "${text}")

file(WRITE ${TO} "#include \"common/simt/cuda/program/chevrons.hpp\"\n#line 1 \"${FROM}\"\n${text}")
