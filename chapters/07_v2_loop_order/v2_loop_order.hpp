// SPDX-License-Identifier: MIT
#pragma once

#include "common/attention.hpp"

namespace attn::v2_loop_order {

// ---- Forward -----------------------------------------------------------------------------------

/// Chapter 05's tile sizes, for one bucket of d. The tiles Q (Br, D + 1), K (Bc, D + 1), V (Bc, D)
/// and the scores S (Br, Bc + 1) share 48 KiB, which every GPU grants without asking.
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

/// O and LSE of the contract (common/attention.hpp), one Q tile per block. Device pointers.
void forward_loop_swap(const ForwardArgs& args);
/// The same without the tiles that the mask hides.
void forward_skip(const ForwardArgs& args);
/// The same with powers of two for exponentials.
void forward_exp2(const ForwardArgs& args);
/// The same algorithm as plain C++ loops, on host pointers.
void forward_cpu(const ForwardArgs& args);
/// None of them needs any: row_max, row_sum and O live in registers.
std::size_t no_workspace_bytes(const Shape& shape);

// ---- Backward ----------------------------------------------------------------------------------

/// dQ, dK, dV of the contract, one K/V tile per block; the blocks add to dQ by atomics, in whatever
/// order they come. Device pointers.
void backward_atomics(const BackwardArgs& args);
/// The same bit by bit from run to run: a second kernel, one Q tile per block, makes dQ.
void backward_deterministic(const BackwardArgs& args);
/// Bytes for delta: B * H * Nq floats.
std::size_t backward_workspace_bytes(const Shape& shape);
/// The same algorithm as plain C++ loops, on host pointers; the same bits in every run with as many
/// threads.
void backward_cpu(const BackwardArgs& args);
/// Bytes for delta, and B * H * Nq * d floats for each share of a head beyond the first: as few
/// shares as give every core one, up to 16.
std::size_t cpu_backward_workspace_bytes(const Shape& shape);

}  // namespace attn::v2_loop_order
