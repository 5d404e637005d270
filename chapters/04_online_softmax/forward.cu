// SPDX-License-Identifier: MIT
//
// One warp streams one row. Its 32 lanes share the columns of d: lane 0 holds columns 0, 32, 64 and
// 96, lane 1 columns 1, 33, ... of Q[i] and of the output. For every key, in order:
//   1. s = scale * Q[i] . K[j]      each lane multiplies its columns, the warp adds up
//   2. m, l, O are brought up to the new maximum, and key j joins them
// and at the end O is divided by l, once. No score is ever stored.
#include "chapters/04_online_softmax/online_softmax.hpp"
#include "chapters/04_online_softmax/running_softmax.hpp"
#include "common/device/warp_reduce.cuh"

namespace attn::online_softmax {
namespace {

constexpr int kWarp = 32;
constexpr int kWarpsPerBlock = 4;

/// One row of O and LSE per warp. kColumns: columns of d that one lane holds, ceil(d / 32).
/// Grid: ceil(rows / kWarpsPerBlock); block: (kWarp, kWarpsPerBlock).
template <int kColumns>
__global__ void forward_kernel(const float* gQ, const float* gK, const float* gV, float* gO,
                               float* gLSE, std::int64_t rows, std::int64_t Nq, std::int64_t Nk,
                               std::int64_t d, std::int64_t diagonal, float scale) {
  const unsigned lane = threadIdx.x;
  const std::int64_t row = std::int64_t{blockIdx.x} * kWarpsPerBlock + threadIdx.y;
  if (row >= rows) return;  // the whole warp
  const std::int64_t head = row / Nq;
  const std::int64_t visible = visible_keys(row % Nq, diagonal, Nk);

  float rQ[kColumns];     // this lane's columns of Q[i]; zero beyond d
  float acc_o[kColumns];  // the same columns of the output, relative to softmax.row_max
  for (int n = 0; n < kColumns; ++n) {
    const std::int64_t c = lane + std::int64_t{n} * kWarp;
    rQ[n] = c < d ? gQ[row * d + c] : 0.0f;
    acc_o[n] = 0.0f;
  }

  RunningSoftmax softmax;
  for (std::int64_t j = 0; j < visible; ++j) {
    const float* k = gK + (head * Nk + j) * d;  // (d)
    const float* v = gV + (head * Nk + j) * d;  // (d)
    float dot = 0.0f;
    for (int n = 0; n < kColumns; ++n) {
      const std::int64_t c = lane + std::int64_t{n} * kWarp;
      if (c < d) dot += rQ[n] * k[c];
    }
    const float s = __fmul_rn(scale, device::warp_sum(dot));  // one number, whatever uses it

    const float new_max = fmaxf(softmax.row_max, s);
    const float rescale = expf(softmax.row_max - reference_point(new_max));
    const float p = expf(s - reference_point(new_max));
    softmax = {new_max, softmax.row_sum * rescale + p};
    for (int n = 0; n < kColumns; ++n) {
      const std::int64_t c = lane + std::int64_t{n} * kWarp;
      if (c < d) acc_o[n] = acc_o[n] * rescale + p * v[c];
    }
  }

  for (int n = 0; n < kColumns; ++n) {
    const std::int64_t c = lane + std::int64_t{n} * kWarp;
    if (c < d) gO[row * d + c] = visible > 0 ? acc_o[n] / softmax.row_sum : 0.0f;
  }
  if (lane == 0) gLSE[row] = visible > 0 ? log_sum_exp(softmax) : -INFINITY;
}

}  // namespace

std::size_t workspace_bytes(const Shape&) { return 0; }

void forward(const ForwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  const std::int64_t rows = B * H * Nq;
  const auto run = [&](auto kernel) {
    launch(kernel, ceil_div(rows, kWarpsPerBlock), dim3(kWarp, kWarpsPerBlock), 0, nullptr, args.q,
           args.k, args.v, args.o, args.lse, rows, Nq, Nk, d, diagonal, args.scale);
  };
  if (d <= 32) return run(forward_kernel<1>);
  if (d <= 64) return run(forward_kernel<2>);
  run(forward_kernel<4>);
}

}  // namespace attn::online_softmax
