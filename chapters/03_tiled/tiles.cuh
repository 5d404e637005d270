// SPDX-License-Identifier: MIT
//
// Steps 2 to 4: both matrix products through tiles in shared memory. A block owns one 32 x 32 tile
// of the result and walks along the inner dimension, 32 at a time:
//   1. the block's 256 threads load a tile of each input into shared memory
//   2. barrier: wait until the whole tile has arrived
//   3. every thread adds up to 32 products for each of its four results, all from shared memory
//   4. barrier: wait until everyone has read the tile, before it is overwritten
// Each element that reaches shared memory is used 32 times. The tiles are volatile: otherwise nvcc
// merges four neighbouring loads of a thread into one of 16 bytes where it can (see the lesson).
#pragma once

#include "chapters/03_tiled/tiled.hpp"
#include "common/device/cuda.cuh"

namespace attn::tiled {

inline constexpr int kWarps = 8;                       // threads: (kTile, kWarps), one warp per row
inline constexpr int kRowsPerThread = kTile / kWarps;  // rows y, y + 8, y + 16, y + 24

/// The part of a tile that lies inside the matrix: n elements from `start`, at most kTile.
__device__ __forceinline__ int inside(std::int64_t start, std::int64_t n) {
  const std::int64_t left = n - start;
  return left < 0 ? 0 : left < kTile ? static_cast<int>(left) : kTile;
}

/// S = scale * Q K^T, one tile of (kTile, kTile) scores per block.
/// kPad: unused floats at the end of each row of sK (step 2: 0, from step 3 on: 1).
/// Grid: (B*H, ceil(Nq / kTile), ceil(Nk / kTile)); block: (kTile, kWarps).
template <int kPad>
[[maybe_unused]] static __global__ void scores_kernel(const float* gQ, const float* gK, float* gS,
                                                      std::int64_t Nq, std::int64_t Nk,
                                                      std::int64_t d, std::int64_t diagonal,
                                                      float scale) {
  __shared__ volatile float sQ[kTile][kTile];         // (queries, columns)
  __shared__ volatile float sK[kTile][kTile + kPad];  // (keys, columns)
  const std::int64_t head = blockIdx.x;
  const std::int64_t i0 = std::int64_t{blockIdx.y} * kTile;  // first query of the tile
  const std::int64_t j0 = std::int64_t{blockIdx.z} * kTile;  // first key of the tile
  const int x = threadIdx.x;
  const int y = threadIdx.y;
  const int queries = inside(i0, Nq);
  const int keys = inside(j0, Nk);
  // The last query of the tile sees most; where it sees nothing, the whole block leaves together.
  if (j0 >= visible_keys(i0 + queries - 1, diagonal, Nk)) return;

  float dot[kRowsPerThread] = {};
  for (std::int64_t c0 = 0; c0 < d; c0 += kTile) {
    const int columns = inside(c0, d);
    for (int r = y; r < kTile && x < columns; r += kWarps) {
      if (r < queries) sQ[r][x] = gQ[(head * Nq + i0 + r) * d + c0 + x];
      if (r < keys) sK[r][x] = gK[(head * Nk + j0 + r) * d + c0 + x];
    }
    __syncthreads();  // wait until the tiles are complete
    for (int n = 0; n < kRowsPerThread; ++n) {
      const int r = y + n * kWarps;
      if (r >= queries || x >= keys) break;
      for (int c = 0; c < columns; ++c) {
        const float q = sQ[r][c];  // one word for the whole warp
        dot[n] += q * sK[x][c];    // a column: 32 words in one bank, with kPad = 1 in 32 banks
      }
    }
    __syncthreads();  // wait until everyone has read them
  }
  for (int n = 0; n < kRowsPerThread; ++n) {
    const std::int64_t i = i0 + y + n * kWarps;
    const std::int64_t j = j0 + x;
    if (i < Nq && j < visible_keys(i, diagonal, Nk)) gS[(head * Nq + i) * Nk + j] = scale * dot[n];
  }
}

/// O = P V, one tile of (kTile, kTile) outputs per block.
/// Grid: (B*H, ceil(Nq / kTile), ceil(d / kTile)); block: (kTile, kWarps).
[[maybe_unused]] static __global__ void outputs_kernel(const float* gP, const float* gV, float* gO,
                                                       std::int64_t Nq, std::int64_t Nk,
                                                       std::int64_t d, std::int64_t diagonal) {
  __shared__ volatile float sP[kTile][kTile];  // (queries, keys)
  __shared__ volatile float sV[kTile][kTile];  // (keys, columns)
  const std::int64_t head = blockIdx.x;
  const std::int64_t i0 = std::int64_t{blockIdx.y} * kTile;  // first query of the tile
  const std::int64_t c0 = std::int64_t{blockIdx.z} * kTile;  // first column of the tile
  const int x = threadIdx.x;
  const int y = threadIdx.y;
  const int queries = inside(i0, Nq);
  const int columns = inside(c0, d);
  const std::int64_t most = visible_keys(i0 + queries - 1, diagonal, Nk);  // what any row here sees

  float sum[kRowsPerThread] = {};
  for (std::int64_t j0 = 0; j0 < most; j0 += kTile) {
    for (int r = y; r < kTile; r += kWarps) {
      const std::int64_t visible = visible_keys(i0 + r, diagonal, Nk);
      if (r < queries && j0 + x < visible) sP[r][x] = gP[(head * Nq + i0 + r) * Nk + j0 + x];
      if (j0 + r < most && x < columns) sV[r][x] = gV[(head * Nk + j0 + r) * d + c0 + x];
    }
    __syncthreads();  // wait until the tiles are complete
    for (int n = 0; n < kRowsPerThread; ++n) {
      const int r = y + n * kWarps;
      if (r >= queries || x >= columns) break;
      // Only the keys this row sees: zero times NaN would still be NaN.
      const int keys = inside(j0, visible_keys(i0 + r, diagonal, Nk));
      for (int j = 0; j < keys; ++j) sum[n] += sP[r][j] * sV[j][x];
    }
    __syncthreads();  // wait until everyone has read them
  }
  for (int n = 0; n < kRowsPerThread; ++n) {
    const int r = y + n * kWarps;
    if (r < queries && x < columns) gO[(head * Nq + i0 + r) * d + c0 + x] = sum[n];
  }
}

/// The two products with a softmax between them, as the host launches them.
template <int kPad, class Softmax>
void forward_in_tiles(const ForwardArgs& args, Softmax softmax) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  float* gS = static_cast<float*>(args.workspace);  // (B*H, Nq, Nk)

  const dim3 block(kTile, kWarps);
  const auto heads = static_cast<unsigned>(B * H);
  const unsigned row_tiles = ceil_div(Nq, kTile);
  if (Nk > 0) {
    launch(scores_kernel<kPad>, dim3(heads, row_tiles, ceil_div(Nk, kTile)), block, 0, nullptr,
           args.q, args.k, gS, Nq, Nk, d, diagonal, args.scale);
  }
  softmax(gS, diagonal);
  launch(outputs_kernel, dim3(heads, row_tiles, ceil_div(d, kTile)), block, 0, nullptr, gS, args.v,
         args.o, Nq, Nk, d, diagonal);
}

}  // namespace attn::tiled
