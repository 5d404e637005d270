// SPDX-License-Identifier: MIT
//
// What the rows of a tile see together.
#pragma once

#include "chapters/13_packed/ranges.hpp"
#include "common/device/cuda.cuh"
#include "common/device/warp_reduce.cuh"

namespace attn::packed {

/// A tile of kKeys keys, and those of them that its rows see, in shared memory. The questions are
/// those that chapter 12's tiles answer.
template <int kKeys>
struct RangeTile {
  const TileRanges* sSeen;  // (Br)

  __device__ __forceinline__ bool sees(int r, int j) const { return sSeen[r].has(j); }
  __device__ __forceinline__ bool sees_none(int r) const { return sSeen[r].empty(); }
  __device__ __forceinline__ int begin() const { return 0; }
  __device__ __forceinline__ int end(int) const { return kKeys; }
};

/// From the first key that one of kRows rows sees to the last, the same in every lane. All 32 lanes
/// of a warp must call it.
template <int kRows>
__device__ __forceinline__ Range hull(const RowKeys* sKeys) {
  Range all{kUnbounded, 0};
  const auto widen = [&all](std::int64_t begin, std::int64_t end) {
    if (begin >= end) return;
    if (begin < all.begin) all.begin = begin;
    if (end > all.end) all.end = end;
  };
  for (int r = threadIdx.x % 32; r < kRows; r += 32) {
    const Range keys = sKeys[r].hull();
    widen(keys.begin, keys.end);
  }
  for (int distance = 16; distance > 0; distance /= 2) {
    const std::int64_t begin = __shfl_xor_sync(device::kAllLanes, all.begin, distance);
    const std::int64_t end = __shfl_xor_sync(device::kAllLanes, all.end, distance);
    widen(begin, end);
  }
  return all.empty() ? Range{} : all;
}

}  // namespace attn::packed
