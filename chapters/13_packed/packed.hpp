// SPDX-License-Identifier: MIT
#pragma once

#include "common/attention.hpp"

namespace attn::packed {

// ---- Forward -----------------------------------------------------------------------------------

/// Chapter 07's tile sizes, for one bucket of d, but never more than 32 keys: what a row sees of
/// them is a word. The tiles Q (Br, D + 1), K (Bc, D + 1), V (Bc, D) and the scores S (Br, Bc + 1)
/// share 48 KiB, with room for what the rows see.
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

/// O and LSE of the contract (common/attention.hpp) with one or two ranges of keys per row
/// (Extras::ranges), under any mask. Device pointers.
void forward_ranges(const ForwardArgs& args);
/// The same with packed sequences (Extras::q_offsets, k_offsets) in place of ranges.
void forward_packed(const ForwardArgs& args);
/// Ranges or packed sequences; tiles between two ranges are not loaded.
void forward_both(const ForwardArgs& args);
/// The same algorithm as plain C++ loops, on host pointers.
void forward_cpu(const ForwardArgs& args);
/// None of them needs any.
std::size_t no_workspace_bytes(const Shape& shape);

// ---- Backward ----------------------------------------------------------------------------------

/// Likewise, and at most 32 rows: Q, dO (Br, D + 1), K, V (Bc, D + 1), P, dS (Br, Bc + 1) and LSE,
/// delta (Br) share 48 KiB, with room for what the rows see.
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
/// Bytes for delta: B * H * Nq floats, which packed sequences use in part.
std::size_t backward_workspace_bytes(const Shape& shape);

}  // namespace attn::packed
