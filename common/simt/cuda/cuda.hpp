// SPDX-License-Identifier: MIT
//
// CUDA C++'s names for g++: what a kernel file sees on the CPU machine instead of cuda_runtime.h.
// Kernels include common/device/cuda.cuh, which chooses.
//
// Names that are keywords or built-in variables in CUDA must be macros here; everything else is a
// function. The functions that a kernel calls and that touch the machine's own state are defined
// out of line, in files compiled without the tracer's hooks, so that only the kernel's accesses
// are counted.
#pragma once

#include <cassert>
#include <cfloat>
#include <climits>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <source_location>
#include <tuple>
#include <type_traits>

#include "common/simt/cuda/launch.hpp"
#include "common/simt/cuda/runtime.hpp"
#include "common/simt/cuda/vector_types.hpp"

// noipa: the compiler may not look through the launch, so a kernel stays one function with one
// address, and its accesses stay where the source has them.
#define __global__ __attribute__((noipa))
#define __device__
#define __host__
// Reads of constants are no memory traffic; the machine knows them by their section.
#define __constant__ __attribute__((section("attn_constant")))
#define __managed__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)
// One block runs on one OS thread, so what the block shares is what that thread owns.
#define __shared__ static thread_local

#define threadIdx (::attn::simt::thread_index())
#define blockIdx (::attn::simt::block_index())
#define blockDim (::attn::simt::block_size())
#define gridDim (::attn::simt::grid_size())
inline constexpr int warpSize = 32;

#include "common/simt/cuda/atomics.hpp"
#include "common/simt/cuda/intrinsics.hpp"
#include "common/simt/cuda/math.hpp"
#include "common/simt/machine/warp.hpp"
