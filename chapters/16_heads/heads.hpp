// SPDX-License-Identifier: MIT
#pragma once

#include "common/attention.hpp"

namespace attn::heads {

/// The largest d and d_v.
inline constexpr int kMaxColumns = 256;

// ---- Forward -----------------------------------------------------------------------------------

/// Tile sizes for one bucket of max(d, d_v): chapter 07's, with no more keys than a word has bits.
/// The tiles Q (Br, D + 1), K (Bc, D + 1), V (Bc, D), the scores S (Br, Bc + 1) and two words per
/// row share 48 KiB.
struct Tiles {
  int D;   // columns: d rounded up to 32, 64, 128 or 256
  int Br;  // rows: queries of one head, or of the heads of a group
  int Bc;  // keys
  ATTN_HOST_DEVICE constexpr int floats() const {
    return Br * (D + 1) + Bc * (D + 1) + Bc * D + Br * (Bc + 1);
  }
};

/// The tiles used for this max(d, d_v).
ATTN_HOST_DEVICE constexpr Tiles tiles_for(std::int64_t d) {
  return d <= 32    ? Tiles{.D = 32, .Br = 64, .Bc = 32}
         : d <= 64  ? Tiles{.D = 64, .Br = 64, .Bc = 32}
         : d <= 128 ? Tiles{.D = 128, .Br = 32, .Bc = 16}
                    : Tiles{.D = 256, .Br = 16, .Bc = 8};
}

/// O and LSE of the contract (common/attention.hpp) under any mask, with heads in groups: Hkv may
/// be a divisor of H. A block per query head and tile of queries. Device pointers.
void forward_groups(const ForwardArgs& args);
/// The same with a block per K/V head: its rows are the queries of all heads of the group.
void forward_pack(const ForwardArgs& args);
/// The same for arrays in any order (Extras::q, k, v, o), and rows of V and O of another length.
void forward_layout(const ForwardArgs& args);
/// The same with all that common/extras.hpp has.
void forward_all(const ForwardArgs& args);
/// The same algorithm as plain C++ loops, on host pointers.
void forward_cpu(const ForwardArgs& args);
/// None of them needs any.
std::size_t no_workspace_bytes(const Shape& shape);

// ---- Backward ----------------------------------------------------------------------------------

/// Q, dO (Br, D + 1), K, V (Bc, D + 1), P, dS (Br, Bc + 1), LSE, delta (Br) and two words per row
/// share 48 KiB.
struct BackwardTiles {
  int D, Br, Bc;
  ATTN_HOST_DEVICE constexpr int floats() const {
    return 2 * (Br + Bc) * (D + 1) + 2 * Br * (Bc + 1) + 2 * Br;
  }
};

ATTN_HOST_DEVICE constexpr BackwardTiles backward_tiles_for(std::int64_t d) {
  return d <= 32    ? BackwardTiles{.D = 32, .Br = 32, .Bc = 32}
         : d <= 64  ? BackwardTiles{.D = 64, .Br = 32, .Bc = 32}
         : d <= 128 ? BackwardTiles{.D = 128, .Br = 16, .Bc = 16}
                    : BackwardTiles{.D = 256, .Br = 8, .Bc = 8};
}

/// All gradients of the contract and of common/extras.hpp, bit by bit the same from run to run:
/// whatever is summed has one owner. Device pointers.
void backward(const BackwardArgs& args);
/// The same as plain C++ loops, on host pointers.
void backward_cpu(const BackwardArgs& args);
/// Bytes for delta: B * H * Nq floats, which packed sequences use in part.
std::size_t backward_workspace_bytes(const Shape& shape);

}  // namespace attn::heads
