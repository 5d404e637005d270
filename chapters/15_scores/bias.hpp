// SPDX-License-Identifier: MIT
//
// A bias as it lies in memory: [B, H, Nq, Nk], of which each size may be 1 instead.
#pragma once

#include "common/extras.hpp"

namespace attn::scores {

/// The bias of one head from some row and key on. A step is 0 where a row, or a key, shares its
/// number with its neighbours.
struct BiasRows {
  const float* gBias;  // null: there is none
  std::int64_t row_step, key_step;

  ATTN_HOST_DEVICE constexpr float at(std::int64_t row, std::int64_t key) const {
    return gBias[row * row_step + key * key_step];
  }
  /// From row i0 and key j0 on.
  ATTN_HOST_DEVICE constexpr BiasRows from(std::int64_t i0, std::int64_t j0) const {
    return {gBias + i0 * row_step + j0 * key_step, row_step, key_step};
  }
};

/// That of all heads. Without one every size is 1, and all steps are 0.
struct BiasArray {
  const float* gBias;
  PairShape shape;

  ATTN_HOST_DEVICE constexpr BiasRows head(std::int64_t b, std::int64_t h) const {
    return {gBias + shape.index(b, h, 0, 0), shape.Nq == 1 ? 0 : shape.Nk, shape.Nk == 1 ? 0 : 1};
  }
};

constexpr BiasArray bias_array_of(const Extras& extras) {
  return {extras.bias, extras.bias == nullptr ? PairShape{} : extras.bias_shape};
}

}  // namespace attn::scores
