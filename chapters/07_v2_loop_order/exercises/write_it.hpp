// SPDX-License-Identifier: MIT
#pragma once

#include "common/attention.hpp"

namespace attn::v2_loop_order {

/// The reader's forward pass. small_tiles: 2 queries and 2 keys, d up to 32, two warps; otherwise
/// the chapter's tiles. gSeen: where show_rows puts S (B*H, Nq, Nk); gMax, gSum: where m and l of
/// each row go; or null.
void write_forward(const ForwardArgs& args, bool small_tiles, float* gSeen, float* gMax,
                   float* gSum);

}  // namespace attn::v2_loop_order
