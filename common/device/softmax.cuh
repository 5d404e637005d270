// SPDX-License-Identifier: MIT
//
// Taught in chapter 03 (step 4): softmax with one warp per row.
#pragma once

#include "common/attention.hpp"
#include "common/device/cuda.cuh"
#include "common/device/warp_reduce.cuh"

namespace attn::device {

/// Turns each row of S (rows, Nk) into P = exp(S - max) / sum over the keys it sees and writes
/// LSE (rows). One warp per row. Grid: ceil(rows / (blockDim.x / 32)); block: whole warps.
[[maybe_unused]] static __global__ void softmax_kernel(float* gS, float* gLSE, std::int64_t rows,
                                                       std::int64_t Nq, std::int64_t Nk,
                                                       std::int64_t diagonal) {
  const unsigned lane = threadIdx.x % 32;
  const std::int64_t row = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32;
  if (row >= rows) return;  // the whole warp
  const std::int64_t visible = visible_keys(row % Nq, diagonal, Nk);
  if (visible == 0) {
    if (lane == 0) gLSE[row] = -INFINITY;
    return;
  }
  float* s = gS + row * Nk;  // (visible)
  float row_max = -INFINITY;
  for (std::int64_t j = lane; j < visible; j += 32) row_max = fmaxf(row_max, s[j]);
  row_max = warp_max(row_max);
  float row_sum = 0.0f;
  for (std::int64_t j = lane; j < visible; j += 32) row_sum += expf(s[j] - row_max);
  row_sum = warp_sum(row_sum);
  for (std::int64_t j = lane; j < visible; j += 32) s[j] = expf(s[j] - row_max) / row_sum;
  if (lane == 0) gLSE[row] = row_max + logf(row_sum);
}

/// softmax_kernel over all heads.
[[maybe_unused]] static void launch_softmax(float* gS, float* gLSE, const Shape& shape,
                                            std::int64_t diagonal) {
  constexpr int kWarps = 4;
  launch(softmax_kernel, ceil_div(shape.rows(), kWarps), 32 * kWarps, 0, nullptr, gS, gLSE,
         shape.rows(), shape.Nq, shape.Nk, diagonal);
}

}  // namespace attn::device
