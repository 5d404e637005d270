// SPDX-License-Identifier: MIT
//
// Taught in chapter 15: a block draws for the pairs of a tile.
#pragma once

#include "common/device/dropout.hpp"
#include "common/device/masked_rows.cuh"

namespace attn::device {

/// A row in Philox's counter: token i of query head h.
struct DrawnRow {
  std::int64_t h, i;
};

/// Draws for kBr rows of batch b, of which row(r) is number r, and the keys from j0 on: bit j of
/// sKept[r], of (kBr), is set if pair (r, j) is kept. A thread draws for four keys at a time, as
/// many as share a counter. All threads call it, before a barrier. Without dropout it does nothing.
template <int kThreads, int kBr, int kBc, class Row>
__device__ __forceinline__ void draw(const Dropout& dropout, std::int64_t b, std::int64_t j0,
                                     unsigned* sKept, Row row) {
  constexpr int kQuads = kBc / 4;                    // neighbouring lanes of a row
  constexpr int kLanes = (kBr * kQuads + 31) & ~31;  // of whole warps
  static_assert(32 % kQuads == 0 && kThreads % 32 == 0, "whole rows in each warp");
  if (dropout.threshold == 0) return;
  for (int n = threadIdx.x; n < kLanes; n += kThreads) {
    const int r = n / kQuads;
    const int quad = n % kQuads;
    const DrawnRow at = row(r);
    const PhiloxWords bits = dropout_bits_of_four(dropout.seed, b, at.h, at.i, j0 / 4 + quad);
    unsigned kept = 0;
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      const unsigned is_kept = bits.word[w] >= dropout.threshold ? 1 : 0;
      kept |= is_kept << w;
    }
    kept <<= 4 * quad;
    for (int distance = kQuads / 2; distance > 0; distance /= 2) {
      kept |= __shfl_xor_sync(kAllLanes, kept, distance);
    }
    if (quad == 0 && r < kBr) sKept[r] = kept;
  }
}

/// What draw() has left of the rows of a tile: which pairs, and the weights that they give V.
struct KeptRows {
  const unsigned* sKept;  // (kBr), not read without dropout
  std::uint32_t threshold;
  float factor;

  struct Row {
    RowWord kept;
    float factor;

    __device__ __forceinline__ float operator()(int j, float p) const {
      return kept.sees(j) ? factor * p : 0.0f;
    }
  };
  __device__ __forceinline__ Row row(int r) const {
    RowWord kept{~0u};
    if (threshold != 0) kept.bits = sKept[r];
    return {kept, factor};
  }
};

}  // namespace attn::device
