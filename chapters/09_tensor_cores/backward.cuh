// SPDX-License-Identifier: MIT
//
// Step 5: what its two kernels share. A block owns a tile of rows, keys in one kernel and queries
// in the other, and walks over tiles of the rows of the other kind. Seen from the rows it owns, the
// kernels do the same: two products of rows with rows, then P and dS where the sums lie, then P and
// dS as fragments A of products with rows of the other kind. In the kernel that owns keys, S and dP
// are transposed from the start, so that nothing has to be transposed later.
#pragma once

#include "chapters/09_tensor_cores/fragments.cuh"
#include "chapters/09_tensor_cores/tensor_cores.hpp"
#include "common/device/delta.cuh"

namespace attn::tensor_cores {

/// A block owns kOwn rows, kM x 16 a warp; it meets kOther at a time. OwnsKeys: which are which.
template <int D, int M, int Other, bool OwnsKeys>
struct BackwardTiles {
  static constexpr int kD = D;
  static constexpr int kM = M;
  static constexpr int kWarps = 4;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kRows = 16 * M;  // of a warp
  static constexpr int kOwn = kRows * kWarps;
  static constexpr int kOther = Other;
  static constexpr int kQueries = OwnsKeys ? kOther : kOwn;  // of a tile
  static constexpr int kStride = D + 8;                      // as in the forward pass
  static constexpr std::size_t kBytes = 2 * 2 * (kOwn + kOther) * kStride + 2 * 4 * kQueries;
  static_assert(Other % 16 == 0 && kQueries <= kThreads);
};
/// 32 rows a warp where the sums of dK and dV leave room for S and dP of 32 queries.
template <int D, bool kOwnsKeys>
using BackwardTilesFor = BackwardTiles<D, D == 128 ? 1 : 2, D == 128 ? 64 : 32, kOwnsKeys>;

/// The block's shared memory, cut into tiles. a and b are K and V in the kernel that owns keys, Q
/// and dO in the other; c and e are what they are multiplied by: Q and dO, or K and V.
template <class T, class Tiles>
struct SharedRows {
  T* a = dynamic_shared<T>();                                                 // (own, D + 8)
  T* b = a + Tiles::kOwn * Tiles::kStride;                                    // (own, D + 8)
  T* c = b + Tiles::kOwn * Tiles::kStride;                                    // (other, D + 8)
  T* e = c + Tiles::kOther * Tiles::kStride;                                  // (other, D + 8)
  float* lse = reinterpret_cast<float*>(e + Tiles::kOther * Tiles::kStride);  // (queries)
  float* delta = lse + Tiles::kQueries;                                       // (queries)

  __device__ __forceinline__ void load_own(const T* gA, const T* gB, std::int64_t rows_left,
                                           std::int64_t d, bool wide) const {
    load_tile<Tiles::kThreads, Tiles::kOwn, Tiles::kD, Tiles::kStride>(a, gA, rows_left, d, wide);
    load_tile<Tiles::kThreads, Tiles::kOwn, Tiles::kD, Tiles::kStride>(b, gB, rows_left, d, wide);
  }
  __device__ __forceinline__ void load_other(const T* gC, const T* gE, std::int64_t rows_left,
                                             std::int64_t d, bool wide) const {
    load_tile<Tiles::kThreads, Tiles::kOther, Tiles::kD, Tiles::kStride>(c, gC, rows_left, d, wide);
    load_tile<Tiles::kThreads, Tiles::kOther, Tiles::kD, Tiles::kStride>(e, gE, rows_left, d, wide);
  }
  /// LSE and delta of the queries. A row beyond the matrix has LSE = inf: all its P are 0.
  __device__ __forceinline__ void load_statistics(const float* gLSE, const float* gDelta,
                                                  std::int64_t rows_left) const {
    const int row = static_cast<int>(threadIdx.x);
    if (row >= Tiles::kQueries) return;
    lse[row] = row < rows_left ? gLSE[row] : INFINITY;
    delta[row] = row < rows_left ? gDelta[row] : 0.0f;
  }
};

/// P and dS of one pair. visible: whether it counts.
struct PairGrad {
  float p, ds;
  __device__ __forceinline__ PairGrad(float dot, float dp, float scale, float lse, float delta,
                                      bool visible) {
    // Rounded before the subtraction, as LSE's maximum was: one multiply-add would differ.
    p = device::exp2<true>(device::kLog2E * (__fmul_rn(scale, dot) - lse));
    ds = p * (dp - delta);
    if (!visible) p = ds = 0.0f;
  }
};

/// acc[m] += w[m] X for all kTiles columns of w and as many rows of X, from x on; w as it was left
/// by two products.
template <int kStride, class T, int kM, int kTiles, int kColumns>
__device__ __forceinline__ void add_product(float (&acc)[kM][kColumns][4],
                                            const float (&w)[kM][kTiles][4], const T* x) {
#pragma unroll
  for (int k = 0; k < kTiles / 2; ++k) {
    unsigned a[kM][4];
#pragma unroll
    for (int m = 0; m < kM; ++m) {
      device::pack_fragment<T>(a[m], w[m][2 * k], w[m][2 * k + 1]);
    }
    add_weighted<MatrixLoads, kStride>(acc, a, x + 16 * k * kStride);
  }
}

/// Stores the warp's rows of a gradient, times `factor`. row: the warp's first; gRows: row 0 of the
/// block's.
template <class T, int kM, int kColumns>
__device__ __forceinline__ void store_grad(T* gRows, int row, std::int64_t rows_left,
                                           std::int64_t d, bool wide, float factor,
                                           float (&x)[kM][kColumns][4]) {
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) x[m][n][i] *= factor;
    }
    const int first = row + 16 * m;
    device::store_rows(gRows + first * d, rows_left - first, d, wide, x[m]);
  }
}

}  // namespace attn::tensor_cores
