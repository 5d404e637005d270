// SPDX-License-Identifier: MIT
#include "common/device/cuda.cuh"
#include "tests/puzzles/wrong.hpp"

namespace attn::puzzles::wrong {

__global__ void in_chunks_kernel(const float* O, const float* l, float* result, int rows,
                                 int columns) {
  const int row = blockIdx.x * 4 + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (row >= rows) return;
  const float divisor = l[row];
  const int chunk = (columns + 31) / 32;
  for (int column = lane * chunk; column < (lane + 1) * chunk; ++column) {
    if (column < columns) result[row * columns + column] = O[row * columns + column] / divisor;
  }
}

__global__ void lane_of_block_kernel(const float* O, const float* l, float* result, int rows,
                                     int columns) {
  const int row = blockIdx.x * 4 + threadIdx.x / 32;
  const int lane = threadIdx.x;
  if (row >= rows) return;
  const float divisor = l[row];
  for (int column = lane; column < columns; column += 32) {
    result[row * columns + column] = O[row * columns + column] / divisor;
  }
}

__global__ void without_guard_kernel(const float* O, const float* l, float* result, int columns) {
  const int row = blockIdx.x * 4 + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const float divisor = l[row];  // bug: without_guard
  for (int column = lane; column < columns; column += 32) {
    result[row * columns + column] = O[row * columns + column] / divisor;
  }
}

__global__ void reload_divisor_kernel(const float* O, const float* l, float* result, int rows,
                                      int columns) {
  const int row = blockIdx.x * 4 + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (row >= rows) return;
  for (int column = lane; column < columns; column += 32) {
    result[row * columns + column] = O[row * columns + column] / l[row];
  }
}

void rows_in_chunks(const Data& x) {
  launch(in_chunks_kernel, ceil_div(x.rows, 4), 128, 0, nullptr, x.a, x.b, x.out, x.rows,
         x.columns);
}
void rows_lane_of_block(const Data& x) {
  launch(lane_of_block_kernel, ceil_div(x.rows, 4), 128, 0, nullptr, x.a, x.b, x.out, x.rows,
         x.columns);
}
void rows_without_guard(const Data& x) {
  launch(without_guard_kernel, ceil_div(x.rows, 4), 128, 0, nullptr, x.a, x.b, x.out, x.columns);
}
void rows_reload_divisor(const Data& x) {
  launch(reload_divisor_kernel, ceil_div(x.rows, 4), 128, 0, nullptr, x.a, x.b, x.out, x.rows,
         x.columns);
}

}  // namespace attn::puzzles::wrong
