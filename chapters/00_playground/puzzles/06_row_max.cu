// SPDX-License-Identifier: MIT
//
// Puzzle 6, a reduction by shuffles: 32 lanes agree on one number. Check yourself:
//   cmake --build build --target puzzles && build/puzzles 6
#include "chapters/00_playground/puzzles/data.hpp"
#include "common/device/cuda.cuh"

namespace attn::puzzles::yours {

// What is wanted, as loops: the largest score of every row.
void row_max_loop(const float* S, float* largest, int rows, int columns) {
  for (int row = 0; row < rows; ++row) {
    float m = -INFINITY;
    for (int column = 0; column < columns; ++column) m = fmaxf(m, S[row * columns + column]);
    largest[row] = m;
  }
}

// A block is one warp and takes one row. The loop, as in puzzle 4, leaves each lane with the
// largest of the elements that it has seen itself.
__global__ void row_max_kernel(const float* S, float* largest, int columns) {
  const int row = blockIdx.x;
  const int lane = threadIdx.x;
  float m = -INFINITY;
  for (int column = lane; column < columns; column += 32) m = fmaxf(m, S[row * columns + column]);
  // Yours: the largest m of all lanes by __shfl_xor_sync(0xFFFFFFFFu, m, distance), five times;
  // then one lane stores it. Four lines.
}

// How the two are called: a block of 32 threads for each row.
void row_max_loop(const Data& x) { row_max_loop(x.a, x.out, x.rows, x.columns); }
void row_max(const Data& x) {
  launch(row_max_kernel, grid_size(x.rows), 32, 0, nullptr, x.a, x.out, x.columns);
}

}  // namespace attn::puzzles::yours
