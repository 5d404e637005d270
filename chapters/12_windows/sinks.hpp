// SPDX-License-Identifier: MIT
//
// A band, and the first keys besides, which its lower diagonal does not hide: two ranges per row,
// and the three questions for both together. And the way back, which rows see a key, for the
// backward pass.
#pragma once

#include "chapters/12_windows/band.hpp"

namespace attn::windows {

/// Keys of a tile that a row sees: from `begin` to `end - 1`, and of those before `end` the first
/// `sinks`.
struct TileSinks {
  int sinks, begin, end;

  ATTN_HOST_DEVICE constexpr bool has(int j) const { return j < end && (j >= begin || j < sinks); }
  /// No key before this one.
  ATTN_HOST_DEVICE constexpr int first() const { return sinks > 0 ? 0 : begin; }
  ATTN_HOST_DEVICE constexpr bool empty() const { return first() >= end; }
  /// The end of the first range, and the begin of the second, if the two are kept apart.
  ATTN_HOST_DEVICE constexpr int sinks_end() const { return sinks < end ? sinks : end; }
  ATTN_HOST_DEVICE constexpr int window_begin() const { return begin < sinks ? sinks : begin; }
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

  /// The keys that row i sees of the tile of Bc keys from j0 on.
  ATTN_HOST_DEVICE constexpr TileSinks row(std::int64_t i, std::int64_t j0, int Bc) const {
    const TileKeys window = in_tile(Band::row(i), j0, Bc);
    return {in_tile({0, sinks}, j0, Bc).end, window.begin, window.end};
  }
  ATTN_HOST_DEVICE constexpr bool sees(std::int64_t i, std::int64_t j) const {
    return j < Nk && j <= i + upper && (j >= i + lower || j < sinks);
  }
  ATTN_HOST_DEVICE constexpr bool sees_none(std::int64_t i) const {
    return end_of_row(i) == 0 || (sinks == 0 && Band::row(i).empty());
  }
  /// The tiles of Bc keys of which some of the rows i0 .. i1 - 1 sees a key.
  ATTN_HOST_DEVICE constexpr Stretches some(std::int64_t i0, std::int64_t i1, int Bc) const {
    const Range keys = Band::some(i0, i1);
    return {sinks, keys.empty() ? keys.end : keys.begin / Bc * Bc, keys.end};
  }
  /// Whether every one of them sees all of `keys`, which lie in a tile.
  ATTN_HOST_DEVICE constexpr bool every(std::int64_t i0, std::int64_t i1, const Range& keys) const {
    const Range window = Band::every(i0, i1);
    return keys.end <= window.end && (window.begin <= keys.begin || keys.end <= sinks);
  }
  /// The rows that see some of the keys j0 .. j1 - 1.
  ATTN_HOST_DEVICE constexpr Range rows(std::int64_t j0, std::int64_t j1, std::int64_t Nq) const {
    if (j1 > Nk) j1 = Nk;
    if (j0 >= j1) return {};
    const std::int64_t first = j0 - upper;
    const std::int64_t end = j0 < sinks ? Nq : j1 - lower;
    return {first < 0 ? 0 : first, end < Nq ? end : Nq};
  }
};

}  // namespace attn::windows
