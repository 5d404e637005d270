// SPDX-License-Identifier: MIT
#include "tests/simt/bound_kernels.hpp"

#include "common/device/cuda.cuh"

namespace attn::simt_test {
namespace {

__device__ std::size_t element() { return std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; }

__global__ void scale_kernel(const float* in, float* out) { out[element()] = 2 * in[element()]; }

__global__ void fill_kernel(float* out) { out[element()] = static_cast<float>(element()); }

__global__ void count_kernel(const float* in, float* out) {
  const int count = __syncthreads_count(in[element()] > 0 ? 1 : 0);
  if (threadIdx.x == 0) out[blockIdx.x] = static_cast<float>(count);
}

constexpr int kReread = 1024;  // floats

__global__ void reread_kernel(int rounds, const float* in, float* out) {
  float sum = 0;
  for (int r = 0; r < rounds; ++r) sum += in[(r * 32 + threadIdx.x % 32) % kReread];
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

__global__ void columns_kernel(int rounds, float* out) {
  __shared__ float tile[32][32];
  for (int i = static_cast<int>(threadIdx.x); i < 32 * 32; i += static_cast<int>(blockDim.x)) {
    tile[i / 32][i % 32] = 1;
  }
  __syncthreads();  // the tile is complete
  float sum = 0;
  for (int r = 0; r < rounds; ++r) sum += tile[threadIdx.x % 32][r % 32];
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

__global__ void exponentials_kernel(int rounds, float* out) {
  float x = static_cast<float>(threadIdx.x) / 1024;
  for (int r = 0; r < rounds; ++r) x = expf(-x);
  if (threadIdx.x == 0) out[blockIdx.x] = x;
}

__global__ void multiply_adds_kernel(int rounds, float* out) {
  float x = static_cast<float>(threadIdx.x);
  for (int r = 0; r < rounds; ++r) x = fmaf(x, 0.5f, 1.0f);
  if (threadIdx.x == 0) out[blockIdx.x] = x;
}

}  // namespace

void run_scale(unsigned blocks, unsigned threads, const float* in, float* out) {
  launch(scale_kernel, blocks, threads, 0, nullptr, in, out);
}

void run_fill(unsigned blocks, unsigned threads, float* out) {
  launch(fill_kernel, blocks, threads, 0, nullptr, out);
}

void run_count(unsigned blocks, unsigned threads, const float* in, float* out) {
  launch(count_kernel, blocks, threads, 0, nullptr, in, out);
}

void run_reread(unsigned blocks, unsigned threads, int rounds, const float* in, float* out) {
  launch(reread_kernel, blocks, threads, 0, nullptr, rounds, in, out);
}

void run_columns(unsigned blocks, unsigned threads, int rounds, float* out) {
  launch(columns_kernel, blocks, threads, 0, nullptr, rounds, out);
}

void run_exponentials(unsigned blocks, unsigned threads, int rounds, float* out) {
  launch(exponentials_kernel, blocks, threads, 0, nullptr, rounds, out);
}

void run_multiply_adds(unsigned blocks, unsigned threads, int rounds, float* out) {
  launch(multiply_adds_kernel, blocks, threads, 0, nullptr, rounds, out);
}

}  // namespace attn::simt_test
