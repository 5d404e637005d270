// SPDX-License-Identifier: MIT
//
// Taught in chapter 17: chapter 04's merge of what the runs of a cache have left of a row.
#pragma once

#include "common/device/cache.hpp"
#include "common/device/online_softmax.cuh"
#include "common/device/splits.hpp"
#include "common/device/warp_reduce.cuh"

namespace attn::decoding {

/// O and LSE of every row. Lane s has the statistics of run s; then lanes take columns of O. A row
/// is a block of one warp, so that few rows have many multiprocessors. Grid: rows; block: 32.
template <int kD>
__global__ void merge_kernel(Partials partials, float* gO, float* gLSE, Request request) {
  constexpr float kLog2E = 1.44269504f;
  const std::int64_t row = blockIdx.x;
  const int splits = partials.splits;
  const int lane = threadIdx.x;
  const std::int64_t d = request.d;
  float split_max = -INFINITY, split_sum = 0.0f;
  if (lane < splits) {
    split_max = partials.gMax[row * splits + lane];
    split_sum = partials.gSum[row * splits + lane];
  }
  const float row_max = device::warp_max(split_max);
  const float weight = exp2f(kLog2E * (split_max - device::reference_point(row_max)));
  const float row_sum = device::warp_sum(weight * split_sum);

  float acc_o[kD / 32] = {};
  const float* gRow = partials.gO + row * splits * d + lane;
#pragma unroll 4  // 4 to 16 loads of a thread are under way at a time
  for (int split = 0; split < splits; ++split, gRow += d) {
    const float split_weight = __shfl_sync(device::kAllLanes, weight, split);
    for (int m = 0; m < kD / 32; ++m) {
      if (lane + m * 32 < d) acc_o[m] += split_weight * gRow[m * 32];
    }
  }
  const SeenKeys seen = request.seen(request.valid(row / (request.H * request.Nq)));
  const bool empty = seen.sees_none(row % request.Nq);
  const float lse = device::log_sum_exp(row_max, row_sum);
  for (int m = 0; m < kD / 32; ++m) {
    const int c = lane + m * 32;
    if (c < d) gO[row * d + c] = empty ? 0.0f : acc_o[m] / row_sum;
  }
  if (lane == 0) gLSE[row] = lse;
}

template <int kD>
void merge(const ForwardArgs& args, const Partials& partials) {
  launch(merge_kernel<kD>, grid_size(args.shape.rows()), 32, 0, nullptr, partials, args.o, args.lse,
         request_of(args));
}

/// Of the GPU in use.
inline int multiprocessors() {
  int device = 0, count = 0;
  CUDA_CHECK(cudaGetDevice(&device));
  CUDA_CHECK(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
  return count;
}

}  // namespace attn::decoding
