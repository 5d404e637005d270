// SPDX-License-Identifier: MIT
//
// The ways in which a program may say what is not C++: launches and dynamic shared memory.
#include <cuda_runtime.h>

#include <cstdio>

extern __shared__ float scratch[];

struct Pair {
  float a, b;
  __device__ Pair() {}
  __device__ Pair(float a_, float b_) : a(a_), b(b_) {}
};

__device__ volatile int flag;

__device__ __noinline__ float twice(float x) { return 2.0f * x; }

template <typename T>
__global__ void fill(T *x, T value) {
  x[threadIdx.x] = value;
}

template <typename T, int N>
__global__ void __launch_bounds__(N) reverse(T *x) {
  extern __shared__ __align__(sizeof(double)) unsigned char raw[];
  T *copy = reinterpret_cast<T *>(raw);
  copy[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = copy[N - 1 - threadIdx.x];
}

namespace steps {
__global__ void neighbours(float *x) {
  scratch[threadIdx.x] = twice(x[threadIdx.x]);
  __syncthreads();
  x[threadIdx.x] = scratch[(threadIdx.x + 1) % blockDim.x];
}
}  // namespace steps

__global__ void pairs(float *x) {
  __shared__ Pair tile[32];
  tile[threadIdx.x] = Pair(x[threadIdx.x], 1.0f);
  __syncthreads();
  x[threadIdx.x] = tile[31 - threadIdx.x].a + tile[31 - threadIdx.x].b;
  if (threadIdx.x == 0) flag = 5;
}

int main() {
  float host[32], *x = NULL;
  cudaMalloc(&x, sizeof(host));
  for (int i = 0; i < 32; ++i) host[i] = (float)i;
  fill<<<1, 32>>>(x, 1.0f);
  cudaMemcpy(x, host, sizeof(host), cudaMemcpyHostToDevice);
  reverse<float, 32><<<1, 32, sizeof(host)>>>(x);  // 31 30 29 ...
  steps::neighbours<<<dim3(1), dim3(32),
                      sizeof(host)>>>(
      x);                      // 60 58 ... 0 62
  pairs <<< 1, 32, 0, 0 >>>(x);  // 63 1 3 5 ...
  cudaMemcpy(host, x, sizeof(host), cudaMemcpyDeviceToHost);

  int wrong = host[0] != 63.0f, seen = 0;
  for (int i = 1; i < 32; ++i) wrong += host[i] != 2.0f * (float)i - 1.0f;
  cudaMemcpyFromSymbol(&seen, flag, sizeof(seen));
  wrong += seen != 5;

  fill<<<1, 2048>>>(x, 0.0f);  // too many threads
  wrong += cudaGetLastError() != cudaErrorInvalidConfiguration;
  wrong += cudaDeviceSynchronize() != cudaSuccess;
  printf("%d wrong\n", wrong);
  return wrong;
}
