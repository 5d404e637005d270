// SPDX-License-Identifier: MIT
//
// Puzzle 3, two dimensions: a thread for each element of a matrix. Check yourself:
//   cmake --build build --target puzzles && build/puzzles 3
#include "chapters/00_playground/puzzles/data.hpp"
#include "common/device/cuda.cuh"

namespace attn::puzzles::yours {

// What is wanted, as loops: the weights of all rows of S, each with the largest score of its row.
// S and W have `rows` rows of `columns` numbers, one row behind the other in memory.
void matrix_loop(const float* S, const float* largest, float* W, int rows, int columns) {
  for (int row = 0; row < rows; ++row) {
    for (int column = 0; column < columns; ++column) {
      const int i = row * columns + column;
      W[i] = expf(S[i] - largest[row]);
    }
  }
}

// A block is 32 threads wide (x) and 4 high (y). Neither size need be a multiple of that.
__global__ void matrix_kernel(const float* S, const float* largest, float* W, int rows,
                              int columns) {
  // Yours: this thread's column from the x's, its row from the y's; a guard for both. Five lines.
}

// How the two are called: enough blocks beside and below each other to cover the matrix.
void two_dimensions_loop(const Data& x) { matrix_loop(x.a, x.b, x.out, x.rows, x.columns); }
void two_dimensions(const Data& x) {
  const dim3 grid(ceil_div(x.columns, 32), ceil_div(x.rows, 4));
  launch(matrix_kernel, grid, dim3(32, 4), 0, nullptr, x.a, x.b, x.out, x.rows, x.columns);
}

}  // namespace attn::puzzles::yours
