// SPDX-License-Identifier: MIT
//
// What the rows of a tile see together.
#pragma once

#include "chapters/13_packed/ranges.hpp"
#include "common/device/cuda.cuh"
#include "common/device/warp_reduce.cuh"

namespace attn::packed {

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
    widen(sKeys[r].first.begin, sKeys[r].first.end);
    widen(sKeys[r].second.begin, sKeys[r].second.end);
  }
  for (int distance = 16; distance > 0; distance /= 2) {
    const std::int64_t begin = __shfl_xor_sync(device::kAllLanes, all.begin, distance);
    const std::int64_t end = __shfl_xor_sync(device::kAllLanes, all.end, distance);
    widen(begin, end);
  }
  return all.empty() ? Range{} : all;
}

}  // namespace attn::packed
