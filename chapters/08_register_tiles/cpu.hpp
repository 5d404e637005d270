// SPDX-License-Identifier: MIT
//
// The chapter's kernels as plain C++: the same register tiles, on a core instead of a warp. All
// pointers are the host's.
#pragma once

#include <cstddef>

#include "common/attention.hpp"

namespace attn::register_tiles {

/// O and LSE of the contract (common/attention.hpp). Needs no workspace.
void forward_cpu(const ForwardArgs& args);

/// dQ, dK and dV of the contract, the same bits in every run with as many threads.
void backward_cpu(const BackwardArgs& args);
/// Bytes for sums of dK and dV: none, unless several threads share a head, or d is not a whole
/// number of register tiles.
std::size_t cpu_backward_workspace_bytes(const Shape& shape);

}  // namespace attn::register_tiles
