// SPDX-License-Identifier: MIT
//
// Puzzle 4, a row per warp: who takes which element decides how much memory moves. Check yourself:
//   cmake --build build --target puzzles && build/puzzles 4
#include "chapters/00_playground/puzzles/data.hpp"
#include "common/device/cuda.cuh"

namespace attn::puzzles::yours {

// What is wanted, as loops: every row of O divided by its own number l. It is the last thing that
// FlashAttention does.
void divide_loop(const float* O, const float* l, float* result, int rows, int columns) {
  for (int row = 0; row < rows; ++row) {
    for (int column = 0; column < columns; ++column) {
      result[row * columns + column] = O[row * columns + column] / l[row];
    }
  }
}

// A warp takes a row, however long. A block has 128 threads, which are 4 warps, so 4 rows.
__global__ void divide_kernel(const float* O, const float* l, float* result, int rows,
                              int columns) {
  // Yours: the row of this thread's warp, and the thread's lane, 0 to 31; a guard; then a loop in
  // which the 32 lanes share the row's elements out among themselves. l[row] need be loaded only
  // once for a row. Seven lines.
}

// How the two are called: 4 rows for each block.
void row_per_warp_loop(const Data& x) { divide_loop(x.a, x.b, x.out, x.rows, x.columns); }
void row_per_warp(const Data& x) {
  launch(divide_kernel, ceil_div(x.rows, 4), 128, 0, nullptr, x.a, x.b, x.out, x.rows, x.columns);
}

}  // namespace attn::puzzles::yours
