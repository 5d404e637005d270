// SPDX-License-Identifier: MIT
#pragma once

#include "common/attention.hpp"

namespace attn::fused_forward {

/// Tile sizes for one bucket of d. The tiles Q (Br, D + 1), K (Bc, D + 1), V (Bc, D) and the
/// scores S (Br, Bc + 1) share 48 KiB, which every GPU grants without asking.
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
  return d <= 32   ? Tiles{.D = 32, .Br = 64, .Bc = 64}
         : d <= 64 ? Tiles{.D = 64, .Br = 64, .Bc = 32}
                   : Tiles{.D = 128, .Br = 32, .Bc = 16};
}

/// O and LSE of the contract (common/attention.hpp) by FlashAttention-1. Device pointers.
void forward(const ForwardArgs& args);
/// Bytes for row_max and row_sum of every row: 2 * B * H * Nq floats.
std::size_t workspace_bytes(const Shape& shape);

/// The same algorithm as plain C++ loops, on host pointers.
void forward_cpu(const ForwardArgs& args);

}  // namespace attn::fused_forward
