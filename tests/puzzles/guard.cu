// SPDX-License-Identifier: MIT
#include "common/device/cuda.cuh"
#include "tests/puzzles/wrong.hpp"

namespace attn::puzzles::wrong {

__global__ void missing_kernel(const float* s, float* w, float largest) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  w[i] = expf(s[i] - largest);
}

__global__ void off_by_one_kernel(const float* s, float* w, int n, float largest) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i > n) return;
  w[i] = expf(s[i] - largest);
}

__global__ void within_block_kernel(const float* s, float* w, int n, float largest) {
  if (static_cast<int>(threadIdx.x) >= n) return;
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  w[i] = expf(s[i] - largest);
}

void guard_missing(const Data& x) {
  launch(missing_kernel, ceil_div(x.columns, 64), 64, 0, nullptr, x.a, x.out, x.number);
}
void guard_off_by_one(const Data& x) {
  launch(off_by_one_kernel, ceil_div(x.columns, 64), 64, 0, nullptr, x.a, x.out, x.columns,
         x.number);
}
void guard_within_block(const Data& x) {
  launch(within_block_kernel, ceil_div(x.columns, 64), 64, 0, nullptr, x.a, x.out, x.columns,
         x.number);
}

}  // namespace attn::puzzles::wrong
