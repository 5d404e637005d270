// SPDX-License-Identifier: MIT
//
// Right or wrong, and what to say about it.
#pragma once

#include <optional>
#include <string>

#include "chapters/00_playground/puzzles/harness/puzzle.hpp"
#include "common/verify/goals.hpp"

namespace attn::puzzles {

enum class State { kNotBegun, kWrong, kRight };

struct Verdict {
  State state = State::kNotBegun;
  std::optional<verify::Medal> medal;  // of a right one
  std::string text;                    // the whole report
};

/// Runs `code` in the place of the reader's kernel, at all of the puzzle's sizes.
Verdict check(const Puzzle& puzzle, Code code);

/// "not begun", "wrong", "right, gold".
std::string to_string(const Verdict& verdict);

}  // namespace attn::puzzles
