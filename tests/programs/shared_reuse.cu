// SPDX-License-Identifier: MIT
//
// Wrong on purpose: the second use of `scratch` may come before everybody has read the first.
#include <cstdio>

__global__ void meanAndSpread(const float *x, float *y) {
  __shared__ float scratch[4];
  if (threadIdx.x == 0) scratch[0] = x[0];
  __syncthreads();
  float first = scratch[0];
  // Here a __syncthreads() is missing.
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = x[threadIdx.x] - first + scratch[threadIdx.x / 32];
}

int main() {
  float host[128], *x, *y;
  for (int i = 0; i < 128; ++i) host[i] = i;
  cudaMalloc(&x, sizeof(host));
  cudaMalloc(&y, sizeof(host));
  cudaMemcpy(x, host, sizeof(host), cudaMemcpyHostToDevice);
  meanAndSpread<<<1, 128>>>(x, y);
  cudaMemcpy(host, y, sizeof(host), cudaMemcpyDeviceToHost);
  printf("y[127] = %g\n", host[127]);
  return 0;
}
