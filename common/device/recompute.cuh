// SPDX-License-Identifier: MIT
//
// Taught in chapter 06: P comes back from Q, K and LSE, and dS with it, a tile at a time.
#pragma once

#include "common/device/cuda.cuh"
#include "common/device/warp_reduce.cuh"

namespace attn::device {

/// Where a (Br, Bc) tile lies: its first query and key, and the sizes around it.
struct TilePlace {
  std::int64_t i0, j0;
  std::int64_t Nq, Nk, d, diagonal;

  /// Rows of the tile that lie inside the matrix.
  __device__ __forceinline__ int rows(int Br) const {
    return Nq - i0 < Br ? static_cast<int>(Nq - i0) : Br;
  }
  /// Row i0 + r sees keys j0 .. j0 + keys_of(r, Bc) - 1 of the tile.
  __device__ __forceinline__ int keys_of(int r, int Bc) const {
    const std::int64_t keys = visible_keys(i0 + r, diagonal, Nk) - j0;
    return keys < 0 ? 0 : keys < Bc ? static_cast<int>(keys) : Bc;
  }
  /// Whether row i0 + r sees key j0 + key, the two within the tile.
  __device__ __forceinline__ bool sees(int r, int key, int Bc) const {
    return key < keys_of(r, Bc);
  }
  /// Rows i0 + first_row_of(key, Br) and later see key j0 + key; Br if none of the tile does.
  __device__ __forceinline__ int first_row_of(int key, int Br) const {
    const std::int64_t row = first_query(j0 + key, diagonal, Nq) - i0;
    return row < 0 ? 0 : row < Br ? static_cast<int>(row) : Br;
  }
};

/// P = exp(scale * Q K^T - LSE) and dS = P * (dO V^T - delta) for the visible pairs of a tile;
/// nothing else of sP and sDS (kBr, kBc + 1) is written. sQ, sDO (kBr, kD + 1); sK, sV
/// (kBc, kD + 1); sLSE, sDelta (kBr). sP may be null. All threads call it, between barriers.
/// Place: a TilePlace, or what else has d, rows() and sees().
template <int kThreads, int kBr, int kBc, int kD, class Place>
__device__ __forceinline__ void recompute_tile(const float* sQ, const float* sDO, const float* sK,
                                               const float* sV, const float* sLSE,
                                               const float* sDelta, float* sP, float* sDS,
                                               const Place& at, float scale) {
  const int columns = static_cast<int>(at.d);
  const int rows = at.rows(kBr);
  for (int n = threadIdx.x; n < kBr * kBc; n += kThreads) {
    const int r = n / kBc;  // neighbouring lanes take neighbouring keys
    const int key = n % kBc;
    if (r >= rows || !at.sees(r, key, kBc)) continue;
    float score = 0.0f;   // q . k
    float grad_p = 0.0f;  // dO . v
#pragma unroll 8
    for (int c = 0; c < columns; ++c) {
      score += sQ[r * (kD + 1) + c] * sK[key * (kD + 1) + c];
      grad_p += sDO[r * (kD + 1) + c] * sV[key * (kD + 1) + c];
    }
    // Rounded before the subtraction, as LSE's maximum was: one multiply-add would differ from it.
    const float p = expf(__fmul_rn(scale, score) - sLSE[r]);
    if (sP != nullptr) sP[r * (kBc + 1) + key] = p;
    sDS[r * (kBc + 1) + key] = p * (grad_p - sDelta[r]);
  }
}

/// delta_i = dO_i . O_i, one warp per row of all heads.
/// Grid: ceil(rows / (blockDim.x / 32)); block: any number of whole warps.
[[maybe_unused]] static __global__ void delta_kernel(const float* gDO, const float* gO,
                                                     float* gDelta, std::int64_t rows,
                                                     std::int64_t d) {
  const unsigned lane = threadIdx.x % 32;
  const std::int64_t row = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32;
  if (row >= rows) return;  // the whole warp
  float sum = 0.0f;
  for (std::int64_t c = lane; c < d; c += 32) sum += gDO[row * d + c] * gO[row * d + c];
  sum = warp_sum(sum);
  if (lane == 0) gDelta[row] = sum;
}

}  // namespace attn::device
