// SPDX-License-Identifier: MIT
#include "common/device/cuda.cuh"
#include "tests/simt/kernels.hpp"

namespace attn::simt_test {
namespace {

__global__ void reverse_survivors_kernel(unsigned alive, const int* in, int* out) {
  __shared__ int tile[1024];
  const unsigned t = threadIdx.x;
  if (t >= alive) return;
  tile[t] = in[t];
  __syncthreads();  // waits for the threads that are still here, and for no other
  out[t] = tile[alive - 1 - t];
}

__global__ void leave_one_by_one_kernel(int* counts) {
  const unsigned t = threadIdx.x;
  for (unsigned round = 0; round < blockDim.x; ++round) {
    if (t < round) return;
    counts[round * blockDim.x + t] = __syncthreads_count(1);
  }
}

__global__ void scan_kernel(const int* in, int* out) {
  __shared__ int sum[1024];
  const unsigned t = threadIdx.x;
  const std::size_t i = std::size_t{blockIdx.x} * blockDim.x + t;
  sum[t] = in[i];
  __syncthreads();
  for (unsigned step = 1; step < blockDim.x; step *= 2) {
    const int left = t >= step ? sum[t - step] : 0;
    __syncthreads();  // everyone has read
    sum[t] += left;
    __syncthreads();  // everyone has written
  }
  out[i] = sum[t];
}

__global__ void rounds_by_block_kernel(int* out) {
  __shared__ int token;
  const unsigned t = threadIdx.x;
  if (t == 0) token = 0;
  __syncthreads();
  for (unsigned round = 0; round < blockIdx.x; ++round) {
    if (t == round % blockDim.x) token += static_cast<int>(round);
    __syncthreads();
  }
  out[std::size_t{blockIdx.x} * blockDim.x + t] = token;
}

__device__ int neighbour(int* tile, int value) {
  const unsigned t = threadIdx.x;
  tile[t] = value;
  __syncthreads();
  const int result = tile[(t + 1) % blockDim.x];
  __syncthreads();  // everyone has read
  return result;
}

__global__ void uniform_branches_kernel(int* out) {
  __shared__ int tile[1024];
  int value = static_cast<int>(threadIdx.x);
  if (blockIdx.x % 2 == 0) {
    value = neighbour(tile, value);
  } else {
    value = neighbour(tile, value) + neighbour(tile, 10 * value);
  }
  out[std::size_t{blockIdx.x} * blockDim.x + threadIdx.x] = value;
}

__global__ void barrier_reductions_kernel(unsigned alive, int rounds, const int* predicates,
                                          int* count, int* all, int* any) {
  const unsigned t = threadIdx.x;
  if (t >= alive) return;
  for (int round = 0; round < rounds; ++round) {
    const std::size_t i = static_cast<std::size_t>(round) * blockDim.x + t;
    const int predicate = predicates[i];
    count[i] = __syncthreads_count(predicate);
    all[i] = __syncthreads_and(predicate);
    any[i] = __syncthreads_or(predicate);
  }
}

__global__ void rotate_in_place_kernel(int rounds, int* data) {
  int* row = data + std::size_t{blockIdx.x} * blockDim.x;
  const unsigned t = threadIdx.x;
  for (int round = 0; round < rounds; ++round) {
    const int next = row[(t + 1) % blockDim.x];
    __syncthreads();  // everyone has read
    row[t] = next;
    __syncthreads();  // everyone has written
  }
}

}  // namespace

void run_reverse_survivors(unsigned threads, unsigned alive, const int* in, int* out) {
  launch(reverse_survivors_kernel, 1, threads, 0, nullptr, alive, in, out);
}

void run_leave_one_by_one(unsigned threads, int* counts) {
  launch(leave_one_by_one_kernel, 1, threads, 0, nullptr, counts);
}

void run_scan(unsigned blocks, unsigned threads, const int* in, int* out) {
  launch(scan_kernel, blocks, threads, 0, nullptr, in, out);
}

void run_rounds_by_block(unsigned blocks, unsigned threads, int* out) {
  launch(rounds_by_block_kernel, blocks, threads, 0, nullptr, out);
}

void run_uniform_branches(unsigned blocks, unsigned threads, int* out) {
  launch(uniform_branches_kernel, blocks, threads, 0, nullptr, out);
}

void run_barrier_reductions(unsigned threads, unsigned alive, int rounds, const int* predicates,
                            int* count, int* all, int* any) {
  launch(barrier_reductions_kernel, 1, threads, 0, nullptr, alive, rounds, predicates, count, all,
         any);
}

void run_rotate_in_place(unsigned blocks, unsigned threads, int rounds, int* data) {
  launch(rotate_in_place_kernel, blocks, threads, 0, nullptr, rounds, data);
}

}  // namespace attn::simt_test
