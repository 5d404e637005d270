// SPDX-License-Identifier: MIT
//
// Taught in chapter 12: a mask with two bounds is a band of S between two diagonals, and each row
// sees a range of keys.
#pragma once

#include "common/mask.hpp"

namespace attn::device {

/// The band within a tile, counted from its corner in 32 bits: row r sees the keys j with
/// r + lower <= j <= r + upper and 0 <= j < keys.
struct TileBand {
  int lower, upper, keys;
  static constexpr int kFar = 1 << 20;  // what is farther away than any tile is wide

  ATTN_HOST_DEVICE constexpr bool sees(int r, int j) const {
    return j < keys && j - r <= upper && j - r >= lower;
  }
  /// The keys that row r sees, none if begin >= end, are begin_of_row(r) .. end_of_row(r) - 1.
  ATTN_HOST_DEVICE constexpr int begin_of_row(int r) const { return within_keys(r + lower); }
  ATTN_HOST_DEVICE constexpr int end_of_row(int r) const { return within_keys(r + upper + 1); }
  ATTN_HOST_DEVICE constexpr bool sees_none(int r) const {
    return begin_of_row(r) >= end_of_row(r);
  }

 private:
  ATTN_HOST_DEVICE constexpr int within_keys(int j) const {
    return j < 0 ? 0 : j > keys ? keys : j;
  }
};

/// Row i sees the keys j with i + lower <= j <= i + upper and 0 <= j < Nk.
struct Band {
  std::int64_t lower, upper, Nk;

  ATTN_HOST_DEVICE constexpr std::int64_t begin_of_row(std::int64_t i) const {
    return within_keys(i + lower);
  }
  ATTN_HOST_DEVICE constexpr std::int64_t end_of_row(std::int64_t i) const {
    return within_keys(i + upper + 1);
  }
  /// The keys that row i sees.
  ATTN_HOST_DEVICE constexpr Range row(std::int64_t i) const {
    return {begin_of_row(i), end_of_row(i)};
  }
  /// Those that some of the rows i0 .. i1 - 1 sees: the bounds only grow from row to row.
  ATTN_HOST_DEVICE constexpr Range some(std::int64_t i0, std::int64_t i1) const {
    return {begin_of_row(i0), end_of_row(i1 - 1)};
  }
  /// Those that every one of them sees.
  ATTN_HOST_DEVICE constexpr Range every(std::int64_t i0, std::int64_t i1) const {
    return {begin_of_row(i1 - 1), end_of_row(i0)};
  }
  /// The rows, of Nq, that see some of the keys j0 .. j1 - 1.
  ATTN_HOST_DEVICE constexpr Range rows(std::int64_t j0, std::int64_t j1, std::int64_t Nq) const {
    if (j1 > Nk) j1 = Nk;
    if (j0 >= j1) return {};
    const std::int64_t first = j0 - upper, end = j1 - lower;
    const Range rows{first < 0 ? 0 : first, end < Nq ? end : Nq};
    return rows.empty() ? Range{} : rows;
  }
  /// What of it lies in the tile of rows from i0 on and Bc keys from j0 on.
  ATTN_HOST_DEVICE constexpr TileBand in_tile(std::int64_t i0, std::int64_t j0, int Bc) const {
    return {narrow(i0 + lower - j0), narrow(i0 + upper - j0),
            Nk - j0 < 0    ? 0
            : Nk - j0 < Bc ? static_cast<int>(Nk - j0)
                           : Bc};
  }

 private:
  ATTN_HOST_DEVICE constexpr std::int64_t within_keys(std::int64_t j) const {
    return j < 0 ? 0 : j > Nk ? Nk : j;
  }
  /// x in 32 bits.
  ATTN_HOST_DEVICE static constexpr int narrow(std::int64_t x) {
    constexpr int kFar = TileBand::kFar;
    return x < -kFar ? -kFar : x > kFar ? kFar : static_cast<int>(x);
  }
};

/// A bound that is not there, or lies beyond all pairs, ends beyond the corners of S.
ATTN_HOST_DEVICE constexpr Band band_of(const Mask& mask, std::int64_t Nq, std::int64_t Nk) {
  const std::int64_t own = own_key_of_first_row(mask, Nq, Nk);
  const std::int64_t most = Nq + Nk;
  return {own - (mask.before < most ? mask.before : most),
          own + (mask.after < most ? mask.after : most), Nk};
}

}  // namespace attn::device
