// SPDX-License-Identifier: MIT
#include "common/device/cuda.cuh"
#include "tests/puzzles/wrong.hpp"

namespace attn::puzzles::wrong {

static __device__ __forceinline__ float own_max(const float* s, int columns) {
  float m = -INFINITY;
  for (int column = threadIdx.x; column < columns; column += 32) m = fmaxf(m, s[column]);
  return m;
}

__global__ void four_exchanges_kernel(const float* S, float* largest, int columns) {
  float m = own_max(S + blockIdx.x * columns, columns);
  for (int distance = 8; distance > 0; distance /= 2) {
    m = fmaxf(m, __shfl_xor_sync(0xFFFFFFFFu, m, distance));
  }
  if (threadIdx.x == 0) largest[blockIdx.x] = m;
}

__global__ void no_exchange_kernel(const float* S, float* largest, int columns) {
  const float m = own_max(S + blockIdx.x * columns, columns);
  if (threadIdx.x == 0) largest[blockIdx.x] = m;
}

__global__ void half_a_mask_kernel(const float* S, float* largest, int columns) {
  float m = own_max(S + blockIdx.x * columns, columns);
  for (int distance = 16; distance > 0; distance /= 2) {
    m = fmaxf(m, __shfl_xor_sync(0xFFFFu, m, distance));  // bug: half_a_mask
  }
  if (threadIdx.x == 0) largest[blockIdx.x] = m;
}

__global__ void all_store_kernel(const float* S, float* largest, int columns) {
  float m = own_max(S + blockIdx.x * columns, columns);
  for (int distance = 16; distance > 0; distance /= 2) {
    m = fmaxf(m, __shfl_xor_sync(0xFFFFFFFFu, m, distance));
  }
  largest[blockIdx.x] = m;
}

void row_max_four_exchanges(const Data& x) {
  launch(four_exchanges_kernel, grid_size(x.rows), 32, 0, nullptr, x.a, x.out, x.columns);
}
void row_max_no_exchange(const Data& x) {
  launch(no_exchange_kernel, grid_size(x.rows), 32, 0, nullptr, x.a, x.out, x.columns);
}
void row_max_half_a_mask(const Data& x) {
  launch(half_a_mask_kernel, grid_size(x.rows), 32, 0, nullptr, x.a, x.out, x.columns);
}
void row_max_all_store(const Data& x) {
  launch(all_store_kernel, grid_size(x.rows), 32, 0, nullptr, x.a, x.out, x.columns);
}

}  // namespace attn::puzzles::wrong
