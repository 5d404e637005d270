// SPDX-License-Identifier: MIT
//
// Taught in chapter 17: into how many runs the tiles of a cache are divided, which tiles are in
// each, and where it leaves what it has found.
#pragma once

#include <algorithm>

#include "common/attention.hpp"
#include "common/device/decode_tile.hpp"

namespace attn::decoding {

/// A lane of a warp for each, when they are merged.
inline constexpr int kMaxSplits = 32;

/// The workspace is made for no larger GPU: it depends on the problem alone.
inline constexpr int kMostMultiprocessors = 256;

/// Runs of `tiles` tiles for each of `blocks` blocks, so that each of the GPU's multiprocessors has
/// two blocks to switch between, if there are as many; never more runs than tiles.
constexpr int splits_for(std::int64_t blocks, int multiprocessors, std::int64_t tiles) {
  const std::int64_t room = 2 * std::min(multiprocessors, kMostMultiprocessors);
  const std::int64_t wanted = blocks == 0 ? 1 : room / blocks;
  return static_cast<int>(
      std::max<std::int64_t>(1, std::min<std::int64_t>({wanted, tiles, kMaxSplits})));
}

/// The tiles of run `split` of `splits`. Their numbers differ by one at most; with more runs than
/// tiles some have none.
ATTN_HOST_DEVICE constexpr Range run_of(std::int64_t tiles, int split, int splits) {
  return {tiles * split / splits, tiles * (split + 1) / splits};
}

/// Tiles of rows of a problem, where the queries of all heads of a group are rows side by side: the
/// blocks of one run.
inline std::int64_t group_tiles(const Shape& shape) {
  if (shape.Hkv == 0) return 0;
  return shape.B * shape.Hkv * tiles_of(shape.Nq * (shape.H / shape.Hkv), kBr);
}

/// Bytes of what so many runs leave of every row: O (d), its maximum and its sum.
inline std::size_t partial_bytes(const Shape& shape, int splits) {
  return static_cast<std::size_t>(shape.rows() * splits * (shape.d + 2)) * sizeof(float);
}

/// Of each row and run the sum of weights times V, not yet divided, its maximum m and its sum l. A
/// run of which the row sees no key has O = 0, m = -inf, l = 0, which change nothing.
struct Partials {
  float* gO;           // (rows, splits, d)
  float *gMax, *gSum;  // (rows, splits)
  int splits;
};

inline Partials partials_in(void* workspace, const Shape& shape, int splits) {
  float* gO = static_cast<float*>(workspace);
  float* gMax = gO + shape.rows() * splits * shape.d;
  return {gO, gMax, gMax + shape.rows() * splits, splits};
}

}  // namespace attn::decoding
