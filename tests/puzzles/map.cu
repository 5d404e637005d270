// SPDX-License-Identifier: MIT
#include "common/device/cuda.cuh"
#include "tests/puzzles/wrong.hpp"

namespace attn::puzzles::wrong {

__global__ void block_forgotten_kernel(const float* s, float* scaled, float scale) {
  const int i = threadIdx.x;
  scaled[i] = scale * s[i];
}

__global__ void scale_forgotten_kernel(const float* s, float* scaled) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  scaled[i] = s[i];
}

__global__ void one_too_far_kernel(const float* s, float* scaled, float scale) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x + 1;  // bug: one_too_far
  scaled[i] = scale * s[i];
}

void map_block_forgotten(const Data& x) {
  launch(block_forgotten_kernel, ceil_div(x.columns, 64), 64, 0, nullptr, x.a, x.out, x.number);
}
void map_scale_forgotten(const Data& x) {
  launch(scale_forgotten_kernel, ceil_div(x.columns, 64), 64, 0, nullptr, x.a, x.out);
}
void map_one_too_far(const Data& x) {
  launch(one_too_far_kernel, ceil_div(x.columns, 64), 64, 0, nullptr, x.a, x.out, x.number);
}

}  // namespace attn::puzzles::wrong
