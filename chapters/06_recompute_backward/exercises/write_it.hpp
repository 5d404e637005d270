// SPDX-License-Identifier: MIT
#pragma once

#include "common/attention.hpp"

namespace attn::recompute_backward {

/// The reader's dQ, dK, dV. gDelta (B*H, Nq). small_tiles: 2 queries and 2 keys, d up to 32, two
/// warps; otherwise the chapter's tiles. gSeenP, gSeenDS (B*H, Nq, Nk): where show_tile puts P and
/// dS, or null.
void write_gradients(const BackwardArgs& args, const float* gDelta, bool small_tiles, float* gSeenP,
                     float* gSeenDS);

/// delta, then the gradients. Workspace: delta, as in the chapter.
void write_backward(const BackwardArgs& args);

}  // namespace attn::recompute_backward
