// SPDX-License-Identifier: MIT
//
// Taught in chapter 12: a mask with two bounds is a band of S between two diagonals, and each row
// sees a range of keys.
#pragma once

#include "common/mask.hpp"

namespace attn::device {

/// Row i sees the keys j with i + lower <= j <= i + upper and 0 <= j < Nk.
struct Band {
  std::int64_t lower, upper, Nk;

  ATTN_HOST_DEVICE constexpr std::int64_t first_of_row(std::int64_t i) const {
    return within(i + lower, Nk);
  }
  ATTN_HOST_DEVICE constexpr std::int64_t end_of_row(std::int64_t i) const {
    return within(i + upper + 1, Nk);
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
  /// The rows, of Nq, that see some of the keys j0 .. j1 - 1.
  ATTN_HOST_DEVICE constexpr Range rows(std::int64_t j0, std::int64_t j1, std::int64_t Nq) const {
    if (j1 > Nk) j1 = Nk;
    if (j0 >= j1) return {};
    return {within(j0 - upper, Nq), within(j1 - lower, Nq)};
  }

 private:
  ATTN_HOST_DEVICE static constexpr std::int64_t within(std::int64_t x, std::int64_t most) {
    return x < 0 ? 0 : x > most ? most : x;
  }
};

/// A bound that is not there, or lies beyond all pairs, ends beyond the corners of S.
ATTN_HOST_DEVICE constexpr Band band_of(const Mask& mask, std::int64_t Nq, std::int64_t Nk) {
  const std::int64_t own = own_key_of_first_row(mask, Nq, Nk);
  const std::int64_t most = Nq + Nk;
  return {own - (mask.before < most ? mask.before : most),
          own + (mask.after < most ? mask.after : most), Nk};
}

/// Keys, or rows, of a tile: from `begin` to `end - 1`, none if `begin >= end`.
struct TileKeys {
  int begin, end;

  ATTN_HOST_DEVICE constexpr bool empty() const { return begin >= end; }
  ATTN_HOST_DEVICE constexpr bool has(int j) const { return begin <= j && j < end; }
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

}  // namespace attn::device
