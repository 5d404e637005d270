// SPDX-License-Identifier: MIT
#pragma once

#include "common/attention.hpp"

namespace attn::playground {

/// O and LSE of the contract (common/attention.hpp). Device pointers.
void forward(const ForwardArgs& args);
/// Bytes of scratch memory that forward() wants to find in args.workspace.
std::size_t forward_workspace_bytes(const Shape& shape);

}  // namespace attn::playground
