// SPDX-License-Identifier: MIT
//
// Taught in chapter 15: which weights dropout leaves, a function of the pair's numbers and of a
// seed (common/philox.hpp).
#pragma once

#include "common/extras.hpp"
#include "common/philox.hpp"

namespace attn::device {

struct Dropout {
  std::uint64_t seed;
  std::uint32_t threshold;  // random bits below it drop a weight; 0: none is dropped
  float factor;             // of the others: 1 / (1 - probability)
};

inline Dropout dropout_of(const Extras& extras) {
  return {extras.dropout_seed, dropout_threshold(extras.dropout), 1.0f / (1.0f - extras.dropout)};
}

}  // namespace attn::device
