// SPDX-License-Identifier: MIT
#pragma once

#include "common/attention.hpp"

namespace attn::tiled {

/// The reader's S = scale * Q K^T (B*H, Nq, Nk). small_tiles: 2 x 2, otherwise kTile x kTile.
/// gSeenQ (B*H, Nq, d), gSeenK (B*H, Nk, d): where show_tile puts the first tiles of Q and K, or
/// null.
void write_scores(const ForwardArgs& args, float* gS, bool small_tiles, float* gSeenQ,
                  float* gSeenK);

/// The reader's scores with the chapter's softmax and P V behind them.
void write_forward(const ForwardArgs& args);

}  // namespace attn::tiled
