// SPDX-License-Identifier: MIT
//
// Taught in chapter 17: the tile of a few queries and a long cache.
#pragma once

#include <cstdint>

#include "common/host_device.hpp"

namespace attn::decoding {

/// Rows and keys of a tile, whatever d: few queries, many keys, and of these no more than a word
/// has bits.
inline constexpr int kBr = 16;
inline constexpr int kBc = 32;

/// Floats of the tiles Q (Br, D), K (Bc, D + 1), V (Bc, D) and the scores S (Br, Bc + 1), where d
/// is rounded up to D = 32, 64 or 128. With a word per row they share 48 KiB.
ATTN_HOST_DEVICE constexpr int tile_floats(int D) {
  return kBr * D + kBc * (D + 1) + kBc * D + kBr * (kBc + 1);
}

/// Tiles of `size` that hold n.
ATTN_HOST_DEVICE constexpr std::int64_t tiles_of(std::int64_t n, int size) {
  return (n + size - 1) / size;
}

}  // namespace attn::decoding
