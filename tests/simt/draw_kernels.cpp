// SPDX-License-Identifier: MIT
#include "tests/simt/draw_kernels.hpp"

#include "common/device/cuda.cuh"

namespace attn::simt_test {
namespace {

__global__ void stairs_kernel(const float* x, float* out) {
  __shared__ float sums[32 * kStairWarps];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  float sum = 0.0f;
  for (int r = 0; r <= warp; ++r) sum += x[32 * r + lane];
  sums[threadIdx.x] = sum;
  __syncthreads();  // the neighbour's sum is there
  out[threadIdx.x] = sums[threadIdx.x ^ 32];
}

__global__ void strided_kernel(const float* x, float* sums, int stride) {
  const int lane = static_cast<int>(threadIdx.x);
  atomicAdd(&sums[lane / 4], x[stride * lane]);
}

}  // namespace

void run_stairs(const float* x, float* out) {
  launch(stairs_kernel, 1, 32 * kStairWarps, 0, nullptr, x, out);
}

void run_strided(const float* x, float* sums, int stride) {
  launch(strided_kernel, 1, 32, 0, nullptr, x, sums, stride);
}

}  // namespace attn::simt_test
