// SPDX-License-Identifier: MIT
//
// The largest of an array by an atomic maximum of floats that CUDA does not have, as a program that
// knows nothing of this project.
#include <cfloat>
#include <cstdio>
#include <cstdlib>

__device__ __forceinline__ float atomicMaxFloat(float *address, float value) {
  int *as_int = (int *)address;
  int old = *as_int, assumed;
  while (value > __int_as_float(old)) {
    assumed = old;
    old = atomicCAS(as_int, assumed, __float_as_int(value));
    if (old == assumed) break;
  }
  return __int_as_float(old);
}

__global__ void maximum(const float *x, int n, float *result) {
  __shared__ float ofBlock;
  if (threadIdx.x == 0) ofBlock = -FLT_MAX;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
    atomicMaxFloat(&ofBlock, x[i]);
  }
  __syncthreads();
  if (threadIdx.x == 0) atomicMaxFloat(result, ofBlock);
}

int main(void) {
  const int n = 3000;
  float *h = (float *)malloc(n * sizeof(float)), *d, *dmax, lowest = -FLT_MAX, got = 0;
  for (int i = 0; i < n; i++) h[i] = (float)((i * 7919) % n) - 1500.0f;
  cudaMalloc(&d, n * sizeof(float));
  cudaMalloc(&dmax, sizeof(float));
  cudaMemcpy(d, h, n * sizeof(float), cudaMemcpyHostToDevice);
  cudaMemcpy(dmax, &lowest, sizeof(float), cudaMemcpyHostToDevice);

  cudaEvent_t start, stop;
  cudaEventCreate(&start);
  cudaEventCreate(&stop);
  cudaEventRecord(start);
  maximum<<<4, 256>>>(d, n, dmax);
  cudaEventRecord(stop);
  cudaEventSynchronize(stop);

  cudaMemcpy(&got, dmax, sizeof(float), cudaMemcpyDeviceToHost);
  printf("maximum %g\n", got);
  cudaFree(d);
  cudaFree(dmax);
  free(h);
  return got == 1499.0f ? EXIT_SUCCESS : EXIT_FAILURE;
}
