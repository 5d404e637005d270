// SPDX-License-Identifier: MIT
//
// Taught in chapter 12, its words in chapter 13: a tile of keys of which every row sees some, in a
// forward pass of which each warp owns the tile's rows w, w + kWarps, w + 2 kWarps, ... What else
// is done to scores and weights, as in chapter 15, is up to two functors; without them it is
// nothing.
#pragma once

#include "common/device/cuda.cuh"
#include "common/device/online_softmax.cuh"
#include "common/device/warp_reduce.cuh"

namespace attn::device {

/// What a row sees of a tile of up to 32 keys: key j where bit j is set.
struct RowWord {
  unsigned bits = 0;

  __device__ __forceinline__ bool sees(int j) const { return (bits >> j & 1u) != 0; }
  __device__ __forceinline__ bool sees_none() const { return bits == 0; }
  /// No bit is set before `begin`, nor from `end` on.
  __device__ __forceinline__ int begin() const { return __ffs(static_cast<int>(bits)) - 1; }
  __device__ __forceinline__ int end() const { return 32 - __clz(static_cast<int>(bits)); }
  __device__ __forceinline__ void include(const RowWord& other) { bits |= other.bits; }
};

/// A tile of which the rows see what their words in shared memory say.
struct WordTile {
  const unsigned* sWords;  // (Br)

  __device__ __forceinline__ RowWord row(int r) const { return {sWords[r]}; }
};

/// What a row sees of a tile of which it sees all kKeys keys: the same questions, and constants
/// for answers.
template <int kKeys>
struct WholeRow {
  __device__ __forceinline__ constexpr bool sees(int) const { return true; }
  __device__ __forceinline__ constexpr bool sees_none() const { return false; }
  __device__ __forceinline__ constexpr int begin() const { return 0; }
  __device__ __forceinline__ constexpr int end() const { return kKeys; }
  __device__ __forceinline__ constexpr void include(const WholeRow&) {}
};

/// A tile of which every row sees every key.
template <int kKeys>
struct UnmaskedTile {
  __device__ __forceinline__ constexpr WholeRow<kKeys> row(int) const { return {}; }
};

/// change(r, j, s) is the score of row r and key j that is made of s: s itself.
struct SameScore {
  __device__ __forceinline__ float operator()(int, int, float s) const { return s; }
};
/// row(r)(j, p) is what V_j counts in row r whose exponential is p: p itself.
struct SameWeights {
  struct Row {
    __device__ __forceinline__ float operator()(int, float p) const { return p; }
  };
  __device__ __forceinline__ Row row(int) const { return {}; }
};

/// S = scale * sQ sK^T, changed, for the rows of this warp, which are the only ones it will read.
/// All their pairs, also those that the mask hides. sQ (kBr, kD + 1), sK (kBc, kD + 1), sS
/// (kBr, kBc + 1).
template <int kWarps, int kBr, int kBc, int kD, class Change = SameScore>
__device__ __forceinline__ void scores(const float* sQ, const float* sK, float* sS, std::int64_t d,
                                       float scale, const Change& change = {}) {
  const int columns = static_cast<int>(d);
  const int warp = threadIdx.x / 32;
  for (int n = threadIdx.x % 32; n < kBr / kWarps * kBc; n += 32) {
    const int i = n / kBc * kWarps + warp;  // neighbouring lanes take neighbouring keys
    const int j = n % kBc;
    float dot = 0.0f;
#pragma unroll 8
    for (int c = 0; c < columns; ++c) dot += sQ[i * (kD + 1) + c] * sK[j * (kD + 1) + c];
    // Rounded before it is changed, as in the backward pass: one multiply-add would differ from it.
    sS[i * (kBc + 1) + j] = change(i, j, __fmul_rn(scale, dot));
  }
}

/// One warp turns the scores s of a row, those of the keys that it sees, into P and weighs it, and
/// brings row_max, row_sum and acc_o up to the new maximum. row_max and row_sum are the same in all
/// lanes; lane l has columns l, l + 32, ... of O in acc_o.
template <int kBc, int kD, class Row, class Weigh = SameWeights::Row>
__device__ __forceinline__ void softmax_row(float* s, const Row& seen, float& row_max,
                                            float& row_sum, float (&acc_o)[kD / 32],
                                            const Weigh& weigh = {}) {
  constexpr float kLog2E = 1.44269504f;
  const int lane = threadIdx.x % 32;
  float tile_max = -INFINITY;
  for (int j = lane; j < kBc; j += 32) {
    if (seen.sees(j)) tile_max = fmaxf(tile_max, s[j]);
  }
  const float new_max = fmaxf(row_max, warp_max(tile_max));
  const float reference = reference_point(new_max);
  float tile_sum = 0.0f;
  for (int j = lane; j < kBc; j += 32) {
    if (!seen.sees(j)) continue;
    const float p = exp2f(kLog2E * (s[j] - reference));
    s[j] = weigh(j, p);
    tile_sum += p;
  }
  const float rescale = exp2f(kLog2E * (row_max - reference));
  row_max = new_max;
  row_sum = row_sum * rescale + warp_sum(tile_sum);
  for (int m = 0; m < kD / 32; ++m) acc_o[m] *= rescale;
}

/// One warp brings its rows up to date with a tile of scores and of V (kBc, kD). What a row of it
/// sees is asked once; where that is everything, no code asks for it.
template <int kWarps, int kBr, int kBc, int kD, class Tile, class Weights = SameWeights>
__device__ __forceinline__ void update_rows(float* sS, const float* sV, const Tile& tile,
                                            float (&row_max)[kBr / kWarps],
                                            float (&row_sum)[kBr / kWarps],
                                            float (&acc_o)[kBr / kWarps][kD / 32],
                                            const Weights& weights = {}) {
  constexpr int kRows = kBr / kWarps;
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  using Row = decltype(tile.row(0));
  Row seen[kRows];
  Row some;  // what some row of the warp sees
#pragma unroll
  for (int n = 0; n < kRows; ++n) {
    seen[n] = tile.row(n * kWarps + warp);
    some.include(seen[n]);
  }
#pragma unroll
  for (int n = 0; n < kRows; ++n) {
    if (seen[n].sees_none()) continue;
    const int r = n * kWarps + warp;
    softmax_row<kBc, kD>(sS + r * (kBc + 1), seen[n], row_max[n], row_sum[n], acc_o[n],
                         weights.row(r));
  }
  __syncwarp();  // wait until every lane has written its P
  if (some.sees_none()) return;
  for (int j = some.begin(); j < some.end(); ++j) {
    float v[kD / 32];  // fetched once for all rows of the warp
    for (int m = 0; m < kD / 32; ++m) v[m] = sV[j * kD + lane + m * 32];
#pragma unroll
    for (int n = 0; n < kRows; ++n) {
      if (!seen[n].sees(j)) continue;
      const float p = sS[(n * kWarps + warp) * (kBc + 1) + j];
      for (int m = 0; m < kD / 32; ++m) acc_o[n][m] += p * v[m];
    }
  }
}

}  // namespace attn::device
