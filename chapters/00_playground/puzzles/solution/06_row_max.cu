// SPDX-License-Identifier: MIT
#include "chapters/00_playground/puzzles/data.hpp"
#include "common/device/cuda.cuh"

namespace attn::puzzles::solution {

__global__ void row_max_kernel(const float* S, float* largest, int columns) {
  const int row = blockIdx.x;
  const int lane = threadIdx.x;
  float m = -INFINITY;
  for (int column = lane; column < columns; column += 32) m = fmaxf(m, S[row * columns + column]);
  for (int distance = 16; distance > 0; distance /= 2) {
    m = fmaxf(m, __shfl_xor_sync(0xFFFFFFFFu, m, distance));
  }
  if (lane == 0) largest[row] = m;
}

void row_max(const Data& x) {
  launch(row_max_kernel, grid_size(x.rows), 32, 0, nullptr, x.a, x.out, x.columns);
}

}  // namespace attn::puzzles::solution
