// SPDX-License-Identifier: MIT
//
// Who touches what, and when, as text: yours beside what is wanted.
#pragma once

#include <string>

#include "chapters/00_playground/puzzles/harness/run.hpp"

namespace attn::puzzles {

/// All views of a puzzle, or its timeline; at most 86 columns wide. What is wanted is left out
/// where it is the same; of a timeline also unless `right`: it would give the answer away.
std::string picture(const Puzzle& puzzle, const Touches& yours, const Touches& wanted, bool right);

}  // namespace attn::puzzles
