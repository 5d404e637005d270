// SPDX-License-Identifier: MIT
#include "common/device/cuda.cuh"
#include "tests/puzzles/wrong.hpp"

namespace attn::puzzles::wrong {

__global__ void without_barrier_kernel(const float* K, float* kT, int rows, int columns) {
  __shared__ float tile[32][32];
  const int x = threadIdx.x, y = threadIdx.y;
  const int left = blockIdx.x * 32, top = blockIdx.y * 32;
  if (top + y < rows && left + x < columns) tile[y][x] = K[(top + y) * columns + left + x];
  if (left + y < columns && top + x < rows) kT[(left + y) * rows + top + x] = tile[x][y];
}

__global__ void return_first_kernel(const float* K, float* kT, int rows, int columns) {
  __shared__ float tile[32][32];
  const int x = threadIdx.x, y = threadIdx.y;
  const int left = blockIdx.x * 32, top = blockIdx.y * 32;
  if (top + y >= rows || left + x >= columns) return;
  tile[y][x] = K[(top + y) * columns + left + x];
  __syncthreads();
  if (left + y < columns && top + x < rows) kT[(left + y) * rows + top + x] = tile[x][y];
}

__global__ void same_corner_kernel(const float* K, float* kT, int rows, int columns) {
  __shared__ float tile[32][32];
  const int x = threadIdx.x, y = threadIdx.y;
  const int left = blockIdx.x * 32, top = blockIdx.y * 32;
  if (top + y < rows && left + x < columns) tile[y][x] = K[(top + y) * columns + left + x];
  __syncthreads();
  if (left + y < columns && top + x < rows) kT[(left + y) * rows + top + x] = tile[y][x];
}

__global__ void blocks_stay_kernel(const float* K, float* kT, int rows, int columns) {
  __shared__ float tile[32][32];
  const int x = threadIdx.x, y = threadIdx.y;
  const int left = blockIdx.x * 32, top = blockIdx.y * 32;
  if (top + y < rows && left + x < columns) tile[y][x] = K[(top + y) * columns + left + x];
  __syncthreads();
  if (top + x < rows && left + y < columns) kT[(top + y) * rows + left + x] = tile[x][y];
}

__global__ void without_tile_kernel(const float* K, float* kT, int rows, int columns) {
  const int column = blockIdx.x * 32 + threadIdx.x;
  const int row = blockIdx.y * 32 + threadIdx.y;
  if (row < rows && column < columns) kT[column * rows + row] = K[row * columns + column];
}

static dim3 tiles(const Data& x) { return dim3(ceil_div(x.columns, 32), ceil_div(x.rows, 32)); }
void transpose_without_barrier(const Data& x) {
  launch(without_barrier_kernel, tiles(x), dim3(32, 32), 0, nullptr, x.a, x.out, x.rows, x.columns);
}
void transpose_return_first(const Data& x) {
  launch(return_first_kernel, tiles(x), dim3(32, 32), 0, nullptr, x.a, x.out, x.rows, x.columns);
}
void transpose_same_corner(const Data& x) {
  launch(same_corner_kernel, tiles(x), dim3(32, 32), 0, nullptr, x.a, x.out, x.rows, x.columns);
}
void transpose_blocks_stay(const Data& x) {
  launch(blocks_stay_kernel, tiles(x), dim3(32, 32), 0, nullptr, x.a, x.out, x.rows, x.columns);
}
void transpose_without_tile(const Data& x) {
  launch(without_tile_kernel, tiles(x), dim3(32, 32), 0, nullptr, x.a, x.out, x.rows, x.columns);
}

}  // namespace attn::puzzles::wrong
