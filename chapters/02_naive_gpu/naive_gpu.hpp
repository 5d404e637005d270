// SPDX-License-Identifier: MIT
#pragma once

#include "common/attention.hpp"

namespace attn::naive_gpu {

inline constexpr int kBlockColumns = 32;  // threads along a row: one warp
inline constexpr int kBlockRows = 8;

/// O and LSE of the contract (common/attention.hpp) in three kernels. Device pointers.
void forward(const ForwardArgs& args);
/// Bytes for the score matrices of all heads: B * H * Nq * Nk floats.
std::size_t forward_workspace_bytes(const Shape& shape);

}  // namespace attn::naive_gpu
