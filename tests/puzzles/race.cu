// SPDX-License-Identifier: MIT
#include "common/device/cuda.cuh"
#include "common/device/warp_reduce.cuh"
#include "tests/puzzles/wrong.hpp"

namespace attn::puzzles::wrong {

enum Barriers { kFirst = 1, kMiddle = 2, kLast = 4, kInBranch = 8, kMore = 16 };

template <int kBarriers>
__global__ void softmax_kernel(const float* S, float* P, int columns) {
  __shared__ float part[4];
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  S += blockIdx.x * columns;
  P += blockIdx.x * columns;

  float m = -INFINITY;
  for (int c = threadIdx.x; c < columns; c += 128) m = fmaxf(m, S[c]);
  if (kBarriers & kMore) __syncthreads();
  m = device::warp_max(m);
  if (kBarriers & kMore) __syncthreads();
  if (lane == 0) {
    part[warp] = m;                              // bug: maxima written
    if (kBarriers & kInBranch) __syncthreads();  // bug: in a branch
  }
  if (kBarriers & kFirst) __syncthreads();
  m = fmaxf(fmaxf(part[0], part[1]), fmaxf(part[2], part[3]));  // bug: maxima read
  if (kBarriers & kMore) __syncthreads();

  float sum = 0.0f;
  for (int c = threadIdx.x; c < columns; c += 128) sum += expf(S[c] - m);
  sum = device::warp_sum(sum);
  if (kBarriers & kMiddle) __syncthreads();
  if (lane == 0) part[warp] = sum;  // bug: sums written
  if (kBarriers & kLast) __syncthreads();
  sum = part[0] + part[1] + part[2] + part[3];
  if (kBarriers & kMore) __syncthreads();

  for (int c = threadIdx.x; c < columns; c += 128) P[c] = expf(S[c] - m) / sum;
}

template <int kBarriers>
static void softmax(const Data& x) {
  launch(softmax_kernel<kBarriers>, grid_size(x.rows), 128, 0, nullptr, x.a, x.out, x.columns);
}
void softmax_middle_missing(const Data& x) { softmax<kFirst | kLast>(x); }
void softmax_first_missing(const Data& x) { softmax<kMiddle | kLast>(x); }
void softmax_barrier_in_branch(const Data& x) { softmax<kInBranch | kMiddle | kLast>(x); }
void softmax_too_many_barriers(const Data& x) { softmax<kFirst | kMiddle | kLast | kMore>(x); }

}  // namespace attn::puzzles::wrong
