// SPDX-License-Identifier: MIT
//
// The part of the case table that is about what is done to a score: a bias, ALiBi, softcap, sinks,
// dropout.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "common/verify/inputs.hpp"

namespace attn::verify {

struct ScoreCase {
  Shape shape;
  Mask mask;
  InputKind kind;
  Features features;
  ScoreValues scores;
};

/// Values of each of these features that a chapter takes, by itself: a bias of every broadcast
/// shape, with holes, rows that are hidden and the largest numbers there are; caps and sinks far
/// from the scores on either side; rates from 0 to 0.9. And every two of their values, and of
/// masks, together. A thin table has a third of it.
std::vector<ScoreCase> score_cases(const Features& taken, std::span<const int> tile_edges,
                                   bool thin);

/// ", bias with holes [1,3,1,35], softcap=30": those of the features that a case has.
std::string to_string(const ScoreValues& scores, const Features& features);

}  // namespace attn::verify
