// SPDX-License-Identifier: MIT
//
// Solution: several warps share one row.
//   1. warp w streams its share of the keys, as in forward.cu, and gets its own m, l, O
//   2. every warp leaves them in shared memory
//   3. barrier: wait until all warps have
//   4. m and l are merged; each part of O is brought to the common m, added up, divided by l
#include "chapters/04_online_softmax/running_softmax.hpp"
#include "common/device/cuda.cuh"
#include "common/device/warp_reduce.cuh"

namespace attn::online_softmax {
namespace {

constexpr int kWarp = 32;

/// One row of O and LSE per block, its keys shared between the block's warps.
/// Grid: rows; block: (kWarp, warps); dynamic shared memory: warps * (d + 2) floats.
template <int kColumns>
__global__ void split_kernel(const float* gQ, const float* gK, const float* gV, float* gO,
                             float* gLSE, std::int64_t Nq, std::int64_t Nk, std::int64_t d,
                             std::int64_t diagonal, float scale) {
  const unsigned lane = threadIdx.x;
  const unsigned warp = threadIdx.y;
  const unsigned warps = blockDim.y;
  float* sMax = dynamic_shared<float>();  // (warps)
  float* sSum = sMax + warps;             // (warps)
  float* sO = sSum + warps;               // (warps, d), not divided
  const std::int64_t row = blockIdx.x;
  const std::int64_t head = row / Nq;
  const std::int64_t visible = visible_keys(row % Nq, diagonal, Nk);

  float rQ[kColumns];
  float acc_o[kColumns];
  for (int n = 0; n < kColumns; ++n) {
    const std::int64_t c = lane + std::int64_t{n} * kWarp;
    rQ[n] = c < d ? gQ[row * d + c] : 0.0f;
    acc_o[n] = 0.0f;
  }

  // Neighbouring warps meet where one share ends, and the last share ends at `visible`: each key is
  // seen by one warp. With few keys some shares are empty.
  const std::int64_t first = visible * warp / warps;
  const std::int64_t last = visible * (warp + 1) / warps;
  RunningSoftmax softmax;
  for (std::int64_t j = first; j < last; ++j) {
    const float* k = gK + (head * Nk + j) * d;  // (d)
    const float* v = gV + (head * Nk + j) * d;  // (d)
    float dot = 0.0f;
    for (int n = 0; n < kColumns; ++n) {
      const std::int64_t c = lane + std::int64_t{n} * kWarp;
      if (c < d) dot += rQ[n] * k[c];
    }
    const float s = __fmul_rn(scale, device::warp_sum(dot));

    const float new_max = fmaxf(softmax.row_max, s);
    const float rescale = expf(softmax.row_max - reference_point(new_max));
    const float p = expf(s - reference_point(new_max));
    softmax = {new_max, softmax.row_sum * rescale + p};
    for (int n = 0; n < kColumns; ++n) {
      const std::int64_t c = lane + std::int64_t{n} * kWarp;
      if (c < d) acc_o[n] = acc_o[n] * rescale + p * v[c];
    }
  }

  if (lane == 0) {
    sMax[warp] = softmax.row_max;
    sSum[warp] = softmax.row_sum;
  }
  for (int n = 0; n < kColumns; ++n) {
    const std::int64_t c = lane + std::int64_t{n} * kWarp;
    if (c < d) sO[warp * d + c] = acc_o[n];
  }
  __syncthreads();  // wait until every warp has left its part

  RunningSoftmax all;
  for (unsigned w = 0; w < warps; ++w) all = merge(all, {sMax[w], sSum[w]});
  const float reference = reference_point(all.row_max);
  for (std::int64_t c = warp * kWarp + lane; c < d; c += warps * kWarp) {
    float sum = 0.0f;
    for (unsigned w = 0; w < warps; ++w) sum += sO[w * d + c] * expf(sMax[w] - reference);
    gO[row * d + c] = visible > 0 ? sum / all.row_sum : 0.0f;
  }
  if (warp == 0 && lane == 0) gLSE[row] = visible > 0 ? log_sum_exp(all) : -INFINITY;
}

}  // namespace

void split_forward(const ForwardArgs& args, int warps) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  const auto shared_floats = static_cast<std::size_t>(warps * (d + 2));
  const auto run = [&](auto kernel) {
    launch(kernel, grid_size(args.shape.rows()), dim3(kWarp, static_cast<unsigned>(warps)),
           shared_floats * sizeof(float), nullptr, args.q, args.k, args.v, args.o, args.lse, Nq, Nk,
           d, diagonal, args.scale);
  };
  if (d <= 32) return run(split_kernel<1>);
  if (d <= 64) return run(split_kernel<2>);
  run(split_kernel<4>);
}

}  // namespace attn::online_softmax
