// SPDX-License-Identifier: MIT
#pragma once

#include "common/attention.hpp"

namespace attn::online_softmax {

/// O and LSE of the contract (common/attention.hpp): one warp streams one row, S is never stored.
/// Device pointers.
void forward(const ForwardArgs& args);
/// Zero: what a row needs stays in registers.
std::size_t workspace_bytes(const Shape& shape);

/// The same idea as plain C++ loops, on host pointers.
void forward_cpu(const ForwardArgs& args);

}  // namespace attn::online_softmax
