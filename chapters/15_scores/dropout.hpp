// SPDX-License-Identifier: MIT
//
// Dropout's factors, 0 or 1 / (1 - probability): a function of the pair's numbers and of a seed
// (common/philox.hpp), the same in the forward pass, the backward pass and the oracle, whatever
// their tiles.
#pragma once

#include "common/extras.hpp"
#include "common/philox.hpp"

namespace attn::scores {

struct Dropout {
  std::uint64_t seed;
  std::uint32_t threshold;  // random bits below it drop a weight; 0: none is
  float kept;               // 1 / (1 - probability)

  ATTN_HOST_DEVICE constexpr float factor(std::int64_t b, std::int64_t h, std::int64_t i,
                                          std::int64_t j) const {
    if (threshold == 0) return 1.0f;
    return dropout_bits(seed, b, h, i, j) < threshold ? 0.0f : kept;
  }
};

/// Dropout of one head, from row i0 and key j0 on.
struct DropoutTile {
  Dropout dropout;
  std::int64_t b, h, i0, j0;

  ATTN_HOST_DEVICE constexpr float factor(int r, int j) const {
    return dropout.factor(b, h, i0 + r, j0 + j);
  }
};

inline Dropout dropout_of(const Extras& extras) {
  return {extras.dropout_seed, dropout_threshold(extras.dropout), 1.0f / (1.0f - extras.dropout)};
}

}  // namespace attn::scores
