// SPDX-License-Identifier: MIT
//
// Taught in chapters 13 and 14: words that say what a row sees of a tile of up to 32 keys.
#pragma once

#include "common/device/cuda.cuh"
#include "common/device/warp_reduce.cuh"

namespace attn::device {

/// A word that says of kKeys keys that a row sees them all.
template <int kKeys>
inline constexpr unsigned kAllKeys = 0xFFFFFFFFu >> (32 - kKeys);

/// The keys begin .. end - 1, none if begin >= end; 0 <= begin, end <= 32.
ATTN_HOST_DEVICE constexpr unsigned word_of(int begin, int end) {
  return begin >= end ? 0 : 0xFFFFFFFFu >> (32 - (end - begin)) << begin;
}

/// Asks sees(n, j) for kRows rows and kKeys keys, neighbouring lanes for neighbouring keys. Lane n,
/// of kRows, gets the word of row n. All 32 lanes must call it.
template <int kRows, int kKeys, class Sees>
__device__ __forceinline__ unsigned words_of_rows(Sees sees) {
  constexpr int kAtOnce = 32 / kKeys;  // rows that a vote is about
  static_assert(kRows <= 32 && kRows % kAtOnce == 0);
  const int lane = threadIdx.x % 32;
  unsigned own = 0;
#pragma unroll 4  // as many reads of a thread are under way at a time
  for (int n = 0; n < kRows; n += kAtOnce) {
    const unsigned bits = __ballot_sync(kAllLanes, sees(n + lane / kKeys, lane % kKeys));
    if (lane / kAtOnce == n / kAtOnce) own = bits >> (lane % kAtOnce * kKeys) & kAllKeys<kKeys>;
  }
  return own;
}

}  // namespace attn::device
