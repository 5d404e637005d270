// SPDX-License-Identifier: MIT
#pragma once

#include "common/attention.hpp"

namespace attn::online_softmax {

/// The reader's forward pass, one row per block, with one warp or two. gMax, gSum (B*H*Nq): where m
/// and l of each row go, or null.
void write_forward(const ForwardArgs& args, int warps, float* gMax, float* gSum);

}  // namespace attn::online_softmax
