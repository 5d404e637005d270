// SPDX-License-Identifier: MIT
#pragma once

#include "common/attention.hpp"

namespace attn::scores {

// ---- Forward -----------------------------------------------------------------------------------

/// Chapter 07's tile sizes, for one bucket of d, with no more keys than a word has bits. The tiles
/// Q (Br, D + 1), K (Bc, D + 1), V (Bc, D) and the scores S (Br, Bc + 1) share 48 KiB, with room
/// for a word per row.
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

/// O and LSE of the contract (common/attention.hpp) under any mask, with ALiBi (Extras::alibi).
/// Device pointers.
void forward_alibi(const ForwardArgs& args);
/// The same with a bias, in which -inf hides a key.
void forward_bias(const ForwardArgs& args);
/// The same with softcap and sink logits.
void forward_softcap_sink(const ForwardArgs& args);
/// The same with dropout.
void forward_dropout(const ForwardArgs& args);
/// The same algorithm as plain C++ loops, on host pointers.
void forward_cpu(const ForwardArgs& args);
/// None of them needs any.
std::size_t no_workspace_bytes(const Shape& shape);

// ---- Backward ----------------------------------------------------------------------------------

/// Chapter 07's tile sizes, likewise: Q, dO (Br, D + 1), K, V (Bc, D + 1), P, dS (Br, Bc + 1) and
/// LSE, delta (Br) share 48 KiB, with room for a word per row.
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

/// dQ, dK, dV of the contract and, where they are wanted, the gradients of bias and sink logits,
/// all bit by bit the same from run to run: whatever is summed has one owner. Device pointers.
void backward(const BackwardArgs& args);
/// The same as plain C++ loops, on host pointers.
void backward_cpu(const BackwardArgs& args);
/// Bytes for delta: B * H * Nq floats.
std::size_t backward_workspace_bytes(const Shape& shape);

}  // namespace attn::scores
