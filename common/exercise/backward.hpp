// SPDX-License-Identifier: MIT
//
// What a tile loop of a backward pass computes, in plain C++, right or with one of the usual slips.
#pragma once

#include <string>
#include <vector>

#include "common/exercise/compare.hpp"

namespace attn::exercise {

/// LSE and delta = rowsum(dO * O) of every row, as a backward pass is given them.
struct GivenRows {
  std::vector<float> lse, delta;
};
GivenRows given_rows(const Problem& problem);

/// P, dS, dV and dK of a problem with a grad_o, without a mask.
Seen walk_backward(const Problem& problem, const Loop& loop, Slip slip = Slip::kNone);

/// The matrices around `array`, wanted and yours, and its element (row, column) worked out.
std::string gradients_by_hand(const Case& one, const Seen& wanted, const Seen& yours, Array array,
                              std::int64_t row, std::int64_t column);

}  // namespace attn::exercise
