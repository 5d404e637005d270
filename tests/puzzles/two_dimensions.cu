// SPDX-License-Identifier: MIT
#include "common/device/cuda.cuh"
#include "tests/puzzles/wrong.hpp"

namespace attn::puzzles::wrong {

__global__ void other_stride_kernel(const float* S, const float* largest, float* W, int rows,
                                    int columns) {
  const int column = blockIdx.x * blockDim.x + threadIdx.x;
  const int row = blockIdx.y * blockDim.y + threadIdx.y;
  if (row >= rows || column >= columns) return;
  const int i = row * rows + column;
  W[i] = expf(S[i] - largest[row]);
}

__global__ void one_guard_kernel(const float* S, const float* largest, float* W, int rows,
                                 int columns) {
  const int column = blockIdx.x * blockDim.x + threadIdx.x;
  const int row = blockIdx.y * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  const int i = row * columns + column;
  W[i] = expf(S[i] - largest[row]);
}

__global__ void x_as_row_kernel(const float* S, const float* largest, float* W, int rows,
                                int columns) {
  const int row = blockIdx.x * blockDim.x + threadIdx.x;
  const int column = blockIdx.y * blockDim.y + threadIdx.y;
  if (row >= rows || column >= columns) return;
  const int i = row * columns + column;
  W[i] = expf(S[i] - largest[row]);
}

static dim3 matrix_grid(const Data& x) {
  return dim3(ceil_div(x.columns, 32), ceil_div(x.rows, 4));
}
void matrix_other_stride(const Data& x) {
  launch(other_stride_kernel, matrix_grid(x), dim3(32, 4), 0, nullptr, x.a, x.b, x.out, x.rows,
         x.columns);
}
void matrix_one_guard(const Data& x) {
  launch(one_guard_kernel, matrix_grid(x), dim3(32, 4), 0, nullptr, x.a, x.b, x.out, x.rows,
         x.columns);
}
void matrix_x_as_row(const Data& x) {
  launch(x_as_row_kernel, matrix_grid(x), dim3(32, 4), 0, nullptr, x.a, x.b, x.out, x.rows,
         x.columns);
}

}  // namespace attn::puzzles::wrong
