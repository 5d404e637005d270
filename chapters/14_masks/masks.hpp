// SPDX-License-Identifier: MIT
#pragma once

#include "common/attention.hpp"

namespace attn::masks {

// ---- Forward -----------------------------------------------------------------------------------

/// Chapter 07's tile sizes, for one bucket of d, but no more keys than a word has bits. The tiles
/// Q (Br, D + 1), K (Bc, D + 1), V (Bc, D), the scores S (Br, Bc + 1) and a word per row share
/// 48 KiB.
struct Tiles {
  int D;   // columns: d rounded up to 32, 64 or 128
  int Br;  // queries
  int Bc;  // keys
  ATTN_HOST_DEVICE constexpr int floats() const {
    return Br * (D + 1) + Bc * (D + 1) + Bc * D + Br * (Bc + 1);
  }
};

/// The tiles used for this d.
ATTN_HOST_DEVICE constexpr Tiles tiles_for(std::int64_t d) {
  return d <= 32   ? Tiles{.D = 32, .Br = 64, .Bc = 32}
         : d <= 64 ? Tiles{.D = 64, .Br = 64, .Bc = 32}
                   : Tiles{.D = 128, .Br = 32, .Bc = 16};
}

/// O and LSE of the contract (common/attention.hpp) for any set of pairs: an array (Extras::mask),
/// and what Mask allows. Every head reads the array's bytes. Device pointers.
void forward_bytes(const ForwardArgs& args);
/// The same from bits, into which the bytes are packed once for each head of the array.
void forward_bits(const ForwardArgs& args);
/// The same with lists of the tiles that hold a pair: no others are loaded.
void forward_tiles(const ForwardArgs& args);
/// The same algorithm as plain C++ loops, on host pointers.
void forward_cpu(const ForwardArgs& args);
/// Of forward_bytes and forward_cpu.
std::size_t no_workspace_bytes(const Shape& shape);
/// Bytes for the words of forward_bits, if every head has a mask of its own.
std::size_t bits_workspace_bytes(const Shape& shape);
/// The same for forward_tiles: words, lists and what they are made from.
std::size_t tiles_workspace_bytes(const Shape& shape);

// ---- Backward ----------------------------------------------------------------------------------

/// As many keys as forward, and so the same words. Q, dO (Br, D + 1), K, V (Bc, D + 1), P, dS
/// (Br, Bc + 1), LSE, delta (Br) and a word per row and per key share 48 KiB.
struct BackwardTiles {
  int D, Br, Bc;
  ATTN_HOST_DEVICE constexpr int floats() const {
    return 2 * (Br + Bc) * (D + 1) + 2 * Br * (Bc + 1) + 2 * Br;
  }
};

ATTN_HOST_DEVICE constexpr BackwardTiles backward_tiles_for(std::int64_t d) {
  return d <= 32   ? BackwardTiles{.D = 32, .Br = 32, .Bc = 32}
         : d <= 64 ? BackwardTiles{.D = 64, .Br = 32, .Bc = 32}
                   : BackwardTiles{.D = 128, .Br = 16, .Bc = 16};
}

/// dQ, dK, dV of the contract, bit by bit the same from run to run: one kernel owns dK and dV, a
/// K/V tile per block, another owns dQ, a Q tile per block. Device pointers.
void backward(const BackwardArgs& args);
/// The same as plain C++ loops, on host pointers.
void backward_cpu(const BackwardArgs& args);
/// Bytes for delta (B * H * Nq floats), words and lists, if every head has a mask of its own.
std::size_t backward_workspace_bytes(const Shape& shape);
/// Of backward_cpu: delta.
std::size_t backward_cpu_workspace_bytes(const Shape& shape);

}  // namespace attn::masks
