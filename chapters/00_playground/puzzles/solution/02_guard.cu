// SPDX-License-Identifier: MIT
#include "chapters/00_playground/puzzles/data.hpp"
#include "common/device/cuda.cuh"

namespace attn::puzzles::solution {

__global__ void weights_kernel(const float* s, float* w, int n, float largest) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  w[i] = expf(s[i] - largest);
}

void guard(const Data& x) {
  launch(weights_kernel, ceil_div(x.columns, 64), 64, 0, nullptr, x.a, x.out, x.columns, x.number);
}

}  // namespace attn::puzzles::solution
