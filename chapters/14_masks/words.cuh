// SPDX-License-Identifier: MIT
//
// A warp makes words of a tile's pairs.
#pragma once

#include "common/device/cuda.cuh"
#include "common/device/warp_reduce.cuh"

namespace attn::masks {

/// A word that says of kKeys keys that a row sees them all.
template <int kKeys>
inline constexpr unsigned kAllKeys = 0xFFFFFFFFu >> (32 - kKeys);

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
    const unsigned bits = __ballot_sync(device::kAllLanes, sees(n + lane / kKeys, lane % kKeys));
    if (lane / kAtOnce == n / kAtOnce) own = bits >> (lane % kAtOnce * kKeys) & kAllKeys<kKeys>;
  }
  return own;
}

}  // namespace attn::masks
