// SPDX-License-Identifier: MIT
//
// Reading and storing elements in a kernel. Arithmetic is float's: a 16-bit number is widened when
// it is read, exactly, and rounded to nearest when it is stored.
#pragma once

#include "common/device/cuda.cuh"
#include "common/element.hpp"
#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#else
#include "common/simt/cuda/float16.hpp"
#endif

namespace attn::device {

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(bfloat16 x) {
  return __bfloat162float(__ushort_as_bfloat16(x.bits));
}
__device__ inline float to_float(float16 x) { return __half2float(__ushort_as_half(x.bits)); }

/// x as the nearest element of type T, ties to even.
template <class T>
__device__ T from_float(float x) {
  if constexpr (kElementOf<T> == Element::kBfloat16) {
    return {__bfloat16_as_ushort(__float2bfloat16_rn(x))};
  } else if constexpr (kElementOf<T> == Element::kFloat16) {
    return {__half_as_ushort(__float2half_rn(x))};
  } else {
    return x;
  }
}

}  // namespace attn::device
