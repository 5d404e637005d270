// SPDX-License-Identifier: MIT
//
// What a block's rows see, tile by tile: first by their place, which needs no memory, then pair by
// pair. Before either the rows vote on whether the tile is needed at all.
#pragma once

#include "chapters/16_heads/request.hpp"
#include "common/device/group.hpp"
#include "common/device/masked_rows.cuh"
#include "common/device/row_words.cuh"

namespace attn::heads {

/// The rows of a tile, up to kBr, shared out among the threads.
template <int kWarps, int kBr, int kBc>
class SeenRows {
  static constexpr int kFair = kBr / kWarps, kVote = 32 / kBc;
  static constexpr int kRows = kFair > kVote ? kFair : kVote;  // of a warp, if there are so many
  static_assert(kBr % kRows == 0);

 public:
  __device__ __forceinline__ SeenRows(const Request& request, const Sequence& at,
                                      const device::RowTile& rows)
      : row_(threadIdx.x % 32 < kRows ? threadIdx.x / 32 * kRows + threadIdx.x % 32 : kBr) {
    if (row_ < rows.rows) keys_ = request.row_keys(at, rows.i0 + rows.token(row_));
  }

  /// Finds out what this thread's row sees of the tile from j0 on. False, in all threads of the
  /// block, if no row sees any of it. All of them call it, and are done with what lies before.
  __device__ __forceinline__ bool look(const Request& request, const Sequence& at,
                                       const device::RowTile& rows, std::int64_t j0) {
    word_ = keys_.template word<unsigned, kBc>(j0);
    if (__syncthreads_or(word_ != 0) == 0) return false;
    if (!request.hides_pairs()) return true;
    const int first = threadIdx.x / 32 * kRows;  // row of this warp
    const unsigned by_place = word_;
    word_ = device::words_of_rows<kRows, kBc>([&](int n, int j) {
      const device::RowWord seen{__shfl_sync(device::kAllLanes, by_place, n)};
      const int r = first + n;
      return seen.sees(j) && request.shows(at.b, rows.head(r), rows.i0 + rows.token(r), j0 + j);
    });
    return __syncthreads_or(word_ != 0) != 0;
  }

  /// Puts that into sWords (kBr).
  __device__ __forceinline__ void store(unsigned* sWords) const {
    if (row_ < kBr) sWords[row_] = word_;
  }
  /// Whether this thread's row sees the whole tile, or there is none.
  __device__ __forceinline__ bool sees_all(const device::RowTile& rows) const {
    return row_ >= rows.rows || word_ == device::kAllKeys<kBc>;
  }

 private:
  int row_;  // kBr or more: none
  RowKeys keys_ = {};
  unsigned word_ = 0;
};

}  // namespace attn::heads
