// SPDX-License-Identifier: MIT
//
// A mask with two bounds is a band of S between two diagonals. A kernel asks it three things: which
// keys a row sees, which keys some row of a tile sees (those to load), and which keys every row of
// it sees (no test is needed there).
#pragma once

#include "common/mask.hpp"

namespace attn::windows {

/// Row i sees the keys j with i + lower <= j <= i + upper and 0 <= j < Nk.
struct Band {
  std::int64_t lower, upper, Nk;

  ATTN_HOST_DEVICE constexpr std::int64_t first_of_row(std::int64_t i) const {
    return within_keys(i + lower);
  }
  ATTN_HOST_DEVICE constexpr std::int64_t end_of_row(std::int64_t i) const {
    return within_keys(i + upper + 1);
  }
  /// The keys that row i sees.
  ATTN_HOST_DEVICE constexpr Range row(std::int64_t i) const {
    return {first_of_row(i), end_of_row(i)};
  }
  /// Those that some of the rows i0 .. i1 - 1 sees: the bounds only grow from row to row.
  ATTN_HOST_DEVICE constexpr Range some(std::int64_t i0, std::int64_t i1) const {
    return {first_of_row(i0), end_of_row(i1 - 1)};
  }
  /// Those that every one of them sees.
  ATTN_HOST_DEVICE constexpr Range every(std::int64_t i0, std::int64_t i1) const {
    return {first_of_row(i1 - 1), end_of_row(i0)};
  }

 private:
  ATTN_HOST_DEVICE constexpr std::int64_t within_keys(std::int64_t j) const {
    return j < 0 ? 0 : j > Nk ? Nk : j;
  }
};

/// A bound that is not there, or lies beyond all pairs, ends beyond the corners of S.
ATTN_HOST_DEVICE constexpr Band band_of(const Mask& mask, std::int64_t Nq, std::int64_t Nk) {
  const std::int64_t own = own_key_of_first_row(mask, Nq, Nk);
  const std::int64_t most = Nq + Nk;
  return {own - (mask.before < most ? mask.before : most),
          own + (mask.after < most ? mask.after : most), Nk};
}

/// Keys of a tile: from `begin` to `end - 1`, none if `begin >= end`.
struct TileKeys {
  int begin, end;
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

}  // namespace attn::windows
