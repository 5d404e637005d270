// SPDX-License-Identifier: MIT
//
// Solution: a row that is seen key by key, by one warp or by two.
#include "chapters/04_online_softmax/exercises/write_it.hpp"
#include "chapters/04_online_softmax/running_softmax.hpp"
#include "common/device/cuda.cuh"
#include "common/device/warp_reduce.cuh"

namespace attn::online_softmax {
namespace {

constexpr int kWarp = 32;

/// scale * (q . k), the same in all lanes, which all call it. Lane L holds the columns L, L + 32,
/// ... of q in rQ.
template <int kColumns>
__device__ __forceinline__ float score(const float (&rQ)[kColumns], const float* k, std::int64_t d,
                                       float scale) {
  float dot = 0.0f;
  for (int n = 0; n < kColumns; ++n) {
    const std::int64_t c = threadIdx.x % kWarp + std::int64_t{n} * kWarp;
    if (c < d) dot += rQ[n] * k[c];
  }
  return __fmul_rn(scale, device::warp_sum(dot));
}

/// One row of O and LSE per block. Grid: rows; block: kWarps warps; dynamic shared memory: d + 2
/// floats.
template <int kColumns, int kWarps>
__global__ void write_kernel(const float* gQ, const float* gK, const float* gV, float* gO,
                             float* gLSE, std::int64_t Nq, std::int64_t Nk, std::int64_t d,
                             std::int64_t diagonal, float scale, float* gMax, float* gSum) {
  float* sMax = dynamic_shared<float>();  // m of warp 1
  float* sSum = sMax + 1;                 // l of warp 1
  float* sO = sMax + 2;                   // (d): O of warp 1, not divided
  const int warp = threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  const std::int64_t row = blockIdx.x;
  const std::int64_t visible = visible_keys(row % Nq, diagonal, Nk);
  gK += row / Nq * Nk * d;  // of the row's head
  gV += row / Nq * Nk * d;
  float rQ[kColumns];  // the lane's columns of Q[row]: lane, lane + 32, ...
  for (int n = 0; n < kColumns; ++n) {
    const int c = lane + n * kWarp;
    rQ[n] = c < d ? gQ[row * d + c] : 0.0f;
  }
  float row_max = -INFINITY;
  float row_sum = 0.0f;
  float acc_o[kColumns] = {};  // the same columns of O, relative to row_max, not divided

  // Stage 3, part 1: which keys are this warp's?
  const std::int64_t first = visible * warp / kWarps;
  const std::int64_t last = visible * (warp + 1) / kWarps;

  for (std::int64_t j = first; j < last; ++j) {
    const float s = score(rQ, gK + j * d, d, scale);
    // Stage 1: m and l.
    const float new_max = fmaxf(row_max, s);
    const float reference = reference_point(new_max);
    const float rescale = expf(row_max - reference);
    const float p = expf(s - reference);
    row_sum = row_sum * rescale + p;
    row_max = new_max;
    // Stage 2: O.
    for (int n = 0; n < kColumns; ++n) {
      const int c = lane + n * kWarp;
      if (c < d) acc_o[n] = acc_o[n] * rescale + p * gV[j * d + c];
    }
  }

  // Stage 3, part 2: warp 1 hands its half to warp 0.
  if (kWarps == 2) {
    if (warp == 1) {
      if (lane == 0) {
        *sMax = row_max;
        *sSum = row_sum;
      }
      for (int n = 0; n < kColumns; ++n) {
        const int c = lane + n * kWarp;
        if (c < d) sO[c] = acc_o[n];
      }
    }
    __syncthreads();  // wait until warp 1 has left its half
    if (warp == 1) return;
    const float other_max = *sMax;
    const float new_max = fmaxf(row_max, other_max);
    const float reference = reference_point(new_max);
    const float mine = expf(row_max - reference);
    const float others = expf(other_max - reference);
    row_sum = row_sum * mine + *sSum * others;
    row_max = new_max;
    for (int n = 0; n < kColumns; ++n) {
      const int c = lane + n * kWarp;
      if (c < d) acc_o[n] = acc_o[n] * mine + sO[c] * others;
    }
  }

  // Stage 2: the division. (Stage 4: a row without a key.)
  for (int n = 0; n < kColumns; ++n) {
    const int c = lane + n * kWarp;
    if (c < d) gO[row * d + c] = visible == 0 ? 0.0f : acc_o[n] / row_sum;
  }
  // Stage 4: LSE.
  if (lane == 0) gLSE[row] = visible == 0 ? -INFINITY : log_sum_exp({row_max, row_sum});

  if (gMax != nullptr && threadIdx.x == 0) {  // shows m and l to the checker
    gMax[row] = row_max;
    gSum[row] = row_sum;
  }
}

template <int kColumns, int kWarps>
void run_written(const ForwardArgs& args, float* gMax, float* gSum) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const auto shared_bytes = static_cast<std::size_t>(d + 2) * sizeof(float);
  launch(write_kernel<kColumns, kWarps>, grid_size(args.shape.rows()), kWarps * kWarp, shared_bytes,
         nullptr, args.q, args.k, args.v, args.o, args.lse, Nq, Nk, d,
         attn::diagonal(args.mask, Nq, Nk), args.scale, gMax, gSum);
}

}  // namespace

void write_forward(const ForwardArgs& args, int warps, float* gMax, float* gSum) {
  if (warps == 1) return run_written<4, 1>(args, gMax, gSum);
  if (args.shape.d <= 32) return run_written<1, 2>(args, gMax, gSum);
  if (args.shape.d <= 64) return run_written<2, 2>(args, gMax, gSum);
  run_written<4, 2>(args, gMax, gSum);
}

}  // namespace attn::online_softmax
