// SPDX-License-Identifier: MIT
//
// Sum of an array with cooperative groups, as a program that knows nothing of this project.
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>

namespace cg = cooperative_groups;

#define CUDA_OK(call)                                                              \
  do {                                                                             \
    cudaError_t err = (call);                                                      \
    if (err != cudaSuccess) {                                                      \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, cudaGetErrorString(err)); \
      exit(EXIT_FAILURE);                                                          \
    }                                                                              \
  } while (0)

__device__ unsigned int blocksDone = 0;

// Each thread adds up a grid-stride slice, each warp its lanes, each block its warps.
template <int BLOCK>
__global__ void blockSums(const float *in, float *out, int n) {
  cg::thread_block block = cg::this_thread_block();
  cg::thread_block_tile<32> warp = cg::tiled_partition<32>(block);
  __shared__ float partial[BLOCK / 32];

  float sum = 0.0f;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
    sum += in[i];
  }
  sum = cg::reduce(warp, sum, cg::plus<float>());
  if (warp.thread_rank() == 0) partial[warp.meta_group_rank()] = sum;
  block.sync();

  if (warp.meta_group_rank() == 0) {
    sum = warp.thread_rank() < BLOCK / 32 ? partial[warp.thread_rank()] : 0.0f;
    for (int offset = warp.size() / 2; offset > 0; offset /= 2) sum += warp.shfl_down(sum, offset);
    if (warp.thread_rank() == 0) {
      out[blockIdx.x] = sum;
      atomicAdd(&blocksDone, 1u);
    }
  }
}

int main() {
  const int n = 100000, blocks = 16, threads = 128;
  float *x, *sums;
  CUDA_OK(cudaMallocManaged(&x, n * sizeof(float)));
  CUDA_OK(cudaMallocManaged(&sums, blocks * sizeof(float)));
  double expected = 0.0;
  for (int i = 0; i < n; i++) {
    x[i] = (float)(i % 7);
    expected += x[i];
  }
  blockSums<threads><<<blocks, threads>>>(x, sums, n);
  CUDA_OK(cudaGetLastError());
  CUDA_OK(cudaDeviceSynchronize());

  double got = 0.0;
  for (int b = 0; b < blocks; b++) got += sums[b];
  unsigned int done = 0;
  CUDA_OK(cudaMemcpyFromSymbol(&done, blocksDone, sizeof(done)));
  printf("sum %.0f, expected %.0f, by %u blocks\n", got, expected, done);
  CUDA_OK(cudaFree(x));
  CUDA_OK(cudaFree(sums));
  return got == expected && done == blocks ? 0 : 1;
}
