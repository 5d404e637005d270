// SPDX-License-Identifier: MIT
//
// A loop that never ends and touches no memory, behind a launch that is fine; given an argument,
// one in which a lone thread goes from barrier to barrier, all of whose steps are the machine's.
#include "common/device/cuda.cuh"

__global__ void fine_kernel(float* y) { y[threadIdx.x] = 1.0f; }

__global__ void endless_kernel(float* y, unsigned value) {
  while (value != 4) value = 2 * value + 2;  // bug: endless
  y[threadIdx.x] = static_cast<float>(value);
}

__global__ void barrier_kernel(volatile float* y) {
  while (y[0] == 1.0f) __syncthreads();  // bug: endless_barrier
}

int main(int argc, char**) {
  float* y = nullptr;
  CUDA_CHECK(cudaMalloc(&y, 32 * sizeof(float)));
  attn::launch(fine_kernel, 1, 32, 0, nullptr, y);
  if (argc > 1) attn::launch(barrier_kernel, 1, 1, 0, nullptr, y);
  attn::launch(endless_kernel, 1, 32, 0, nullptr, y, 50u);
}
