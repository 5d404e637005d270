// SPDX-License-Identifier: MIT
//
// Exercise: several warps share one row. See "Exercises" in the lesson. The plumbing is done; two
// places are yours, marked 1 and 2. As it stands it compiles, and computes the wrong thing: warp 0
// streams all the keys, and the other warps, which have seen none, write over its result.
//   cmake --build build --target ch04_exercise && ./build/ch04_exercise
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
  [[maybe_unused]] float* sMax = dynamic_shared<float>();  // (warps)
  [[maybe_unused]] float* sSum = sMax + warps;             // (warps)
  [[maybe_unused]] float* sO = sSum + warps;               // (warps, d), not divided
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

  // 1. Yours: which of the row's keys 0 .. visible - 1 are this warp's?
  const std::int64_t first = 0;
  const std::int64_t last = warp == 0 ? visible : 0;
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

  // 2. Yours: leave m, l and O of this warp in shared memory; wait; put them together.
  for (int n = 0; n < kColumns; ++n) {
    const std::int64_t c = lane + std::int64_t{n} * kWarp;
    if (c < d) gO[row * d + c] = visible > 0 ? acc_o[n] / softmax.row_sum : 0.0f;
  }
  if (lane == 0) gLSE[row] = visible > 0 ? log_sum_exp(softmax) : -INFINITY;
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
