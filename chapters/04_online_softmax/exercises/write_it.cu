// SPDX-License-Identifier: MIT
//
// Write it: softmax and O of a row that is seen key by key, no score ever stored; then by two warps
// that share the row. The checker goes through four stages, stops at the first that fails, and says
// what is wrong:
//   cmake --build build --target ch04_write && build/ch04_write
//   build/ch04_write 2        stage 2 alone
//   build/ch04_write --hint   a hint for the stage you are at (2 --hint: for stage 2)
//   build/ch04_write --full   all cases in the last stage, not a part of them
// Keep forward.cu closed until stage 2 is right.
//
// Given: score() below; reference_point(m), which is m, or 0 while m is -infinity; log_sum_exp({m,
// l}), which is m + log(l); visible_keys(i, diagonal, Nk): row i sees the keys 0 .. visible - 1.
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
__global__ void write_kernel(const float* gQ, const float* gK, const float* gV,
                             [[maybe_unused]] float* gO, [[maybe_unused]] float* gLSE,
                             std::int64_t Nq, std::int64_t Nk, std::int64_t d,
                             std::int64_t diagonal, float scale, float* gMax, float* gSum) {
  [[maybe_unused]] float* sMax = dynamic_shared<float>();  // m of warp 1
  [[maybe_unused]] float* sSum = sMax + 1;                 // l of warp 1
  [[maybe_unused]] float* sO = sMax + 2;                   // (d): O of warp 1, not divided
  [[maybe_unused]] const int warp = threadIdx.x / kWarp;
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
  [[maybe_unused]] float row_max = -INFINITY;
  float row_sum = 0.0f;
  [[maybe_unused]] float acc_o[kColumns] = {};  // the same columns of O, not divided

  // The keys of this warp. In stage 3 two warps share the row, and each has half of the visible
  // ones: of 3 keys warp 0 has 1, warp 1 has 2.
  const std::int64_t first = 0;
  const std::int64_t last = visible;

  for (std::int64_t j = first; j < last; ++j) {
    [[maybe_unused]] const float s = score(rQ, gK + j * d, d, scale);
    // Stage 1: take the score into row_max (m) and row_sum (l).

    // Stage 2: take row j of V, gV[j * d + c], into acc_o, which holds the columns that rQ holds.
  }

  // Stage 3, if constexpr (kWarps == 2): warp 1 leaves its m, l and O in sMax, sSum and sO; a
  // barrier; warp 0 merges them into its own row_max, row_sum and acc_o, and goes on alone. Warp 1
  // returns behind the barrier.

  // Stage 2, continued: divide, and store the row of O: gO[row * d + c].

  // Stage 4: a row that sees no key; and LSE of the row, gLSE[row]. (Where all visible logits are
  // -infinity, either -infinity or NaN passes.)

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
