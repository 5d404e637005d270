// SPDX-License-Identifier: MIT
//
// Transposition through a padded tile of dynamic shared memory, as a program that knows nothing of
// this project.
#include <cuda_runtime.h>
#include <stdio.h>
#include <vector>

#define TILE 32
#define ROWS 8

__constant__ float scale[1];

__global__ void __launch_bounds__(TILE *ROWS)
    transpose(float *__restrict__ out, const float *__restrict__ in, int width, int height) {
  extern __shared__ __align__(16) float tile[];

  int x = blockIdx.x * TILE + threadIdx.x;
  int y = blockIdx.y * TILE + threadIdx.y;
  for (int j = 0; j < TILE; j += ROWS) {
    if (x < width && y + j < height) {
      tile[(threadIdx.y + j) * (TILE + 1) + threadIdx.x] = __ldg(&in[(y + j) * width + x]);
    }
  }
  __syncthreads();

  x = blockIdx.y * TILE + threadIdx.x;
  y = blockIdx.x * TILE + threadIdx.y;
  for (int j = 0; j < TILE; j += ROWS) {
    if (x < height && y + j < width) {
      __stcs(&out[(y + j) * height + x],
             scale[0] * tile[threadIdx.x * (TILE + 1) + threadIdx.y + j]);
    }
  }
}

int main() {
  const int width = 100, height = 70;
  const size_t bytes = width * height * sizeof(float);
  std::vector<float> a(width * height), b(width * height, 0.0f);
  for (int i = 0; i < width * height; ++i) a[i] = i;

  float two = 2.0f, *d_in = NULL, *d_out = NULL;
  cudaMemcpyToSymbol(scale, &two, sizeof(two));
  cudaMalloc((void **)&d_in, bytes);
  cudaMalloc((void **)&d_out, bytes);
  cudaMemcpy(d_in, a.data(), bytes, cudaMemcpyHostToDevice);

  cudaStream_t stream;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  dim3 block(TILE, ROWS), grid((width + TILE - 1) / TILE, (height + TILE - 1) / TILE);
  transpose<<<grid, block, TILE * (TILE + 1) * sizeof(float), stream>>>(d_out, d_in, width,
                                                                        height);
  cudaError_t status = cudaStreamSynchronize(stream);
  if (status == cudaSuccess) {
    status = cudaMemcpy(b.data(), d_out, bytes, cudaMemcpyDeviceToHost);
  }
  if (status != cudaSuccess) {
    printf("%s\n", cudaGetErrorString(status));
    return 1;
  }

  int wrong = 0;
  for (int r = 0; r < height; ++r) {
    for (int c = 0; c < width; ++c) wrong += b[c * height + r] != 2.0f * a[r * width + c];
  }
  printf("%d wrong\n", wrong);
  cudaStreamDestroy(stream);
  cudaFree(d_in);
  cudaFree(d_out);
  return wrong != 0;
}
