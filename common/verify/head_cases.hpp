// SPDX-License-Identifier: MIT
//
// The part of the case table that is about heads and how arrays lie: groups of heads, rows of V of
// another length, strides; and all features together.
#pragma once

#include <span>
#include <vector>

#include "common/verify/inputs.hpp"

namespace attn::verify {

struct HeadCase {
  Shape shape;
  Mask mask;
  InputKind kind;
  Features features;
  std::int64_t d_v = 0;  // 0: d
  int gap = 0;           // between rows, where the features have strides
};

/// Groups of 3, 4 and 6 heads, so that a tile of (token, head) pairs ends within a token, with one
/// query, a tile of rows and several; d and d_v on both sides of every bucket; strides without gaps
/// and with. And of everything that the chapter takes every three features together, each of them
/// there or not; of packed sequences, which exclude some, every two. A thin table has every two.
/// None where the chapter takes no grouped heads, rows of V of another length, or strides.
std::vector<HeadCase> head_cases(const Support& support, std::span<const int> tile_edges,
                                 bool thin);

}  // namespace attn::verify
