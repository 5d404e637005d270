// SPDX-License-Identifier: MIT
//
// A program of this project's own kind, in a folder of its own: launch() in the place of <<< >>>.
#include <cstdio>
#include <vector>

#include "common/device/cuda.cuh"

namespace {

__global__ void scale_kernel(const float* x, float* y, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) y[i] = 2.0f * x[i];
}

}  // namespace

int main() {
  constexpr int kN = 1000;
  std::vector<float> host(kN, 1.5f);
  const std::size_t bytes = kN * sizeof(float);
  float* x = nullptr;
  float* y = nullptr;
  CUDA_CHECK(cudaMalloc(&x, bytes));
  CUDA_CHECK(cudaMalloc(&y, bytes));
  CUDA_CHECK(cudaMemcpy(x, host.data(), bytes, cudaMemcpyHostToDevice));
  attn::launch(scale_kernel, attn::ceil_div(kN, 256), 256, 0, nullptr, x, y, kN);
  CUDA_CHECK(cudaMemcpy(host.data(), y, bytes, cudaMemcpyDeviceToHost));
  std::printf("y[999] = %g\n", static_cast<double>(host[kN - 1]));
  return host[kN - 1] == 3.0f ? 0 : 1;
}
