// SPDX-License-Identifier: MIT
//
// Taught in chapter 11: the tensor map, by which TMA knows a tensor. The host makes it; a kernel
// takes it as a `const __grid_constant__ TensorMap` and hands on its address.
#pragma once

#include "common/tensor_layout.hpp"

#if defined(ATTN_USE_CUDA) || defined(__CUDACC__)
#include <cuda.h>
#else
#include "common/simt/models/tensor_copy.hpp"
#endif

namespace attn::device {

#if defined(ATTN_USE_CUDA) || defined(__CUDACC__)
using TensorMap = CUtensorMap;
#else
using TensorMap = simt::TensorMap;
#endif

/// The map of a tensor in device memory. On a GPU the driver encodes it, for compute capability 9.0
/// and up. Throws Error: kBadArgument with what check(layout) finds, kDeviceFailure if there is no
/// driver that can.
TensorMap make_tensor_map(const TensorLayout& layout);

}  // namespace attn::device
