# SPDX-License-Identifier: MIT
#
# cmake -DKERNEL=<file.cu> -DWRAPPER=<file> -P wrap_kernel.cmake: writes the one-line file that g++
# compiles for a kernel file. `kernel<<<...>>>(...)` is no C++, and what g++ says about it fills a
# page: a kernel file that has it outside comments and outside #ifdef __CUDACC__ gets one error with
# its line instead.
file(READ ${KERNEL} text)
string(REPLACE ";" "" text "${text}")    # would split the list of lines
string(REPLACE "[" "" text "${text}")    # as would brackets without a partner
string(REPLACE "]" "" text "${text}")
string(REPLACE "\\" "" text "${text}")
string(REPLACE "\n" ";" lines "${text}")
set(number 0)
set(found 0)
set(for_nvcc OFF)
set(in_comment OFF)
foreach(line IN LISTS lines)
  math(EXPR number "${number} + 1")
  string(REGEX REPLACE "//.*" "" line "${line}")
  string(REGEX REPLACE "\"[^\"]*\"" "" line "${line}")
  if(line MATCHES "^ *# *if.*__CUDACC__")
    set(for_nvcc ON)
  elseif(line MATCHES "^ *# *(else|elif|endif)")
    set(for_nvcc OFF)
  endif()
  if(line MATCHES "/\\*" AND NOT line MATCHES "\\*/")
    set(in_comment ON)
  elseif(line MATCHES "\\*/")
    set(in_comment OFF)
  elseif(line MATCHES "[A-Za-z0-9_>] *<<<" AND NOT for_nvcc AND NOT in_comment)
    set(found ${number})
    break()
  endif()
endforeach()
if(found)
  file(WRITE ${WRAPPER} "#line ${found} \"${KERNEL}\"\n"
    "#error \"<<< >>> is nvcc's own syntax, which g++ cannot read: write "
    "launch(kernel, grid, block, shared_bytes, stream, arguments...)\"\n")
else()
  file(WRITE ${WRAPPER} "#include \"${KERNEL}\"\n")
endif()
