// SPDX-License-Identifier: MIT
#pragma once

#include "common/attention.hpp"

namespace attn::tiled {

inline constexpr int kTile = 32;  // edge of every tile, and the width of a warp

/// O and LSE of the contract (common/attention.hpp), unfused, in four steps. Device pointers.
void forward_coalesced(const ForwardArgs& args);
void forward_tiled(const ForwardArgs& args);
void forward_padded(const ForwardArgs& args);
void forward_warp_softmax(const ForwardArgs& args);

/// Bytes for the score matrices of all heads: B * H * Nq * Nk floats.
std::size_t workspace_bytes(const Shape& shape);
/// Bytes for the score matrices and for K transposed: B * H * (Nq + d) * Nk floats.
std::size_t coalesced_workspace_bytes(const Shape& shape);

/// The same idea as plain C++ loops, on host pointers.
void forward_cpu(const ForwardArgs& args);

}  // namespace attn::tiled
