// SPDX-License-Identifier: MIT
//
// The gradients of what step 3 and the steps before it add to scores and to a row's sum: of the
// bias, and of the sink logits.
#pragma once

#include "chapters/15_scores/backward.cuh"
#include "common/device/warp_reduce.cuh"

namespace attn::scores {

/// Of `count` batches, heads or tiles those that one block adds up: its own, or where they share
/// the bias's numbers, all.
__device__ __forceinline__ Range shared_or_own(bool shared, std::int64_t own, std::int64_t count) {
  return shared ? Range{0, count} : Range{own, own + 1};
}

/// The gradient of the bias: over all batches, heads, rows and keys that it is broadcast to. A
/// thread adds up the same pairs of one tile after the other; in the end the block adds the rows,
/// the keys or both together that share a number. One number for all pairs is one block's work.
/// Grid: tiles of the bias, (Br, Bc), Br or Bc being 1 where its size is; block: kBackwardThreads;
/// dynamic shared memory: SharedTiles<kD>::kBytes.
template <int kD>
__global__ void bias_kernel(Arrays in, Rules rules, float* gDBias) {
  constexpr BackwardTiles kT = backward_tiles_for(kD);
  const SharedTiles<kD> tiles;
  const PairShape shape = rules.bias.shape;
  const std::int64_t Nq = in.Nq, Nk = in.Nk, d = in.d;
  const std::int64_t row_tiles = (Nq + kT.Br - 1) / kT.Br, key_tiles = (Nk + kT.Bc - 1) / kT.Bc;
  const bool one_row = shape.Nq == 1, one_key = shape.Nk == 1;
  std::int64_t block = blockIdx.x;
  const auto next = [&block](std::int64_t count) {
    const std::int64_t number = block % count;
    block /= count;
    return number;
  };
  const std::int64_t key_tile = next(one_key ? 1 : key_tiles);
  const std::int64_t row_tile = next(one_row ? 1 : row_tiles);
  const std::int64_t bias_h = next(shape.H), bias_b = block;
  const Range batches = shared_or_own(shape.B == 1, bias_b, in.B);
  const Range heads = shared_or_own(shape.H == 1, bias_h, in.H);
  const Range rows = shared_or_own(one_row, row_tile, row_tiles);
  const Range keys = shared_or_own(one_key, key_tile, key_tiles);

  float* sSum = tiles.sDS;  // (Br, Bc + 1), every element one thread's own until the end
  for (int n = threadIdx.x; n < kT.Br * kT.Bc; n += kBackwardThreads) {
    sSum[n / kT.Bc * (kT.Bc + 1) + n % kT.Bc] = 0.0f;
  }
  for (std::int64_t b = batches.begin; b < batches.end; ++b) {
    for (std::int64_t h = heads.begin; h < heads.end; ++h) {
      const HeadRule rule(rules, b, h, Nq, Nk);
      const std::int64_t head = b * in.H + h;
      for (std::int64_t i0 = rows.begin * kT.Br; i0 < rows.end * kT.Br; i0 += kT.Br) {
        const Range some = rule.band.some(i0, i0 + kT.Br < Nq ? i0 + kT.Br : Nq);
        for (std::int64_t j0 = keys.begin * kT.Bc; j0 < keys.end * kT.Bc; j0 += kT.Bc) {
          if (some.empty() || some.end <= j0 || j0 + kT.Bc <= some.begin) continue;
          tiles.load_queries(in.gQ + head * Nq * d, in.gDO + head * Nq * d, in.gLSE + head * Nq,
                             in.gDelta + head * Nq, i0, Nq, d);
          tiles.load_keys(in.gK + head * Nk * d, in.gV + head * Nk * d, j0, Nk, d);
          draw<kBackwardThreads, kT.Br, kT.Bc>(rules.dropout, b, h, i0, j0, tiles.sKept);
          __syncthreads();  // wait until the tiles and draws are complete
          const TileRule at = rule.tile<kT.Br, kT.Bc>(rules, i0, j0);
          for (int n = threadIdx.x; n < kT.Br * kT.Bc; n += kBackwardThreads) {
            const int r = n / kT.Bc;
            const int key = n % kT.Bc;
            const bool kept = kept_of_row(rules.dropout, tiles.sKept, r).sees(key);
            const Pair pair = tiles.pair(at, r, key, kept, d);
            if (pair.seen) sSum[r * (kT.Bc + 1) + key] += pair.grad_logit;
          }
          __syncthreads();  // wait until everyone is done with the tiles
        }
      }
    }
  }
  __syncthreads();  // wait until the sums of all pairs are there
  const int numbers = (one_row ? 1 : kT.Br) * (one_key ? 1 : kT.Bc);
  for (int n = threadIdx.x; n < numbers; n += kBackwardThreads) {
    const int r0 = one_row ? 0 : n / (one_key ? 1 : kT.Bc);
    const int key0 = one_key ? 0 : n % kT.Bc;
    if (row_tile * kT.Br + r0 >= shape.Nq || key_tile * kT.Bc + key0 >= shape.Nk) continue;
    float sum = 0.0f;
    for (int r = r0; r < (one_row ? kT.Br : r0 + 1); ++r) {
      for (int key = key0; key < (one_key ? kT.Bc : key0 + 1); ++key) {
        sum += sSum[r * (kT.Bc + 1) + key];
      }
    }
    gDBias[shape.index(bias_b, bias_h, row_tile * kT.Br + r0, key_tile * kT.Bc + key0)] = sum;
  }
}

/// The gradient of the sink logits: exp(sink - LSE) is the weight that a row gives its sink, which
/// has no V, so that of dP - delta only delta is left.
/// Grid: H; block: kBackwardThreads.
[[maybe_unused]] static __global__ void sink_kernel(Arrays in, const float* gSinks,
                                                    float* gDSinks) {
  __shared__ float sSums[kBackwardThreads / 32];
  const std::int64_t h = blockIdx.x;
  const float sink = gSinks[h];
  float sum = 0.0f;
  for (std::int64_t n = threadIdx.x; n < in.B * in.Nq; n += kBackwardThreads) {
    const std::int64_t row = (n / in.Nq * in.H + h) * in.Nq + n % in.Nq;
    // -inf is no sink, and then LSE may be -inf, too.
    if (sink != -INFINITY) sum -= expf(sink - in.gLSE[row]) * in.gDelta[row];
  }
  sum = device::warp_sum(sum);
  if (threadIdx.x % 32 == 0) sSums[threadIdx.x / 32] = sum;
  __syncthreads();  // wait until every warp has its sum
  if (threadIdx.x > 0) return;
  float total = 0.0f;
  for (const float of_warp : sSums) total += of_warp;
  gDSinks[h] = total;
}

}  // namespace attn::scores
