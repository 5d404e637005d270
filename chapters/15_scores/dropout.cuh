// SPDX-License-Identifier: MIT
//
// Which weights dropout leaves: a function of the pair's numbers and of a seed (common/philox.hpp),
// the same in the forward pass, the backward pass and the oracle, whatever their tiles.
#pragma once

#include "common/device/masked_rows.cuh"
#include "common/extras.hpp"
#include "common/philox.hpp"

namespace attn::scores {

struct Dropout {
  std::uint64_t seed;
  std::uint32_t threshold;  // random bits below it drop a weight; 0: none is dropped
  float factor;             // of the others: 1 / (1 - probability)
};

inline Dropout dropout_of(const Extras& extras) {
  return {extras.dropout_seed, dropout_threshold(extras.dropout), 1.0f / (1.0f - extras.dropout)};
}

/// Draws for the tile from row i0 and key j0 on of head (b, h): bit j of sKept[r], of (kBr), is set
/// if pair (r, j) is kept. A thread draws for four keys at a time, as many as share a counter. All
/// threads call it, before a barrier. Without dropout it does nothing.
template <int kThreads, int kBr, int kBc>
__device__ __forceinline__ void draw(const Dropout& dropout, std::int64_t b, std::int64_t h,
                                     std::int64_t i0, std::int64_t j0, unsigned* sKept) {
  constexpr int kQuads = kBc / 4;  // neighbouring lanes of a row
  static_assert(32 % kQuads == 0 && kBr * kQuads % 32 == 0, "whole warps, whole rows in each");
  if (dropout.threshold == 0) return;
  for (int n = threadIdx.x; n < kBr * kQuads; n += kThreads) {
    const int r = n / kQuads;
    const int quad = n % kQuads;
    const PhiloxWords bits = dropout_bits_of_four(dropout.seed, b, h, i0 + r, j0 / 4 + quad);
    unsigned kept = 0;
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      const unsigned is_kept = bits.word[w] >= dropout.threshold ? 1 : 0;
      kept |= is_kept << w;
    }
    kept <<= 4 * quad;
    for (int distance = kQuads / 2; distance > 0; distance /= 2) {
      kept |= __shfl_xor_sync(device::kAllLanes, kept, distance);
    }
    if (quad == 0) sKept[r] = kept;
  }
}

/// What draw() has left of row r.
__device__ __forceinline__ device::RowWord kept_of_row(const Dropout& dropout,
                                                       const unsigned* sKept, int r) {
  return {dropout.threshold == 0 ? ~0u : sKept[r]};
}

}  // namespace attn::scores
