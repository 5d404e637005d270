// SPDX-License-Identifier: MIT
//
// Taught in chapter 03 (step 4): 32 lanes agree on a maximum or a sum in five exchanges.
#pragma once

#include "common/device/cuda.cuh"

namespace attn::device {

inline constexpr unsigned kAllLanes = 0xFFFFFFFFu;

/// The maximum over the warp's 32 lanes, in every lane. All 32 lanes must call it.
__device__ __forceinline__ float warp_max(float value) {
  for (int distance = 16; distance > 0; distance /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}

/// The sum over the warp's 32 lanes, in every lane. All 32 lanes must call it.
__device__ __forceinline__ float warp_sum(float value) {
  for (int distance = 16; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, distance);
  }
  return value;
}

}  // namespace attn::device
