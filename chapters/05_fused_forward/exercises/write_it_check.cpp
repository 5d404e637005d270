// SPDX-License-Identifier: MIT
//
// The stages of chapter 05's "write it" exercise.
#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "chapters/05_fused_forward/exercises/write_it.hpp"
#include "chapters/05_fused_forward/fused_forward.hpp"
#include "common/exercise/compare.hpp"
#include "common/exercise/trial.hpp"

namespace attn::fused_forward {
namespace {

using exercise::Array;
using exercise::Case;
using exercise::Later;
using exercise::Loop;
using exercise::random_problem;
using exercise::Slip;
using exercise::small_problem;
using exercise::Verdict;

constexpr Loop kSmall{.Br = 2, .Bc = 2};

Loop chapters_tiles(std::int64_t d) { return {.Br = tiles_for(d).Br, .Bc = tiles_for(d).Bc}; }

exercise::Ran run_once(const Problem& problem, const Loop& loop) {
  exercise::Trial trial;
  const Shape& shape = problem.shape;
  const std::int64_t columns = loop.Br == kSmall.Br ? 32 : tiles_for(shape.d).D;
  trial.name_shared({{.name = "sQ", .rows = loop.Br, .stride = columns + 1, .tile = true},
                     {.name = "sK", .rows = loop.Bc, .stride = columns + 1, .tile = true},
                     {.name = "sV", .rows = loop.Bc, .stride = columns, .tile = true},
                     {.name = "sS", .rows = loop.Br, .stride = loop.Bc + 1}});
  ForwardArgs args;
  args.shape = shape;
  args.mask = problem.mask;
  args.scale = problem.scale;
  args.q = trial.input("q", problem.q);
  args.k = trial.input("k", problem.k);
  args.v = trial.input("v", problem.v);
  args.o = trial.output("o", shape.q_elements());
  args.lse = trial.output("lse", shape.rows());
  float* statistics = trial.output("m and l", 2 * shape.rows());
  trial.name_parts({.whole = "m and l", .names = {"gMax", "gSum"}, .floats = shape.rows()});
  args.workspace = statistics;
  float* seen = trial.output("show_tile", shape.rows() * shape.Nk);
  exercise::Ran ran;
  ran.troubles = trial.run([&] { write_forward(args, loop.Br == kSmall.Br, seen); });
  const std::vector<float> m_and_l = trial.read(statistics);
  const auto middle = m_and_l.begin() + static_cast<std::ptrdiff_t>(shape.rows());
  ran.seen.s = trial.read(seen);
  ran.seen.m = {m_and_l.begin(), middle};
  ran.seen.l = {middle, m_and_l.end()};
  ran.seen.o = trial.read(args.o);
  ran.seen.lse = trial.read(args.lse);
  return ran;
}

/// Whole tiles, no mask: small ones from one tile up, then the chapter's.
std::vector<Case> whole_tiles() {
  std::vector<Case> cases;
  constexpr std::pair<int, int> kSizes[] = {{2, 2}, {2, 4}, {4, 4}, {4, 6}};
  for (const auto& [Nq, Nk] : kSizes) {
    cases.push_back({small_problem(Nq, Nk, 0.5f), kSmall});
  }
  cases.push_back({small_problem(4, 4, -0.5f), kSmall});  // no score above 0
  cases.push_back({random_problem(make_shape(1, 2, 64, 64, 64)), chapters_tiles(64)});
  cases.push_back({random_problem(make_shape(2, 1, 64, 48, 100)), chapters_tiles(100)});
  return cases;
}

Verdict check_scores(Later later) {
  return exercise::check_stage(
      run_once, whole_tiles(), {Array::kS},
      {Slip::kScaleForgotten, Slip::kScaleTwice, Slip::kProductsNotAdded, Slip::kLastColumnMissing,
       Slip::kTransposed, Slip::kFirstKeysAgain, Slip::kFirstQueriesAgain},
      later);
}

Verdict check_statistics(Later later) {
  return exercise::check_stage(run_once, whole_tiles(), {Array::kM, Array::kL},
                               {Slip::kSumNotRescaled, Slip::kSumOfTile, Slip::kRescaleInverted,
                                Slip::kMaxOfTile, Slip::kMaxFromZero, Slip::kMaxOfLane,
                                Slip::kSumOfLane, Slip::kExpOfTileMax, Slip::kExpWithoutMax},
                               later);
}

Verdict check_output(Later later) {
  return exercise::check_stage(
      run_once, whole_tiles(), {Array::kM, Array::kL, Array::kO},
      {Slip::kOldNotWeighted, Slip::kOldKept, Slip::kOldWithoutSum, Slip::kOldNotRescaled,
       Slip::kNotDivided, Slip::kDividedEarly, Slip::kTileWeight, Slip::kScoresForWeights,
       Slip::kOutputOfTile, Slip::kFirstValuesAgain},
      later);
}

const Chapter& record() {
  static constexpr Step kSteps[] = {
      {.id = "write_it",
       .idea = "written from an empty kernel",
       .forward =
           [](const ForwardArgs& args) {
             exercise::run_counted(
                 args, [](const ForwardArgs& a) { write_forward(a, false, nullptr); }, forward);
           },
       .forward_workspace_bytes = workspace_bytes}};
  static constexpr int kTileEdges[] = {16, 32, 64};
  static constexpr Chapter kChapter{.id = "05_write_it",
                                    .title = "Write it",
                                    .idea = "written from an empty kernel",
                                    .memory = device_memory,
                                    .steps = kSteps,
                                    .tile_edges = kTileEdges};
  return kChapter;
}

Verdict check_edges(Later later) {
  std::vector<Case> cases;
  for (const Mask mask : {Mask::kFull, Mask::kCausal}) {
    constexpr std::pair<int, int> kSizes[] = {{1, 2}, {2, 1}, {2, 3}, {3, 3}, {4, 3}, {3, 6}};
    for (const auto& [Nq, Nk] : kSizes) {
      cases.push_back({small_problem(Nq, Nk, 0.5f, mask), kSmall});
    }
  }
  cases.push_back({exercise::hidden_problem(), kSmall});
  cases.push_back({small_problem(2, 0, 0.5f), kSmall});
  std::ranges::move(exercise::infinite_cases(kSmall), std::back_inserter(cases));
  cases.push_back(
      {random_problem(make_shape(1, 2, 70, 45, 40), Mask::kCausal), chapters_tiles(40)});
  const Verdict verdict = exercise::check_stage(
      run_once, cases, {Array::kO, Array::kLse},
      {Slip::kPaddedKeysCounted, Slip::kNoMask, Slip::kLocalKey, Slip::kLocalRow,
       Slip::kEmptiedByLaterTile, Slip::kOneKeyMore, Slip::kOneKeyLess, Slip::kEmptyRowDivided,
       Slip::kMaxOfHidden, Slip::kReferenceForgotten, Slip::kEmptyRowUpdated,
       Slip::kEmptyRowNotAsked, Slip::kOldOfNothing, Slip::kEmptyBySum, Slip::kLseWithoutMax,
       Slip::kLseWithoutLog},
      later);
  return verdict.passed ? exercise::check_battery(record()) : verdict;
}

constexpr exercise::Stage kStages[] = {
    {"a tile of S",
     {"show_tile"},
     "  Loads and products are chapter 03's. Barriers: one between the loads and the\n"
     "  products, one between the products and whoever reads S, one at the end of the inner\n"
     "  loop: stage 3 reads sV there, which the next tile of keys overwrites. Thread n of\n"
     "  kThreads takes the elements n, n + kThreads, ... of the kBr * kBc; element e is row\n"
     "  e / kBc, key e % kBc.",
     check_scores},
    {"m and l of every row",
     {"gMax", "gSum"},
     "  Warp w takes the rows w, w + kWarps, ..., lane L the keys L, L + 32, ... of the\n"
     "  tile. m_new = max(m_old, the tile's maximum), P = exp(S - m_new), which may\n"
     "  overwrite S, l_new = l_old * exp(m_old - m_new) + the sum of P. The lanes meet in\n"
     "  warp_max and warp_sum: outside of every if. One lane stores m and l.",
     check_statistics},
    {"O of every row",
     {"o", "sV"},
     "  O_new = (l_old * exp(m_old - m_new) * O_old + P V) / l_new. The lanes now share the\n"
     "  columns of d, and each needs the whole row of P: a __syncwarp lies between. On the\n"
     "  first visit there is no O_old to read.",
     check_output},
    {"edges, masks, LSE, all cases",
     {"lse"},
     "  A row of the tile may lie behind Nq. Of the tile's keys a row sees visible_keys(i0 +\n"
     "  r, diagonal, Nk) - j0 of them, at least 0 and at most kBc. A row that sees none of a\n"
     "  later tile is left alone; in the first round somebody must write its zeros, also\n"
     "  where Nk = 0 and the outer loop would never run. O_old of a row whose m is still\n"
     "  -infinity is 0/0: take 0 for it. Whether a row is empty is a question of its keys,\n"
     "  not of l: with keys whose logits are all -infinity O is NaN. Silver: one lane loads\n"
     "  and stores m and l, and O travels once per row and tile of which the row sees\n"
     "  something. Gold: three barriers per round, and P V over the visible keys alone.",
     check_edges},
};

}  // namespace
}  // namespace attn::fused_forward

int main(int argc, char** argv) {
  return attn::exercise::run({.program = "ch05_write",
                              .title = "FlashAttention-1, from an empty kernel",
                              .stages = attn::fused_forward::kStages},
                             argc, argv);
}
