// SPDX-License-Identifier: MIT
#pragma once

#include "common/element.hpp"

namespace attn::hopper {

inline constexpr int kRingRows = 16, kRingColumns = 32;  // of a tile of the ring, float32
inline constexpr int kRingStages = 2;
inline constexpr int kSide = 64;  // of the matrices of the product

/// The reader's ring: gSum (16, 32) = the sum of `tiles` tiles of gTiles (tiles, 16, 32).
void run_ring(const float* gTiles, int tiles, float* gSum);

/// The reader's products of (64, 64) matrices, row by row: gS = Q K^T and, unless gO is null,
/// gO = S V, S rounded to bfloat16.
void run_product(const bfloat16* gQ, const bfloat16* gK, const bfloat16* gV, float* gS, float* gO);

}  // namespace attn::hopper
