// SPDX-License-Identifier: MIT
//
// The battery: runs one step of a chapter over the whole case table and compares every result with
// the float64 oracle. The tests, `attn check`, the exercises and the mutants all use this one.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/attention.hpp"
#include "common/run/problem.hpp"
#include "common/verify/goals.hpp"

namespace attn::verify {

/// How much of the case table to run. All three hold every size, mask, scale and input
/// distribution.
enum class Extent {
  kThin,      // every second (Nq, Nk) once, with one of the masks
  kCovering,  // each (Nq, Nk) once per mask, the rest cycled
  kFull,      // all combinations
};

struct CheckOptions {
  Extent extent = Extent::kCovering;
  bool detectors = true;
  // Describe so many failing cases. Then some more cases are run, only to see what fails and what
  // not.
  int max_failures = 3;
  int survey = 60;
  bool scattered = false;  // cases from all over the table first, not the plainest
  std::uint64_t seed = 20260101;
  std::optional<Element> element = {};  // none: all that the step takes, in turn
  std::optional<Mask> mask = {};        // in every case; none: all that the chapter takes
  // With the case of 70,000 heads. The CPU machine runs the blocks at either end of its grids only,
  // with Extent::kFull all: minutes where each block has a large tile.
  bool crowded = true;
  std::function<void(int done, int total)> progress;
};

/// The options that the environment asks for: ATTN_FULL=1 runs all combinations of the case table,
/// ATTN_THIN=1 about a quarter of the usual ones; ATTN_SEED=n sets the seed;
/// ATTN_SCATTERED=1 sets scattered and ends with the first failure, which refuses a mutant sooner.
CheckOptions options_from_environment();

/// How much of the case table to run on one of several steps: `asked` for the default step and the
/// twin; on the others, whose sizes and masks are the same, a thin table does, unless all
/// combinations are asked for. `attn check` runs the same on every step.
Extent extent_of_step(const Chapter& chapter, const Step& step, Pass pass, Extent asked);

/// One failing case: which, and why, ready to print (several lines: seed, case, first ten wrong
/// elements with indices, expected, got, tolerance; or the detections).
struct Failure {
  std::string name;
  std::string text;
};

struct CheckReport {
  int cases = 0;                      // run
  int failed = 0;                     // of these
  double worst = 0;                   // largest error / tolerance seen over all passing comparisons
  std::vector<Failure> failures;      // the first of those that failed
  std::string pattern;                // what they have in common; empty if nothing simple
  std::vector<std::string> warnings;  // of detectors; they fail nothing
  std::vector<Goal> goals;            // an exercise's
  bool right() const { return cases > 0 && failed == 0; }
  /// Right, and the first medal's goals are met.
  bool passed() const { return right() && reached(goals); }
};

/// Everything about a check that failed or has something to say besides, for people: warnings, each
/// failure, what the failures have in common, which goals are not met. Empty if there is nothing.
std::string describe(const CheckReport& report);

/// The elements that a step's pass takes.
std::vector<Element> elements_of(const Step& step, Pass pass);

/// The whole battery on one step and one pass: case table, input distributions, bad arguments,
/// properties, reproducibility. Whatever a run throws is a failure of its case. A twin
/// (`&step == chapter.twin`) computes in host memory. Throws Error(kUnsupported) if the step does
/// not have this pass, or not for options.element, and if the chapter does not take options.mask.
CheckReport check(const Chapter& chapter, const Step& step, Pass pass,
                  const CheckOptions& options = {});

/// A step with a kernel that never ends, and the report that says so.
struct Endless {
  const Step* step;
  Pass pass;
  CheckReport report;
};

/// Runs each step on a few problems without tricks, both passes or one: the first that does not end
/// on one of them. For whoever is about to check several steps, each for a minute: so nobody waits
/// for the others to hear that one hangs. Throws as check() does if the chapter does not take the
/// mask.
std::optional<Endless> find_endless(const Chapter& chapter, std::span<const Step* const> steps,
                                    std::optional<Pass> only = {}, std::optional<Mask> mask = {});

}  // namespace attn::verify
