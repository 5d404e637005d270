// SPDX-License-Identifier: MIT
#pragma once

#include "common/attention.hpp"

namespace attn::register_tiles {

/// The reader's forward pass. small_tiles: 4 queries and 8 keys, d up to 32, one warp; otherwise
/// the chapter's tiles. gSeen: where S (B*H, Nq, Nk) goes; gMax, gSum: where m and l of each row
/// go; or null. With gSeen alone, S is all that is computed.
void write_forward(const ForwardArgs& args, bool small_tiles, float* gSeen, float* gMax,
                   float* gSum);

}  // namespace attn::register_tiles
