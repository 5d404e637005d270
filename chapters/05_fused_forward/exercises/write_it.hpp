// SPDX-License-Identifier: MIT
#pragma once

#include "common/attention.hpp"

namespace attn::fused_forward {

/// The reader's forward pass. small_tiles: 2 queries and 2 keys, d up to 32, two warps, as in the
/// lesson's example; otherwise the chapter's tiles. gSeen: where show_tile puts S (B*H, Nq, Nk), or
/// null. Workspace: m, then l, as in the chapter.
void write_forward(const ForwardArgs& args, bool small_tiles, float* gSeen);

}  // namespace attn::fused_forward
