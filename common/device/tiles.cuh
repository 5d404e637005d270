// SPDX-License-Identifier: MIT
//
// Taught in chapter 03: a tile of a row-major matrix, brought into shared memory by a whole block.
#pragma once

#include "common/device/cuda.cuh"

namespace attn::device {

/// Copies rows 0..kRows-1 and columns 0..kColumns-1 of a tile from a matrix with d columns. What
/// lies beyond the matrix (row >= rows_left or column >= d) becomes zero. A warp takes a whole row,
/// its lanes neighbouring columns. Call it with all kThreads threads, and put a barrier before the
/// tile is read.
/// stride: floats from one row of sTile to the next; row_stride: of the matrix.
template <int kThreads, int kRows, int kColumns>
__device__ __forceinline__ void load_tile(float* sTile, int stride, const float* gRows,
                                          std::int64_t rows_left, std::int64_t d,
                                          std::int64_t row_stride) {
  static_assert(kRows % (kThreads / 32) == 0 && kColumns % 32 == 0);
  constexpr int kWarps = kThreads / 32;
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  // 64-bit arithmetic is twice the instructions: once here, not once per element.
  int left = (rows_left < kRows ? static_cast<int>(rows_left) : kRows) - warp;  // rows inside
  const int width = static_cast<int>(d) - lane;                                 // columns inside
  // Of 32 columns each lane has one, and a lane beyond d nothing to load in any row.
  if (kColumns == 32 && width <= 0) left = 0;
  gRows += warp * row_stride + lane;
  sTile += warp * stride + lane;
// 8 to 16 loads of a thread are under way at a time.
#pragma unroll(kColumns == 32 ? 8 : 4)
  for (int r = 0; r < kRows; r += kWarps) {
    for (int c = 0; c < kColumns; c += 32) {
      float value = 0.0f;
      if (0 < left && (kColumns == 32 || c < width)) value = gRows[c];
      sTile[c] = value;
    }
    gRows += kWarps * row_stride;
    sTile += kWarps * stride;
    left -= kWarps;
  }
}

/// The same where one row of the matrix ends where the next begins.
template <int kThreads, int kRows, int kColumns>
__device__ __forceinline__ void load_tile(float* sTile, int stride, const float* gRows,
                                          std::int64_t rows_left, std::int64_t d) {
  load_tile<kThreads, kRows, kColumns>(sTile, stride, gRows, rows_left, d, d);
}

}  // namespace attn::device
