// SPDX-License-Identifier: MIT
#include "chapters/00_playground/puzzles/data.hpp"
#include "common/device/cuda.cuh"

namespace attn::puzzles::solution {

__global__ void transpose_kernel(const float* K, float* kT, int rows, int columns) {
  __shared__ float tile[32][32];
  const int x = threadIdx.x, y = threadIdx.y;
  const int left = blockIdx.x * 32;
  const int top = blockIdx.y * 32;
  if (top + y < rows && left + x < columns) tile[y][x] = K[(top + y) * columns + left + x];
  __syncthreads();  // wait until the tile is complete
  if (left + y < columns && top + x < rows) kT[(left + y) * rows + top + x] = tile[x][y];
}

void transpose(const Data& x) {
  const dim3 grid(ceil_div(x.columns, 32), ceil_div(x.rows, 32));
  launch(transpose_kernel, grid, dim3(32, 32), 0, nullptr, x.a, x.out, x.rows, x.columns);
}

}  // namespace attn::puzzles::solution
