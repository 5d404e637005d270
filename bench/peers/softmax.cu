// SPDX-License-Identifier: MIT
//
// The softmax between cuBLAS's two matrix products. One block per row:
//   1. each thread reads every kThreads-th score, keeps its own maximum and sum
//   2. the block agrees on both
//   3. each thread reads its scores again, from the cache, and overwrites them with P
#include "bench/peers/cublas.hpp"
#include "common/attention.hpp"
#include "common/device/online_softmax.cuh"
#include "common/device/warp_reduce.cuh"

namespace attn::peers {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;

/// Grid: (heads * Nq); block: kThreads.
__global__ void softmax_kernel(float* gS, float* gLSE, std::int64_t Nq, std::int64_t Nk,
                               std::int64_t diagonal) {
  __shared__ float sMax[kWarps];
  __shared__ float sSum[kWarps];
  const std::int64_t row = blockIdx.x;
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  const std::int64_t visible = visible_keys(row % Nq, diagonal, Nk);
  float* s = gS + row * Nk;  // (Nk)

  float row_max = -INFINITY;
  float row_sum = 0.0f;
  for (std::int64_t j = threadIdx.x; j < visible; j += kThreads) {
    const float new_max = fmaxf(row_max, s[j]);
    const float reference = device::reference_point(new_max);
    row_sum = row_sum * expf(row_max - reference) + expf(s[j] - reference);
    row_max = new_max;
  }
  const float warp_max = device::warp_max(row_max);
  const float warp_sum =
      device::warp_sum(row_sum * expf(row_max - device::reference_point(warp_max)));
  if (lane == 0) {
    sMax[warp] = warp_max;
    sSum[warp] = warp_sum;
  }
  __syncthreads();  // wait until every warp has left its maximum and sum
  row_max = -INFINITY;
  row_sum = 0.0f;
  for (int w = 0; w < kWarps; ++w) row_max = fmaxf(row_max, sMax[w]);
  const float reference = device::reference_point(row_max);
  for (int w = 0; w < kWarps; ++w) row_sum += sSum[w] * expf(sMax[w] - reference);

  for (std::int64_t j = threadIdx.x; j < Nk; j += kThreads) {
    s[j] = j < visible ? expf(s[j] - reference) / row_sum : 0.0f;
  }
  if (threadIdx.x == 0) gLSE[row] = device::log_sum_exp(row_max, row_sum);
}

}  // namespace

void softmax(float* s, float* lse, std::int64_t heads, std::int64_t Nq, std::int64_t Nk,
             std::int64_t diagonal) {
  launch(softmax_kernel, ceil_div(heads * Nq, 1), kThreads, 0, nullptr, s, lse, Nq, Nk, diagonal);
}

}  // namespace attn::peers
