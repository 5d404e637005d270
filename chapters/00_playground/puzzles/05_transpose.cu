// SPDX-License-Identifier: MIT
//
// Puzzle 5, a shared tile: threads of a block hand numbers to each other. Check yourself:
//   cmake --build build --target puzzles && build/puzzles 5
#include "chapters/00_playground/puzzles/data.hpp"
#include "common/device/cuda.cuh"

namespace attn::puzzles::yours {

// What is wanted, as loops: K turned on its side, so that its columns become rows.
void transpose_loop(const float* K, float* kT, int rows, int columns) {
  for (int row = 0; row < rows; ++row) {
    for (int column = 0; column < columns; ++column) {
      kT[column * rows + row] = K[row * columns + column];
    }
  }
}

// A block has 32 x 32 threads and moves 32 x 32 numbers, by way of `tile`, which all of them see.
__global__ void transpose_kernel(const float* K, float* kT, int rows, int columns) {
  __shared__ float tile[32][32];
  const int x = threadIdx.x, y = threadIdx.y;
  const int left = blockIdx.x * 32;  // the block's first column of K
  const int top = blockIdx.y * 32;   // and its first row
  // Yours, with (row, column) meaning the same index as in the loops above:
  //   1. K's (top + y, left + x), if there is one, into the tile.
  //   2. Wait until everyone has done that.
  //   3. kT's (left + y, top + x), if there is one, from the tile: another thread has put it there.
  // Three lines in all.
}

// How the two are called: a block for each 32 x 32 numbers of K.
void transpose_loop(const Data& x) { transpose_loop(x.a, x.out, x.rows, x.columns); }
void transpose(const Data& x) {
  const dim3 grid(ceil_div(x.columns, 32), ceil_div(x.rows, 32));
  launch(transpose_kernel, grid, dim3(32, 32), 0, nullptr, x.a, x.out, x.rows, x.columns);
}

}  // namespace attn::puzzles::yours
