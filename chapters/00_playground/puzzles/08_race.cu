// SPDX-License-Identifier: MIT
//
// Puzzle 8, a race: everything is here but the waiting. Check yourself:
//   cmake --build build --target puzzles && build/puzzles 8
#include "chapters/00_playground/puzzles/data.hpp"
#include "common/device/cuda.cuh"
#include "common/device/warp_reduce.cuh"  // puzzle 6: warp_max, and warp_sum in the same way

namespace attn::puzzles::yours {

// What is wanted, as loops: softmax of every row. All weights are positive, and add up to 1.
void softmax_loop(const float* S, float* P, int rows, int columns) {
  for (int row = 0; row < rows; ++row, S += columns, P += columns) {
    float m = -INFINITY;
    for (int c = 0; c < columns; ++c) m = fmaxf(m, S[c]);
    float sum = 0.0f;
    for (int c = 0; c < columns; ++c) sum += expf(S[c] - m);
    for (int c = 0; c < columns; ++c) P[c] = expf(S[c] - m) / sum;
  }
}

// A block of 4 warps takes a row. Each warp finds the maximum of its part, then its sum, and tells
// the others through `part`.
__global__ void softmax_kernel(const float* S, float* P, int columns) {
  __shared__ float part[4];  // a number from each warp
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  S += blockIdx.x * columns;
  P += blockIdx.x * columns;

  // Yours: put __syncthreads() where threads must wait for each other, and nowhere else.
  float m = -INFINITY;
  for (int c = threadIdx.x; c < columns; c += 128) m = fmaxf(m, S[c]);
  m = device::warp_max(m);
  if (lane == 0) part[warp] = m;
  m = fmaxf(fmaxf(part[0], part[1]), fmaxf(part[2], part[3]));

  float sum = 0.0f;
  for (int c = threadIdx.x; c < columns; c += 128) sum += expf(S[c] - m);
  sum = device::warp_sum(sum);
  if (lane == 0) part[warp] = sum;
  sum = part[0] + part[1] + part[2] + part[3];

  for (int c = threadIdx.x; c < columns; c += 128) P[c] = expf(S[c] - m) / sum;
}

// How the two are called: a block of 128 threads for each row.
void race_loop(const Data& x) { softmax_loop(x.a, x.out, x.rows, x.columns); }
void race(const Data& x) {
  launch(softmax_kernel, grid_size(x.rows), 128, 0, nullptr, x.a, x.out, x.columns);
}

}  // namespace attn::puzzles::yours
