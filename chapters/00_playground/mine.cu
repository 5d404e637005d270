// SPDX-License-Identifier: MIT
//
// Yours: put any kernel here, with a main() that launches it. build/mine runs it on the CPU
// machine, every memory access watched and counted; build/mine-cuda, where nvcc was found, on a
// GPU. This one adds two arrays, so that there is something to change.
#include <cstdio>
#include <vector>

#include "common/device/cuda.cuh"

/// y[i] = a * x[i] + y[i] for i < n; one thread per element.
__global__ void saxpy_kernel(float a, const float* x, float* y, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= n) return;
  y[i] = a * x[i] + y[i];
}

int main() {
  constexpr int n = 1000;  // no multiple of the block, so the last block has threads left over
  constexpr unsigned kThreads = 128;
  constexpr std::size_t kBytes = n * sizeof(float);
  std::vector<float> host_x(n), host_y(n, 1.0f);
  for (int i = 0; i < n; ++i) host_x[static_cast<std::size_t>(i)] = static_cast<float>(i);

  float* x = nullptr;
  float* y = nullptr;
  CUDA_CHECK(cudaMalloc(&x, kBytes));
  CUDA_CHECK(cudaMalloc(&y, kBytes));
  CUDA_CHECK(cudaMemcpy(x, host_x.data(), kBytes, cudaMemcpyHostToDevice));
  CUDA_CHECK(cudaMemcpy(y, host_y.data(), kBytes, cudaMemcpyHostToDevice));
  // saxpy_kernel<<<ceil_div(n, kThreads), kThreads>>>(2.0f, x, y, n), in a form that g++ reads too.
  attn::launch(saxpy_kernel, attn::ceil_div(n, kThreads), kThreads, 0, nullptr, 2.0f, x, y, n);
  CUDA_CHECK(cudaMemcpy(host_y.data(), y, kBytes, cudaMemcpyDeviceToHost));
  CUDA_CHECK(cudaFree(x));
  CUDA_CHECK(cudaFree(y));

  int wrong = 0;
  for (int i = 0; i < n; ++i) {
    if (host_y[static_cast<std::size_t>(i)] != 2.0f * static_cast<float>(i) + 1.0f) ++wrong;
  }
  std::printf("%d of %d elements are wrong\n", wrong, n);
  return wrong == 0 ? 0 : 1;
}
