// SPDX-License-Identifier: MIT
#include "chapters/00_playground/puzzles/data.hpp"
#include "common/device/cuda.cuh"

namespace attn::puzzles::solution {

constexpr int kPitch = 33;  // one more than 32: a column's numbers lie in 32 different banks

__global__ void scores_kernel(const float* q, const float* K, float* s, float scale) {
  __shared__ float tile[32 * kPitch];
  const int lane = threadIdx.x;
  const int first = blockIdx.x * 32;
  for (int row = 0; row < 32; ++row) tile[row * kPitch + lane] = K[(first + row) * 32 + lane];
  __syncthreads();
  float dot = 0.0f;
  for (int c = 0; c < 32; ++c) dot += q[c] * tile[lane * kPitch + c];
  s[first + lane] = scale * dot;
}

void bank_conflict(const Data& x) {
  launch(scores_kernel, ceil_div(x.columns, 32), 32, 0, nullptr, x.a, x.b, x.out, x.number);
}

}  // namespace attn::puzzles::solution
