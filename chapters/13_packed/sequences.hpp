// SPDX-License-Identifier: MIT
//
// Where sequences of different lengths lie, and which of them a block works on.
//
// T rows of a sequence are a tile, its last one often shorter. How many tiles stand before sequence
// b nobody has counted. But offset / T + b of them are always enough: a sequence of n rows gets at
// least ceil(n / T) numbers, and at most one more than that. So there is no table: a block finds
// its sequence by binary search over the offsets.
#pragma once

#include "common/extras.hpp"
#include "common/mask.hpp"

namespace attn::packed {

/// A block's tile: its first row within its sequence, which is head h of batch b.
struct BlockTile {
  std::int64_t b, h, first_row;
  Range rows;  // of the sequence, of all rows of a head one behind the other
};

/// The queries of all sequences, or their keys.
struct Sequences {
  const std::int64_t* offsets;  // [B + 1] where each begins; null: not packed, N rows each
  std::int64_t B, H, N;
  std::int64_t total;  // rows of a head in all sequences, if they are packed

  /// Numbers for tiles of T rows: of one head, all sequences.
  ATTN_HOST_DEVICE constexpr std::int64_t tiles(int T) const {
    return offsets != nullptr ? total / T + B : B * tiles_of_each(T);
  }
  /// The rows of sequence b.
  ATTN_HOST_DEVICE constexpr Range rows(std::int64_t b) const {
    return offsets != nullptr ? Range{offsets[b], offsets[b + 1]} : Range{b * N, (b + 1) * N};
  }
  /// Where, in Q or in K, its first row lies: [H, total, d], or [B, H, N, d].
  ATTN_HOST_DEVICE constexpr std::int64_t place(const Range& rows, std::int64_t h) const {
    return offsets != nullptr ? h * total + rows.begin : rows.begin * H + h * N;
  }
  /// The tile of a block. Blocks that run side by side share a head. `first_row` lies behind the
  /// sequence's rows if it has fewer tiles than numbers: then there is nothing to do.
  ATTN_HOST_DEVICE constexpr BlockTile tile_of_block(std::int64_t block, int T) const {
    const std::int64_t h = block / tiles(T), tile = block % tiles(T);
    const std::int64_t b = offsets != nullptr ? sequence_of_tile(tile, T) : tile / tiles_of_each(T);
    const Range all = rows(b);
    const std::int64_t first = offsets != nullptr ? all.begin / T + b : b * tiles_of_each(T);
    return {b, h, (tile - first) * T, all};
  }

 private:
  ATTN_HOST_DEVICE constexpr std::int64_t tiles_of_each(int T) const { return (N + T - 1) / T; }
  /// The last sequence whose numbers begin with `tile` or before it.
  ATTN_HOST_DEVICE constexpr std::int64_t sequence_of_tile(std::int64_t tile, int T) const {
    std::int64_t low = 0, high = B;  // it is `low` or later, and before `high`
    while (high - low > 1) {
      const std::int64_t middle = (low + high) / 2;
      if (offsets[middle] / T + middle <= tile) {
        low = middle;
      } else {
        high = middle;
      }
    }
    return low;
  }
};

/// `integers`: where they begin, if they are packed.
inline Sequences sequences_of(const Integers& integers, std::int64_t B, std::int64_t H,
                              std::int64_t N) {
  return {integers.device, B, H, N, integers.host.empty() ? 0 : integers.host.back()};
}

}  // namespace attn::packed
