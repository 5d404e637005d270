// SPDX-License-Identifier: MIT
//
// The gradients of what is added to scores and to a row's sum: of the bias, and of the sink logits.
#pragma once

#include "chapters/16_heads/backward.cuh"
#include "common/device/warp_reduce.cuh"

namespace attn::heads {

/// Of `count` batches, heads or tiles those that one block adds up: its own, or where they share
/// the bias's numbers, all.
__device__ __forceinline__ Range shared_or_own(bool shared, std::int64_t own, std::int64_t count) {
  return shared ? Range{0, count} : Range{own, own + 1};
}

/// The gradient of the bias: over all batches, heads, rows and keys that it is broadcast to. A
/// thread adds up the same pairs of one tile after the other; in the end the block adds the rows,
/// the keys or both together that share a number.
/// Grid: tiles of the bias, (Br, Bc), Br or Bc being 1 where its size is; block: kBackwardThreads;
/// dynamic shared memory: SharedTiles<kD>::kBytes.
template <int kD>
__global__ void bias_kernel(Arrays in, Request request, PairShape shape, float* gDBias) {
  constexpr BackwardTiles kT = backward_tiles_for(kD);
  const SharedTiles<kD> tiles;
  const std::int64_t row_tiles = (request.Nq + kT.Br - 1) / kT.Br;
  const std::int64_t key_tiles = (request.Nk + kT.Bc - 1) / kT.Bc;
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
  const Range batches = shared_or_own(shape.B == 1, bias_b, request.B);
  const Range heads = shared_or_own(shape.H == 1, bias_h, request.H);
  const Range row_range = shared_or_own(one_row, row_tile, row_tiles);
  const Range keys = shared_or_own(one_key, key_tile, key_tiles);

  float* sSum = tiles.sDS;  // (Br, Bc + 1), every element one thread's own until the end
  for (int n = threadIdx.x; n < kT.Br * kT.Bc; n += kBackwardThreads) {
    sSum[n / kT.Bc * (kT.Bc + 1) + n % kT.Bc] = 0.0f;
  }
  for (std::int64_t b = batches.begin; b < batches.end; ++b) {
    const Sequence at = request.sequence(b);
    for (std::int64_t h = heads.begin; h < heads.end; ++h) {
      for (std::int64_t i0 = row_range.begin * kT.Br; i0 < row_range.end * kT.Br; i0 += kT.Br) {
        const device::RowTile rows =
            device::row_tile(i0, kT.Br, at.Nq, h, 1);  // of one head, no group
        typename SharedTiles<kD>::Seen seen(request, at, rows);
        const Range some = request.keys_of(at, rows.tokens());
        for (std::int64_t j0 = keys.begin * kT.Bc; j0 < keys.end * kT.Bc; j0 += kT.Bc) {
          if (some.end <= j0 || j0 + kT.Bc <= some.begin) continue;
          // wait until everyone is done with the tiles before
          if (!seen.look(request, at, rows, j0)) continue;
          tiles.load_queries(in, request, at, rows);
          tiles.load_keys(in, request, at, h / request.group(), j0);
          tiles.load_words(seen, request, at, rows, j0);
          __syncthreads();  // wait until the tiles and words are complete
          const Change change{request, at, rows, tiles.sWords, tiles.sSlopes, j0};
          for (int n = threadIdx.x; n < kT.Br * kT.Bc; n += kBackwardThreads) {
            const int r = n / kT.Bc, key = n % kT.Bc;
            const Pair pair = tiles.pair(change, r, key);
            if (pair.seen) sSum[r * (kT.Bc + 1) + key] += pair.grad_logit;
          }
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
[[maybe_unused]] static __global__ void sink_kernel(const float* gLSE, const float* gDelta,
                                                    Request request, float* gDSinks) {
  __shared__ float sSums[kBackwardWarps];
  const std::int64_t h = blockIdx.x;
  const float sink = request.sink_logits[h];
  float sum = 0.0f;
  for (std::int64_t b = 0; b < request.B; ++b) {
    const Range rows = request.queries_of(b);
    for (std::int64_t i = rows.begin + threadIdx.x; i < rows.end; i += kBackwardThreads) {
      const std::int64_t row = request.layouts.lse.at(b, h, i);
      // -inf is no sink, and then LSE may be -inf, too.
      if (sink != -INFINITY) sum -= expf(sink - gLSE[row]) * gDelta[row];
    }
  }
  sum = device::warp_sum(sum);
  if (threadIdx.x % 32 == 0) sSums[threadIdx.x / 32] = sum;
  __syncthreads();  // wait until every warp has its sum
  if (threadIdx.x > 0) return;
  float total = 0.0f;
  for (const float of_warp : sSums) total += of_warp;
  gDSinks[h] = total;
}

}  // namespace attn::heads
