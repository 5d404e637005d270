// SPDX-License-Identifier: MIT
#pragma once

#include "common/attention.hpp"

namespace attn::naive_cpu {

/// O and LSE of the contract (common/attention.hpp) in three plain loops per head. Host pointers.
void forward(const ForwardArgs& args);
/// Bytes for the score matrix of one head: Nq * Nk floats.
std::size_t forward_workspace_bytes(const Shape& shape);

/// dQ, dK and dV by the textbook formulas. Host pointers.
void backward(const BackwardArgs& args);
/// Bytes for P and dP of one head: 2 * Nq * Nk floats.
std::size_t backward_workspace_bytes(const Shape& shape);

}  // namespace attn::naive_cpu
