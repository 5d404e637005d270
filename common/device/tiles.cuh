// SPDX-License-Identifier: MIT
//
// Taught in chapter 03: a tile of a row-major matrix, brought into shared memory by a whole block.
#pragma once

#include "common/device/cuda.cuh"

namespace attn::device {

/// Copies rows 0..rows-1 and columns 0..columns-1 of a tile from a matrix with d columns. What lies
/// beyond the matrix (row >= rows_left or column >= d) becomes zero. Neighbouring threads take
/// neighbouring columns. Call it with all kThreads threads, and put a barrier before the tile is
/// read.
/// stride: floats from one row of sTile to the next.
template <int kThreads>
__device__ __forceinline__ void load_tile(float* sTile, int rows, int columns, int stride,
                                          const float* gRows, std::int64_t rows_left,
                                          std::int64_t d) {
  for (int n = threadIdx.x; n < rows * columns; n += kThreads) {
    const int r = n / columns;
    const int c = n % columns;
    float value = 0.0f;
    if (r < rows_left && c < d) value = gRows[r * d + c];
    sTile[r * stride + c] = value;
  }
}

}  // namespace attn::device
