// SPDX-License-Identifier: MIT
//
// A stage of a kernel that is written from nothing: runs it on problems from small to large,
// compares what is there with plain loops, and explains the first difference: where it is, which
// usual slip gives the very same numbers, and the case by hand.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "common/exercise/stages.hpp"
#include "common/exercise/trial.hpp"
#include "common/exercise/walk.hpp"

namespace attn::exercise {

/// What the reader's kernel left behind. Arrays that it does not have stay empty.
struct Ran {
  Seen seen;
  std::vector<Trouble> troubles;
};

/// Runs the reader's kernel with such tiles. It must take the Loops of its cases only.
using Runner = Ran (*)(const Problem&, const Loop&);

struct Case {
  Problem problem;
  Loop loop;
};

/// What a stage compares. An array is compared only if those before it are right.
enum class Array { kQTiles, kKTiles, kS, kM, kL, kO, kLse, kP, kDv, kDs, kDk };

/// What should be there, or would be with a slip.
using Model = Seen (*)(const Problem&, const Loop&, Slip);

/// Runs all cases, the smallest first, until one is wrong. What a detector says about an array of a
/// later stage is left to that stage, where the kernel came to its end all the same.
Verdict check_stage(Runner run, std::span<const Case> cases, std::initializer_list<Array> arrays,
                    std::initializer_list<Slip> slips, Later later, Model model = walk);

/// The lesson's four queries, keys and values with d = 2, of which it takes so many, one head.
Problem small_problem(std::int64_t Nq, std::int64_t Nk, float scale, Mask mask = Mask::kFull);
/// Two of each, causal, where the logit of the hidden key is 200.
Problem hidden_problem();
/// The same with first keys whose logits are -infinity, two or all: scale 0.5.
Problem infinite_problem(std::int64_t Nq, std::int64_t Nk, Mask mask = Mask::kFull);
/// A whole small row of -infinity, and rows with some, as cases of such a loop.
std::vector<Case> infinite_cases(const Loop& loop);
/// Random numbers; scale 1/sqrt(d).
Problem random_problem(const Shape& shape, Mask mask = Mask::kFull);

}  // namespace attn::exercise
