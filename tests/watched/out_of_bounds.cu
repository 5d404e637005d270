// SPDX-License-Identifier: MIT
//
// A reader's first program with a reader's first bug: no guard for the last block.
#include "common/device/cuda.cuh"

__global__ void fill_kernel(float* y) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  y[i] = 1.0f;  // bug: out_of_bounds
}

int main() {
  float* y = nullptr;
  CUDA_CHECK(cudaMalloc(&y, 1000 * sizeof(float)));
  attn::launch(fill_kernel, 8, 128, 0, nullptr, y);
  CUDA_CHECK(cudaFree(y));
}
