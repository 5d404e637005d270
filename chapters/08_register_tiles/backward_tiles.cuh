// SPDX-License-Identifier: MIT
//
// The tiles of steps 6 and 7: how large they are, which lane holds what, how they come to shared
// memory, and how P and dS come back from them.
#pragma once

#include "chapters/08_register_tiles/tiles.cuh"
#include "common/device/exp2.cuh"
#include "common/device/recompute.cuh"

namespace attn::register_tiles {

/// Tiles of 64 queries and 64 keys. Of S and dP a lane holds (TM, TN), of dQ TM rows, as in the
/// forward pass. Of dK and dV it holds kKeys keys, side by side, and CG float4 of each.
template <int D>
struct BackwardTiles {
  static constexpr int kD = D;
  static constexpr int kEdge = 64;  // queries, and keys
  static constexpr int kWarps = D == 128 ? 8 : 4;
  static constexpr int kThreads = kWarp * kWarps;
  static constexpr int kBlocks = D == 128 ? 1 : 2;
  static constexpr int kRows = kEdge / kWarps;
  static constexpr int TM = kRows / kLaneRows;
  static constexpr int TN = kEdge / kLaneColumns;
  static constexpr int TC = D / 32;
  static constexpr int kGroups = D == 32 ? 4 : 2;  // of keys, among the lanes of a warp
  static constexpr int kKeys = kRows / kGroups;
  static constexpr int kLanes = kWarp / kGroups;  // that share the columns of a key
  static constexpr int CG = D / (4 * kLanes);
  static constexpr int kUnroll = D == 128 ? 2 : 1;  // where registers are left
  static constexpr int kStride = D + 4;             // of Q, dO, K, V
  static constexpr int kPStride = kEdge + 8;        // of P, dS
  static constexpr int kFloats = 4 * kEdge * kStride + 2 * kEdge * kPStride + 2 * kEdge;
  static_assert(CG * 4 * kLanes == D && kKeys % 4 == 0);
};

/// The lanes of a warp by keys and columns of dK and dV: in pairs, as PairedLanes. Lane n and n ^ 2
/// differ in their keys, n and n ^ 1 in their columns.
template <class T>
struct KeyLanes {
  int group = T::kGroups == 4 ? PairedLanes().row : static_cast<int>(threadIdx.x >> 1 & 1u);
  int column = T::kGroups == 4 ? PairedLanes().column
                               : static_cast<int>(threadIdx.x & 1u) |
                                     static_cast<int>(threadIdx.x >> 2 & 7u) << 1;
};

/// The block's shared memory, cut into tiles.
template <class T>
struct SharedTiles {
  float* sQ = dynamic_shared<float>();         // (64, D + 4)
  float* sDO = sQ + T::kEdge * T::kStride;     // (64, D + 4)
  float* sK = sDO + T::kEdge * T::kStride;     // (64, D + 4)
  float* sV = sK + T::kEdge * T::kStride;      // (64, D + 4)
  float* sP = sV + T::kEdge * T::kStride;      // (64, 64 + 8)
  float* sDS = sP + T::kEdge * T::kPStride;    // (64, 64 + 8)
  float* sLSE = sDS + T::kEdge * T::kPStride;  // (64)
  float* sDelta = sLSE + T::kEdge;             // (64)

  /// K_j and V_j.
  template <bool kWide>
  __device__ __forceinline__ void load_keys(const float* gK, const float* gV, std::int64_t j0,
                                            std::int64_t Nk, std::int64_t d) const {
    load_rows<kWide, T::kThreads, T::kEdge, T::kD>(sK, T::kStride, gK + j0 * d, Nk - j0, d);
    load_rows<kWide, T::kThreads, T::kEdge, T::kD>(sV, T::kStride, gV + j0 * d, Nk - j0, d);
  }
  /// Q_i, dO_i, LSE_i and delta_i. A row beyond the matrix has LSE = inf: all its P are 0.
  template <bool kWide>
  __device__ __forceinline__ void load_queries(const float* gQ, const float* gDO, const float* gLSE,
                                               const float* gDelta, std::int64_t i0,
                                               std::int64_t Nq, std::int64_t d) const {
    load_rows<kWide, T::kThreads, T::kEdge, T::kD>(sQ, T::kStride, gQ + i0 * d, Nq - i0, d);
    load_rows<kWide, T::kThreads, T::kEdge, T::kD>(sDO, T::kStride, gDO + i0 * d, Nq - i0, d);
    if (threadIdx.x < T::kEdge) {
      const bool inside = i0 + threadIdx.x < Nq;
      sLSE[threadIdx.x] = inside ? gLSE[i0 + threadIdx.x] : INFINITY;
      sDelta[threadIdx.x] = inside ? gDelta[i0 + threadIdx.x] : 0.0f;
    }
  }
};

/// How many keys of the tile at `at` each of the lane's rows sees.
template <class T>
__device__ __forceinline__ void keys_of_rows(const device::TilePlace& at, int row,
                                             int (&keys)[T::TM]) {
#pragma unroll
  for (int m = 0; m < T::TM; ++m) {
    const int r = row + kLaneRows * m;
    keys[m] = at.i0 + r < at.Nq ? at.keys_of(r, T::kEdge) : 0;
  }
}

/// P and dS of a tile, to shared memory (P only if kStoresP). All threads call it, between
/// barriers.
template <class T, bool kMasked, bool kStoresP>
__device__ __forceinline__ void recompute(const SharedTiles<T>& tiles, const PairedLanes& lane,
                                          int row, const int (&keys)[T::TM], float scale) {
  constexpr float kLog2E = 1.44269504f;
  float p[T::TM][T::TN] = {};
  float dp[T::TM][T::TN] = {};
  add_dots<T::kD, T::kStride, T::kUnroll>(p, tiles.sQ + row * T::kStride,
                                          tiles.sK + lane.column * T::kStride);
  add_dots<T::kD, T::kStride, T::kUnroll>(dp, tiles.sDO + row * T::kStride,
                                          tiles.sV + lane.column * T::kStride);
#pragma unroll
  for (int m = 0; m < T::TM; ++m) {
    const float lse = tiles.sLSE[row + kLaneRows * m];
    const float delta = tiles.sDelta[row + kLaneRows * m];
    const int at = (row + kLaneRows * m) * T::kPStride + lane.column;
#pragma unroll
    for (int n = 0; n < T::TN; ++n) {
      // Rounded before the subtraction, as LSE's maximum was: one multiply-add would differ.
      float weight = device::exp2<true>(kLog2E * (__fmul_rn(scale, p[m][n]) - lse));
      float grad = weight * (dp[m][n] - delta);
      if (kMasked && lane.column + kLaneColumns * n >= keys[m]) weight = grad = 0.0f;
      if (kStoresP) tiles.sP[at + kLaneColumns * n] = weight;
      tiles.sDS[at + kLaneColumns * n] = grad;
    }
  }
}

}  // namespace attn::register_tiles
