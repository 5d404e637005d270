// SPDX-License-Identifier: MIT
//
// Steps 5 and 6: the backward pass of chapter 09 with asynchronous copies, and with dQ in the same
// kernel. One block per tile of keys:
//   1. copy K_j, V_j and the first Q_i, dO_i;  dK_j = dV_j = 0, in registers
//   for each tile i of Q and dO, from the first row on that sees a key of the tile:
//     2. wait for Q_i, dO_i;  start to copy Q_i+1, dO_i+1
//     3. S^T = K_j Q_i^T, dP^T = V_j dO_i^T, in fragments; from them P^T and dS^T, in place
//     4. dV_j += P^T dO_i,  dK_j += dS^T Q_i
//     5. step 5 only: dS^T to shared memory;  dQ_i += dS K_j, by atomics
//   6. store scale * dK_j, dV_j
#pragma once

#include "chapters/10_async_pipeline/addresses.cuh"
#include "chapters/10_async_pipeline/async_pipeline.hpp"
#include "common/device/delta.cuh"

namespace attn::async_pipeline {

/// P and dS of one pair, in place of its two dot products. visible: whether it counts.
__device__ __forceinline__ void recompute(float& p, float& ds, float scale, float lse, float delta,
                                          bool visible) {
  // Rounded before the subtraction, as LSE's maximum was: one multiply-add would differ.
  p = device::exp2<true>(device::kLog2E * (__fmul_rn(scale, p) - lse));
  ds = p * (ds - delta);
  if (!visible) p = ds = 0.0f;
}

/// acc[m] += A B^T over kColumns columns. a: square_address of the rows of A in fragment 0; b:
/// columns_address of those of B. kA, kB: constant distances from them, which cost no register.
template <class T, int kColumns, unsigned kA, unsigned kB, int kM, int kTiles>
__device__ __forceinline__ void add_dots(float (&acc)[kM][kTiles][4], unsigned a, unsigned b) {
#pragma unroll
  for (int c = 0; c < kColumns / kChunk; c += 2) {
    unsigned x[kM][4];
#pragma unroll
    for (int m = 0; m < kM; ++m) {
      device::ldmatrix_x4(x[m], at_chunk(a, c) + kA + 16 * m * 2 * kColumns);
    }
#pragma unroll
    for (int n = 0; n < kTiles; n += 2) {
      unsigned y[4];
      device::ldmatrix_x4(y, at_chunk(b, c) + kB + 8 * n * 2 * kColumns);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        device::mma_m16n8k16<T>(acc[m][n], x[m], y[0], y[1]);
        device::mma_m16n8k16<T>(acc[m][n + 1], x[m], y[2], y[3]);
      }
    }
  }
}

/// acc[m] += W X, W as two products have left it. x: square_address of the rows of X, kX from it.
template <class T, unsigned kX, int kM, int kTiles, int kColumnTiles>
__device__ __forceinline__ void add_weighted(float (&acc)[kM][kColumnTiles][4],
                                             const float (&w)[kM][kTiles][4], unsigned x) {
  constexpr int kRowBytes = 2 * 8 * kColumnTiles;
#pragma unroll
  for (int k = 0; k < kTiles / 2; ++k) {
    unsigned a[kM][4];
#pragma unroll
    for (int m = 0; m < kM; ++m) device::pack_fragment<T>(a[m], w[m][2 * k], w[m][2 * k + 1]);
#pragma unroll
    for (int n = 0; n < kColumnTiles; n += 2) {
      unsigned y[4];
      device::ldmatrix_x4<true>(y, at_chunk(x, n) + kX + 16 * k * kRowBytes);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        device::mma_m16n8k16<T>(acc[m][n], a[m], y[0], y[1]);
        device::mma_m16n8k16<T>(acc[m][n + 1], a[m], y[2], y[3]);
      }
    }
  }
}

/// Stores the warp's rows of a gradient, times `factor`. row: the warp's first; gRows: row 0 of the
/// block's. Rows before `first` and from `end` on have no visible pair at all and are exactly 0,
/// whatever NaN was multiplied by 0 beside them in a tile.
template <class T, int kM, int kTiles>
__device__ __forceinline__ void store_grad(T* gRows, int row, std::int64_t rows_left,
                                           std::int64_t d, float factor, int first, int end,
                                           float (&x)[kM][kTiles][4]) {
#pragma unroll
  for (int m = 0; m < kM; ++m) {
    const int top = row + 16 * m;
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int r = top + device::fragment_row() + e / 2 * 8;
      const bool seen = first <= r && r < end;
#pragma unroll
      for (int n = 0; n < kTiles; ++n) x[m][n][e] = seen ? factor * x[m][n][e] : 0.0f;
    }
    device::store_rows(gRows + top * d, rows_left - top, d, true, x[m]);
  }
}

}  // namespace attn::async_pipeline
