// SPDX-License-Identifier: MIT
//
// Taught in chapter 16: load_tile for rows that do not lie at equal distances.
#pragma once

#include "common/device/cuda.cuh"

namespace attn::device {

/// Copies `rows` rows of d floats, row r from `at(r)` on, to sTile (kRows, kColumns), where the
/// rest becomes zero. A warp takes a whole row, its lanes neighbouring columns. Call it with all
/// kThreads threads, and put a barrier before the tile is read. stride: floats from one row of
/// sTile to the next.
template <int kThreads, int kRows, int kColumns, class At>
__device__ __forceinline__ void load_rows(float* sTile, int stride, int rows, std::int64_t d,
                                          At at) {
  constexpr int kWarps = kThreads / 32;
  const int lane = threadIdx.x % 32;
  const int columns = static_cast<int>(d);
#pragma unroll 4  // 4 to 32 loads of a thread are under way at a time
  for (int r = threadIdx.x / 32; r < kRows; r += kWarps) {
    const float* gRow = r < rows ? at(r) : nullptr;
#pragma unroll
    for (int c = lane; c < kColumns; c += 32) {
      float value = 0.0f;
      if (r < rows && c < columns) value = gRow[c];
      sTile[r * stride + c] = value;
    }
  }
}

}  // namespace attn::device
