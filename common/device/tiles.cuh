// SPDX-License-Identifier: MIT
//
// Taught in chapter 03: a tile of a row-major matrix, brought into shared memory by a whole block.
#pragma once

#include "common/device/cuda.cuh"

namespace attn::device {

/// Copies rows 0..rows-1 and columns 0..columns-1 of a tile from a matrix with d columns. What lies
/// beyond the matrix (row >= rows_left or column >= d) becomes zero. A warp takes a whole row, its
/// lanes neighbouring columns. Call it with all kThreads threads, and put a barrier before the tile
/// is read.
/// rows: a multiple of kThreads / 32. stride: floats from one row of sTile to the next.
template <int kThreads>
__device__ __forceinline__ void load_tile(float* sTile, int rows, int columns, int stride,
                                          const float* gRows, std::int64_t rows_left,
                                          std::int64_t d) {
  constexpr int kWarps = kThreads / 32;
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  // 64-bit arithmetic is twice the instructions: once here, not once per element.
  const int height = (rows_left < rows ? static_cast<int>(rows_left) : rows) - warp;
  const int width = static_cast<int>(d);
  gRows += warp * d + lane;
  sTile += warp * stride + lane;
#pragma unroll 4
  for (int r = 0; r < rows; r += kWarps) {
    for (int c = 0; c < columns; c += 32) {
      if (lane + c >= columns) continue;  // never, where columns are a multiple of 32
      float value = 0.0f;
      if (r < height && lane + c < width) value = gRows[c];
      sTile[c] = value;
    }
    gRows += kWarps * d;
    sTile += kWarps * stride;
  }
}

}  // namespace attn::device
