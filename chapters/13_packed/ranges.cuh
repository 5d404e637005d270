// SPDX-License-Identifier: MIT
//
// What the rows of a tile see, each and together.
#pragma once

#include "chapters/13_packed/ranges.hpp"
#include "common/device/cuda.cuh"
#include "common/device/warp_reduce.cuh"

namespace attn::packed {

/// The keys that each row of a tile sees, of kRows at most, in shared memory.
template <int kRows>
struct SharedKeys {
  static constexpr int kBytes = 4 * kRows * sizeof(std::int64_t);
  std::int64_t* sBounds;  // (4, kRows): begin and end of the first range, then of the second

  __device__ __forceinline__ void put(int r, const RowKeys& keys) const {
    sBounds[r] = keys.first.begin;
    sBounds[kRows + r] = keys.first.end;
    sBounds[2 * kRows + r] = keys.second.begin;
    sBounds[3 * kRows + r] = keys.second.end;
  }
  __device__ __forceinline__ Range first(int r) const { return {sBounds[r], sBounds[kRows + r]}; }
  __device__ __forceinline__ Range second(int r) const {
    return {sBounds[2 * kRows + r], sBounds[3 * kRows + r]};
  }
  __device__ __forceinline__ RowKeys row(int r) const { return {first(r), second(r)}; }
  __device__ __forceinline__ bool is_empty(int r) const { return first(r).empty(); }

  /// From the first key that one of the first `rows` rows sees to the last, the same in every lane.
  /// All 32 lanes of a warp must call it.
  __device__ __forceinline__ Range hull(int rows) const {
    Range all{kUnbounded, 0};
    const auto widen = [&all](std::int64_t begin, std::int64_t end) {
      if (begin >= end) return;
      if (begin < all.begin) all.begin = begin;
      if (end > all.end) all.end = end;
    };
    for (int r = threadIdx.x % 32; r < rows; r += 32) {
      const Range keys = row(r).hull();
      widen(keys.begin, keys.end);
    }
    for (int distance = 16; distance > 0; distance /= 2) {
      const std::int64_t begin = __shfl_xor_sync(device::kAllLanes, all.begin, distance);
      const std::int64_t end = __shfl_xor_sync(device::kAllLanes, all.end, distance);
      widen(begin, end);
    }
    return all.empty() ? Range{} : all;
  }
};

}  // namespace attn::packed
