// SPDX-License-Identifier: MIT
//
// Taught in chapter 06: delta_i = dO_i . O_i, of any elements.
#pragma once

#include "common/device/element.cuh"
#include "common/device/warp_reduce.cuh"

namespace attn::device {

/// delta of rows of d elements, one warp per row of all heads.
/// Grid: ceil(rows / (blockDim.x / 32)); block: any number of whole warps.
template <class T>
static __global__ void element_delta_kernel(const T* gDO, const T* gO, float* gDelta,
                                            std::int64_t rows, std::int64_t d) {
  const unsigned lane = threadIdx.x % 32;
  const std::int64_t row = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32;
  if (row >= rows) return;  // the whole warp
  float sum = 0.0f;
  for (std::int64_t c = lane; c < d; c += 32) {
    const T grad_o = gDO[row * d + c];
    const T o = gO[row * d + c];
    sum += to_float(grad_o) * to_float(o);
  }
  sum = warp_sum(sum);
  if (lane == 0) gDelta[row] = sum;
}

}  // namespace attn::device
