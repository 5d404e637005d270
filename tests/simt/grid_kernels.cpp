// SPDX-License-Identifier: MIT
#include "common/device/cuda.cuh"
#include "tests/simt/kernels.hpp"

namespace attn::simt_test {
namespace {

dim3 to_dim3(Extent e) { return dim3(e.x, e.y, e.z); }

__device__ unsigned linear_thread() {
  return (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
}

__global__ void identity_kernel(unsigned* words) {
  const std::size_t block =
      (std::size_t{blockIdx.z} * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const std::size_t threads = std::size_t{blockDim.x} * blockDim.y * blockDim.z;
  unsigned* mine = words + (block * threads + linear_thread()) * kIdentityWords;
  mine[0] = threadIdx.x;
  mine[1] = threadIdx.y;
  mine[2] = threadIdx.z;
  mine[3] = blockIdx.x;
  mine[4] = blockIdx.y;
  mine[5] = blockIdx.z;
  mine[6] = blockDim.x;
  mine[7] = blockDim.y;
  mine[8] = blockDim.z;
  mine[9] = gridDim.x;
  mine[10] = gridDim.y;
  mine[11] = gridDim.z;
  mine[12] = static_cast<unsigned>(warpSize);
}

__global__ void warp_leaders_kernel(unsigned* leaders) {
  const unsigned thread = linear_thread();
  leaders[thread] = __shfl_sync(0xffffffffu, thread, 0);
}

__global__ void double_kernel(const int* in, int* out, std::int64_t n) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < n) out[i] = 2 * in[i];
}

__global__ void increment_kernel(unsigned* counts) {
  counts[std::size_t{blockIdx.x} * blockDim.x + threadIdx.x] += 1;
}

__global__ void private_parameters_kernel(int value, int* out) {
  value += static_cast<int>(threadIdx.x);
  __syncthreads();  // every thread has changed its own `value` before any is written
  *(out + threadIdx.x) = value;
}

template <typename T>
__global__ void affine_kernel(Affine affine, T* out) {
  out[threadIdx.x] = static_cast<T>(affine.slope * threadIdx.x + affine.offset);
}

}  // namespace

void run_identity(Extent grid, Extent block, unsigned* words) {
  launch(identity_kernel, to_dim3(grid), to_dim3(block), 0, nullptr, words);
}

void run_warp_leaders(Extent block, unsigned* leaders) {
  launch(warp_leaders_kernel, 1, to_dim3(block), 0, nullptr, leaders);
}

void run_double(const int* in, int* out, std::int64_t n, unsigned threads) {
  launch(double_kernel, ceil_div(n, threads), threads, 0, nullptr, in, out, n);
}

void run_increment(unsigned blocks, unsigned threads, unsigned* counts) {
  launch(increment_kernel, blocks, threads, 0, nullptr, counts);
}

void run_private_parameters(unsigned threads, int base, int* out) {
  launch(private_parameters_kernel, 1, threads, 0, nullptr, base, out);
}

template <typename T>
void run_affine(unsigned threads, Affine affine, T* out) {
  launch(affine_kernel<T>, 1, threads, 0, nullptr, affine, out);
}
template void run_affine<int>(unsigned, Affine, int*);
template void run_affine<double>(unsigned, Affine, double*);

}  // namespace attn::simt_test
