// SPDX-License-Identifier: MIT
//
// Which keys a row sees, from memory: one range or two, and of these keys the ones that the mask
// allows. Chapter 12's ranges grew from row to row; these may be anything, and so a tile asks all
// of its rows. What a row sees of a tile is then a word, whatever it is made of.
#pragma once

#include "common/device/band.hpp"
#include "common/extras.hpp"

namespace attn::packed {

using device::Band;
using device::band_of;

/// Keys of a tile: from `begin` to `end - 1`, none if `begin >= end`.
struct TileKeys {
  int begin, end;

  ATTN_HOST_DEVICE constexpr bool empty() const { return begin >= end; }
};

/// What of `keys` lies in the tile of Bc keys from j0 on.
ATTN_HOST_DEVICE constexpr TileKeys in_tile(const Range& keys, std::int64_t j0, int Bc) {
  const std::int64_t begin = keys.begin - j0;
  const std::int64_t end = keys.end - j0;
  return {begin < 0    ? 0
          : begin < Bc ? static_cast<int>(begin)
                       : Bc,
          end < 0    ? 0
          : end < Bc ? static_cast<int>(end)
                     : Bc};
}

/// Of a tile of Bc keys from j0 on, 32 at most: bit j says whether key j0 + j is one of `keys`.
/// Those before `end` without those before `begin`: 2^end - 2^begin, where 2^32 is 0.
ATTN_HOST_DEVICE constexpr unsigned word_of(const Range& keys, std::int64_t j0, int Bc) {
  const TileKeys in = in_tile(keys, j0, Bc);
  if (in.empty()) return 0;
  return (in.end < 32 ? 1u << in.end : 0u) - (1u << in.begin);
}

/// The keys that a row sees: those of `first`, and behind a gap those of `second`. With only one
/// range, `second` is empty.
struct RowKeys {
  Range first, second;

  ATTN_HOST_DEVICE constexpr bool empty() const { return first.empty(); }
  ATTN_HOST_DEVICE constexpr bool has(std::int64_t j) const {
    return (first.begin <= j && j < first.end) || (second.begin <= j && j < second.end);
  }
  /// Whether the row sees some of `keys`.
  ATTN_HOST_DEVICE constexpr bool meets(const Range& keys) const {
    return meet(first, keys) || meet(second, keys);
  }
  /// Whether it sees all of them.
  ATTN_HOST_DEVICE constexpr bool covers(const Range& keys) const {
    return cover(first, keys) || cover(second, keys);
  }
  /// From its first key to its last.
  ATTN_HOST_DEVICE constexpr Range hull() const {
    return {first.begin, second.empty() ? first.end : second.end};
  }
  /// What it sees of the tile of Bc keys from j0 on.
  ATTN_HOST_DEVICE constexpr unsigned word(std::int64_t j0, int Bc) const {
    return word_of(first, j0, Bc) | word_of(second, j0, Bc);
  }

 private:
  ATTN_HOST_DEVICE static constexpr bool meet(const Range& a, const Range& b) {
    return !a.empty() && a.begin < b.end && b.begin < a.end;
  }
  ATTN_HOST_DEVICE static constexpr bool cover(const Range& a, const Range& b) {
    return a.begin <= b.begin && b.end <= a.end;
  }
};

/// The keys of a, of b, or of both.
ATTN_HOST_DEVICE constexpr RowKeys union_of(const Range& a, const Range& b) {
  if (b.empty()) return {a, {}};
  if (a.empty()) return {b, {}};
  if (a.end < b.begin) return {a, b};
  if (b.end < a.begin) return {b, a};
  return {{a.begin < b.begin ? a.begin : b.begin, a.end > b.end ? a.end : b.end}, {}};
}

/// The ranges of all rows. `bounds` points to where the step computes.
struct RangeArray {
  const std::int64_t* bounds;  // [B, Nq, 2 per_row]: begin and end of each
  int per_row;                 // 0: a row sees what the band leaves
  std::int64_t Nq;

  /// The keys that row i of batch b sees.
  ATTN_HOST_DEVICE constexpr RowKeys row(std::int64_t b, std::int64_t i, const Band& band) const {
    const Range allowed = band.row(i);
    if (per_row == 0) return {allowed, {}};
    const std::int64_t* at = bounds + (b * Nq + i) * 2 * per_row;
    const Range first = both(allowed, {at[0], at[1]});
    return union_of(first, per_row == 1 ? Range{} : both(allowed, {at[2], at[3]}));
  }

 private:
  ATTN_HOST_DEVICE static constexpr Range both(const Range& a, const Range& b) {
    return {a.begin > b.begin ? a.begin : b.begin, a.end < b.end ? a.end : b.end};
  }
};

constexpr RangeArray range_array_of(const Extras& extras, std::int64_t Nq) {
  return {extras.ranges.device, extras.ranges_per_row, Nq};
}

}  // namespace attn::packed
