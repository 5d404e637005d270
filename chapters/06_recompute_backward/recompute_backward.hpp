// SPDX-License-Identifier: MIT
#pragma once

#include "common/attention.hpp"

namespace attn::recompute_backward {

// ---- Step 1: the textbook, with an (Nq, Nk) matrix in HBM ---------------------------------------
// Its parts, each a kernel of its own, so that each can be tested alone. Device pointers; per head.

/// delta_i = dO_i . O_i, which is sum_j P_ij dP_ij: gDelta (B*H, Nq).
void delta(const BackwardArgs& args, float* gDelta);
/// P = exp(scale * Q K^T - LSE) for the visible pairs: gP (B*H, Nq, Nk).
void probabilities(const BackwardArgs& args, float* gP);
/// dV = P^T dO, written to args.grad_v.
void value_gradients(const BackwardArgs& args, const float* gP);
/// dS = P * (dP - delta) with dP = dO V^T. gP holds P before and dS after, for the visible pairs.
void score_gradients(const BackwardArgs& args, const float* gDelta, float* gP);
/// dQ = scale * dS K, written to args.grad_q.
void query_gradients(const BackwardArgs& args, const float* gDS);
/// dK = scale * dS^T Q, written to args.grad_k.
void key_gradients(const BackwardArgs& args, const float* gDS);

/// The six of them in this order.
void backward_textbook(const BackwardArgs& args);
/// Bytes for P and delta: B * H * (Nq * Nk + Nq) floats.
std::size_t textbook_workspace_bytes(const Shape& shape);

// ---- Step 2: FlashAttention-1's ----------------------------------------------------------------

/// Tile sizes for one bucket of d. The tiles Q, dO (Br, D + 1), K, V (Bc, D + 1), P, dS
/// (Br, Bc + 1) and LSE, delta (Br) share 48 KiB, which every GPU grants without asking.
struct Tiles {
  int D;   // columns: d rounded up to 32, 64 or 128
  int Br;  // queries
  int Bc;  // keys
  ATTN_HOST_DEVICE constexpr int floats() const {
    return 2 * (Br + Bc) * (D + 1) + 2 * Br * (Bc + 1) + 2 * Br;
  }
};

/// The tiles used for this d.
ATTN_HOST_DEVICE constexpr Tiles tiles_for(std::int64_t d) {
  return d <= 32   ? Tiles{.D = 32, .Br = 32, .Bc = 64}
         : d <= 64 ? Tiles{.D = 64, .Br = 32, .Bc = 32}
                   : Tiles{.D = 128, .Br = 16, .Bc = 16};
}

/// dQ, dK, dV of the contract by FlashAttention-1's backward pass. Device pointers.
void backward_recompute(const BackwardArgs& args);
/// Bytes for delta: B * H * Nq floats.
std::size_t recompute_workspace_bytes(const Shape& shape);

// ---- The twins: both steps as plain C++ loops, on host pointers, with the same workspaces -------

void backward_textbook_cpu(const BackwardArgs& args);
void backward_cpu(const BackwardArgs& args);

}  // namespace attn::recompute_backward
