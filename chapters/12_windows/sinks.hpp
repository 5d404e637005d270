// SPDX-License-Identifier: MIT
//
// A band, and the first keys besides, which its lower diagonal does not hide: two ranges per row,
// and the three questions for both together. And the way back, which rows see a key, for the
// backward pass.
#pragma once

#include "chapters/12_windows/band.hpp"

namespace attn::windows {

/// Within a tile: row r sees the keys j with r + lower <= j <= r + upper and 0 <= j < keys, and of
/// the first `sinks` keys also those below r + lower.
struct TileSinkBand : TileBand {
  int sinks;

  ATTN_HOST_DEVICE constexpr bool sees(int r, int j) const {
    const int first = j < sinks ? -kFar : lower;  // the same for all rows
    return j < keys && j - r <= upper && j - r >= first;
  }
  /// The two ranges that row r sees, either of which may be empty: of the sink keys those before
  /// sinks_end(r), and of the others those from window_begin(r) to end_of_row(r) - 1.
  ATTN_HOST_DEVICE constexpr int sinks_end(int r) const {
    return sinks < end_of_row(r) ? sinks : end_of_row(r);
  }
  ATTN_HOST_DEVICE constexpr int window_begin(int r) const {
    return begin_of_row(r) < sinks ? sinks : begin_of_row(r);
  }
  ATTN_HOST_DEVICE constexpr bool sees_none(int r) const {
    return sinks_end(r) == 0 && TileBand::sees_none(r);
  }
  ATTN_HOST_DEVICE constexpr int begin() const { return sinks > 0 ? 0 : TileBand::begin(); }

  /// The rows of the first `rows` that see key j, none if begin >= end.
  ATTN_HOST_DEVICE constexpr int begin_of_key(int j) const { return j < upper ? 0 : j - upper; }
  ATTN_HOST_DEVICE constexpr int end_of_key(int j, int rows) const {
    const int end = j >= keys ? 0 : j < sinks ? rows : j - lower + 1;
    return end < rows ? end : rows;
  }
};

/// Tiles of keys: those that begin before `sinks`, and those that begin from `window` to `end - 1`.
struct Stretches {
  std::int64_t sinks, window, end;

  /// The first of them that begins at j0 or later; `end` or later if none does.
  ATTN_HOST_DEVICE constexpr std::int64_t from(std::int64_t j0) const {
    return j0 >= sinks && j0 < window ? window : j0;
  }
};

struct SinkBand : Band {
  std::int64_t sinks;  // keys; may be more than Nk

  ATTN_HOST_DEVICE constexpr bool sees_none(std::int64_t i) const {
    return end_of_row(i) == 0 || (sinks == 0 && row(i).empty());
  }
  /// The tiles of Bc keys of which some of the rows i0 .. i1 - 1 sees a key.
  ATTN_HOST_DEVICE constexpr Stretches some(std::int64_t i0, std::int64_t i1, int Bc) const {
    const Range window = Band::some(i0, i1);
    return {sinks, window.empty() ? window.end : window.begin / Bc * Bc, window.end};
  }
  /// Whether every one of them sees the keys j0 .. j1 - 1 of a tile.
  ATTN_HOST_DEVICE constexpr bool every(std::int64_t i0, std::int64_t i1, std::int64_t j0,
                                        std::int64_t j1) const {
    const Range window = Band::every(i0, i1);
    return j1 <= window.end && (window.begin <= j0 || j1 <= sinks);
  }
  ATTN_HOST_DEVICE constexpr TileSinkBand in_tile(std::int64_t i0, std::int64_t j0, int Bc) const {
    const std::int64_t left = sinks - j0;
    return {Band::in_tile(i0, j0, Bc), left < 0 ? 0 : left < Bc ? static_cast<int>(left) : Bc};
  }
  /// The rows that see some of the keys j0 .. j1 - 1.
  ATTN_HOST_DEVICE constexpr Range rows(std::int64_t j0, std::int64_t j1, std::int64_t Nq) const {
    if (j1 > Nk) j1 = Nk;
    if (j0 >= j1) return {};
    const std::int64_t end = j0 < sinks ? Nq : j1 - lower;
    return {j0 < upper ? 0 : j0 - upper, end < Nq ? end : Nq};
  }
};

}  // namespace attn::windows
