// SPDX-License-Identifier: MIT
//
// From a Problem to what a step must compute for it: the oracle's values with their tolerances.
#pragma once

#include <string>
#include <vector>

#include "common/reference/reference.hpp"
#include "common/verify/check.hpp"
#include "common/verify/compare.hpp"

namespace attn::verify {

/// The problem's inputs in float64.
reference::Inputs inputs_of(const Problem& problem);

/// What the oracle says about one problem. `arrays` are o and lse of a forward pass; dq, dk, dv of
/// a backward pass, and dbias and dsink where the problem has a bias or sink logits.
struct Truth {
  std::vector<Expected> arrays;
  // The forward pass rounded to the element and to float32: what a backward pass is given.
  std::vector<float> o, lse;
};

/// Runs the oracle. Rows that see no key and keys that no row sees get tolerance 0. `reach`: the
/// step's Support::reach; elements that a NaN or an infinity may reach through a hidden pair may be
/// NaN instead.
Truth truth_of(const Problem& problem, Pass pass, std::int64_t reach = 0);

/// The verdict on one run.
struct Verdict {
  bool passed = true;
  double worst = 0;  // as in Comparison
  std::string text;  // every wrong array, damage and detections; empty if passed
};

/// Compares outputs with the truth; damage and detections fail the verdict too.
Verdict judge(const Truth& truth, const Outputs& outputs);

/// Everything a run did that it must not do, whatever it computed: damaged guard bands and inputs,
/// and what the detectors saw, but for warnings. Empty if there is nothing.
std::string misconduct(const Outputs& outputs);

/// The array of `outputs` called "o", "lse", "dq", "dk", "dv", "dbias" or "dsink".
const std::vector<float>& array_of(const Outputs& outputs, const std::string& name);
std::vector<float>& array_of(Outputs& outputs, const std::string& name);

}  // namespace attn::verify
