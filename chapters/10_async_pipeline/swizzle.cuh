// SPDX-License-Identifier: MIT
//
// Tiles of 16-bit elements in shared memory whose rows are not padded. A row is cut into chunks of
// 16 bytes, what ldmatrix reads of a row. Chunk c of row r lies where chunk c ^ (r % 8) would:
// eight rows that are read at one chunk meet all 32 banks, and so do eight chunks of one row.
#pragma once

#include "common/device/async_copy.cuh"
#include "common/device/fragment_rows.cuh"

namespace attn::async_pipeline {

inline constexpr int kChunk = 8;  // elements of 2 bytes

/// Where a chunk starts in a tile of kColumns columns, in elements.
template <int kColumns>
__device__ __forceinline__ int swizzled(int row, int chunk) {
  return row * kColumns + (chunk ^ (row & 7)) * kChunk;
}

/// How many keys of a tile the thread's rows in fragment m see. left: how many of them, from the
/// tile's first on, its first row in fragment 0 would see if there were no end of keys; tile_keys:
/// those of the tile that there are. (As device::keys_of_rows, mostly in 32 bits.)
template <class Tiles>
__device__ __forceinline__ void keys_of_rows(int (&keys)[2], std::int64_t left, int m,
                                             int tile_keys) {
  const int first = left < -Tiles::kBr  ? -Tiles::kBr
                    : left < Tiles::kBc ? static_cast<int>(left)
                                        : Tiles::kBc;
  keys[0] = min(first + 16 * m, tile_keys);
  keys[1] = min(first + 16 * m + 8, tile_keys);
}

/// Calls `run.operator()<kD>()` with d rounded up to 64 or 128.
template <class Run>
void with_columns(std::int64_t d, Run run) {
  if (d <= 64) return run.template operator()<64>();
  run.template operator()<128>();
}

}  // namespace attn::async_pipeline
