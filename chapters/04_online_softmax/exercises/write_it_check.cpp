// SPDX-License-Identifier: MIT
//
// The stages of chapter 04's "write it" exercise.
#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>
#include <vector>

#include "chapters/04_online_softmax/exercises/write_it.hpp"
#include "chapters/04_online_softmax/online_softmax.hpp"
#include "common/exercise/compare.hpp"
#include "common/exercise/trial.hpp"

namespace attn::online_softmax {
namespace {

using exercise::Array;
using exercise::Case;
using exercise::Later;
using exercise::Loop;
using exercise::random_problem;
using exercise::Seen;
using exercise::Slip;
using exercise::small_problem;
using exercise::Verdict;

constexpr Loop kKeyByKey{.averages = false};
constexpr Loop kHalves{.averages = false, .warps = 2};

template <int kWarps>
exercise::Ran run_once(const Problem& problem, const Loop&) {
  exercise::Trial trial;
  const Shape& shape = problem.shape;
  trial.name_shared({{.name = "sMax", .handed = true},
                     {.name = "sSum", .handed = true},
                     {.name = "sO", .rows = shape.d, .handed = true}});
  ForwardArgs args;
  args.shape = shape;
  args.mask = problem.mask;
  args.scale = problem.scale;
  args.q = trial.input("q", problem.q);
  args.k = trial.input("k", problem.k);
  args.v = trial.input("v", problem.v);
  args.o = trial.output("o", shape.q_elements());
  args.lse = trial.output("lse", shape.rows());
  float* m = trial.output("m", shape.rows());
  float* l = trial.output("l", shape.rows());
  exercise::Ran ran;
  ran.troubles = trial.run([&] { write_forward(args, kWarps, m, l); });
  if (ran.troubles.empty() && kWarps == 2 && trial.stored_twice("o")) {
    ran.troubles.emplace_back().text =
        "Both warps have stored the same elements of O: each has done the whole row. Give each\n"
        "its half of the keys; warp 1 leaves its m, l and O in shared memory, and warp 0 alone\n"
        "stores.\n";
  }
  ran.seen.m = trial.read(m);
  ran.seen.l = trial.read(l);
  ran.seen.o = trial.read(args.o);
  ran.seen.lse = trial.read(args.lse);
  return ran;
}

/// Two halves of every row, each seen alone, and put together, right or with a slip.
Seen merged(const Problem& problem, const Loop& loop, Slip slip) {
  Seen all = exercise::walk(problem, loop, slip);
  const std::int64_t d = problem.shape.d, Nk = problem.shape.Nk;
  const Seen a = exercise::walk(exercise::some_keys(problem, 0, Nk / 2), loop);
  const Seen b = exercise::walk(exercise::some_keys(problem, Nk / 2, Nk), loop);
  if (slip == Slip::kNone) return all;
  for (std::size_t i = 0; i < all.m.size(); ++i) {
    float of_a = std::exp(a.m[i] - all.m[i]), of_b = std::exp(b.m[i] - all.m[i]);
    if (slip == Slip::kHalvesNotRescaled) of_a = of_b = 1;
    if (slip == Slip::kSecondHalfLost) {
      all.m[i] = a.m[i];
      of_a = 1;
      of_b = 0;
    }
    all.l[i] = a.l[i] * of_a + b.l[i] * of_b;
    if (slip == Slip::kHalvesOfLNotRescaled) all.l[i] = a.l[i] + b.l[i];
    if (slip == Slip::kHalvesOfONotRescaled) of_a = of_b = 1;
    const bool divided = slip == Slip::kSecondHalfDivided || slip == Slip::kHalvesDividedTwice;
    const float l_a = slip == Slip::kHalvesDividedTwice ? 1 : a.l[i], l_b = divided ? 1 : b.l[i];
    const auto begin = i * static_cast<std::size_t>(d);
    for (std::size_t n = begin; n < begin + static_cast<std::size_t>(d); ++n) {
      const float sum = a.o[n] * l_a * of_a + b.o[n] * l_b * of_b;
      all.o[n] = sum / all.l[i];
      if (slip == Slip::kHalvesDividedFirst) all.o[n] = a.o[n] * of_a + b.o[n] * of_b;
    }
  }
  return all;
}

std::vector<Case> whole_rows(const Loop& loop) {
  std::vector<Case> cases;
  constexpr std::pair<int, int> kSizes[] = {{1, 2}, {1, 4}, {2, 4}, {4, 6}};
  for (const auto& [Nq, Nk] : kSizes) {
    cases.push_back({small_problem(Nq, Nk, 0.5f), loop});
  }
  cases.push_back({small_problem(4, 4, -0.5f), loop});  // no score above 0
  cases.push_back({random_problem(make_shape(2, 1, 5, 70, 100)), loop});
  return cases;
}

Verdict check_statistics(Later later) {
  return exercise::check_stage(
      run_once<1>, whole_rows(kKeyByKey), {Array::kM, Array::kL},
      {Slip::kNoKeyTaken, Slip::kSumNotRescaled, Slip::kSumOfTile, Slip::kRescaleInverted,
       Slip::kMaxOfTile, Slip::kMaxFromZero, Slip::kExpWithoutMax},
      later);
}

Verdict check_output(Later later) {
  return exercise::check_stage(
      run_once<1>, whole_rows(kKeyByKey), {Array::kM, Array::kL, Array::kO},
      {Slip::kOldNotRescaled, Slip::kOldWithSum, Slip::kNotDivided, Slip::kDividedEarly,
       Slip::kTileWeight, Slip::kScoresForWeights, Slip::kOutputOfTile},
      later);
}

Verdict check_merge(Later later) {
  return exercise::check_stage(
      run_once<2>, whole_rows(kHalves), {Array::kM, Array::kL, Array::kO},
      {Slip::kSecondHalfLost, Slip::kHalvesNotRescaled, Slip::kHalvesOfLNotRescaled,
       Slip::kHalvesOfONotRescaled, Slip::kHalvesDividedFirst, Slip::kSecondHalfDivided,
       Slip::kHalvesDividedTwice},
      later, merged);
}

/// Beyond one warp per row: Q is loaded twice, and warp 1 hands m, l and O to warp 0, once.
exercise::Allowance for_merging(const Shape& shape) {
  const std::int64_t columns = (shape.d + 31) / 32;
  return {.load_bytes = shape.q_elements() * 4,
          .wavefronts = shape.rows() * 2 * (2 + columns),
          .barriers = shape.rows()};
}

const Chapter& record() {
  static constexpr Step kSteps[] = {
      {.id = "write_it",
       .idea = "two warps share a row",
       .forward =
           [](const ForwardArgs& args) {
             exercise::run_counted(
                 args, [](const ForwardArgs& a) { write_forward(a, 2, nullptr, nullptr); }, forward,
                 for_merging(args.shape));
           },
       .forward_workspace_bytes = workspace_bytes}};
  static constexpr int kTileEdges[] = {32};
  static constexpr Chapter kChapter{.id = "04_write_it",
                                    .title = "Write it",
                                    .idea = "two warps share a row",
                                    .memory = device_memory,
                                    .steps = kSteps,
                                    .tile_edges = kTileEdges};
  return kChapter;
}

Verdict check_edges(Later later) {
  std::vector<Case> cases;
  for (const Mask mask : {Mask::kFull, Mask::kCausal}) {
    constexpr std::pair<int, int> kSizes[] = {{1, 1}, {2, 3}, {3, 3}, {4, 3}};
    for (const auto& [Nq, Nk] : kSizes) {
      cases.push_back({small_problem(Nq, Nk, 0.5f, mask), kKeyByKey});
    }
  }
  cases.push_back({small_problem(2, 0, 0.5f), kKeyByKey});
  std::ranges::move(exercise::infinite_cases(kKeyByKey), std::back_inserter(cases));
  const Verdict verdict = exercise::check_stage(
      run_once<2>, cases, {Array::kO, Array::kLse},
      {Slip::kNoMask, Slip::kOneKeyMore, Slip::kOneKeyLess, Slip::kEmptyRowDivided,
       Slip::kReferenceForgotten, Slip::kEmptyRowUpdated, Slip::kEmptyRowNotAsked,
       Slip::kEmptyBySum, Slip::kLseWithoutMax, Slip::kLseWithoutLog},
      later);
  return verdict.passed ? exercise::check_battery(record()) : verdict;
}

constexpr exercise::Stage kStages[] = {
    {"m and l of a row",
     {},
     "  m_new = max(m_old, s). What was summed before is relative to m_old: one factor,\n"
     "  exp(m_old - m_new), brings it to m_new. The new key adds exp(s - m_new). (Scores may\n"
     "  be -infinity before m is finite: put reference_point(m_new) for m_new in both.) Compute\n"
     "  both before you overwrite m. All lanes do the same: score() is the same in all of\n"
     "  them.",
     check_statistics},
    {"O of a row",
     {"o"},
     "  acc_o is a sum of the same kind as l, with V in it: the same factor for what is old,\n"
     "  the same weight for what is new. It is divided by l once, behind the loop.",
     check_output},
    {"two halves merged",
     {},
     "  Warp w takes the keys visible * w / kWarps up to visible * (w + 1) / kWarps. m = the\n"
     "  larger of the two; each half's l and O get the factor exp(its m - m). The barrier\n"
     "  stands outside of every if that depends on the warp, and no return before it.",
     check_merge},
    {"masks, LSE, all cases",
     {"lse"},
     "  A row that sees no key has O = 0 and LSE = -infinity. A half without keys has m =\n"
     "  -infinity, and so has a row whose first scores are all -infinity. -infinity minus\n"
     "  -infinity is not a number: reference_point is for that, in the loop. (In the merge both\n"
     "  halves have it only where the row is empty, or O is NaN anyway.) Silver: only visible\n"
     "  keys are loaded, and O is stored once. Gold: one barrier per row; one lane hands over m\n"
     "  and l, and each lane its own columns of O below d.",
     check_edges},
};

}  // namespace
}  // namespace attn::online_softmax

int main(int argc, char** argv) {
  return attn::exercise::run({.program = "ch04_write",
                              .title = "a row seen key by key, from an empty loop",
                              .stages = attn::online_softmax::kStages},
                             argc, argv);
}
