// SPDX-License-Identifier: MIT
#include "chapters/00_playground/puzzles/data.hpp"
#include "common/device/cuda.cuh"
#include "common/device/warp_reduce.cuh"

namespace attn::puzzles::solution {

__global__ void softmax_kernel(const float* S, float* P, int columns) {
  __shared__ float part[4];
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  S += blockIdx.x * columns;
  P += blockIdx.x * columns;

  float m = -INFINITY;
  for (int c = threadIdx.x; c < columns; c += 128) m = fmaxf(m, S[c]);
  m = device::warp_max(m);
  if (lane == 0) part[warp] = m;
  __syncthreads();  // wait until all four maxima are there
  m = fmaxf(fmaxf(part[0], part[1]), fmaxf(part[2], part[3]));

  float sum = 0.0f;
  for (int c = threadIdx.x; c < columns; c += 128) sum += expf(S[c] - m);
  sum = device::warp_sum(sum);
  __syncthreads();  // wait until everyone has read the maxima, which the sums overwrite
  if (lane == 0) part[warp] = sum;
  __syncthreads();  // wait until all four sums are there
  sum = part[0] + part[1] + part[2] + part[3];

  for (int c = threadIdx.x; c < columns; c += 128) P[c] = expf(S[c] - m) / sum;
}

void race(const Data& x) {
  launch(softmax_kernel, grid_size(x.rows), 128, 0, nullptr, x.a, x.out, x.columns);
}

}  // namespace attn::puzzles::solution
