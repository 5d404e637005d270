// SPDX-License-Identifier: MIT
//
// The stages of chapter 07's "write it" exercise.
#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "chapters/07_v2_loop_order/exercises/write_it.hpp"
#include "chapters/07_v2_loop_order/v2_loop_order.hpp"
#include "common/exercise/compare.hpp"
#include "common/exercise/trial.hpp"

namespace attn::v2_loop_order {
namespace {

using exercise::Array;
using exercise::Case;
using exercise::Later;
using exercise::Loop;
using exercise::random_problem;
using exercise::Slip;
using exercise::small_problem;
using exercise::Verdict;

constexpr Loop kSmall{.Br = 2, .Bc = 2, .averages = false};

Loop chapters_tiles(std::int64_t d) {
  return {.Br = tiles_for(d).Br, .Bc = tiles_for(d).Bc, .averages = false};
}

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
  float* seen = trial.output("show_rows", shape.rows() * shape.Nk);
  float* m = trial.output("m", shape.rows());
  float* l = trial.output("l", shape.rows());
  exercise::Ran ran;
  ran.troubles = trial.run([&] { write_forward(args, loop.Br == kSmall.Br, seen, m, l); });
  ran.seen.s = trial.read(seen);
  ran.seen.m = trial.read(m);
  ran.seen.l = trial.read(l);
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
  return exercise::check_stage(
      run_once, whole_tiles(), {Array::kM, Array::kL},
      {Slip::kNoKeyTaken, Slip::kSumNotRescaled, Slip::kSumOfTile, Slip::kRescaleInverted,
       Slip::kMaxOfTile, Slip::kMaxFromZero, Slip::kMaxOfLane, Slip::kSumOfLane,
       Slip::kExpOfTileMax, Slip::kExpWithoutMax},
      later);
}

Verdict check_output(Later later) {
  return exercise::check_stage(
      run_once, whole_tiles(), {Array::kM, Array::kL, Array::kO},
      {Slip::kOldNotRescaled, Slip::kOldWithSum, Slip::kNotDivided, Slip::kDividedEarly,
       Slip::kTileWeight, Slip::kScoresForWeights, Slip::kOutputOfTile, Slip::kFirstValuesAgain},
      later);
}

const Chapter& record() {
  static constexpr Step kSteps[] = {
      {.id = "write_it",
       .idea = "written from an empty kernel",
       .forward =
           [](const ForwardArgs& args) {
             exercise::run_counted(
                 args,
                 [](const ForwardArgs& a) { write_forward(a, false, nullptr, nullptr, nullptr); },
                 forward_skip);
           },
       .forward_workspace_bytes = no_workspace_bytes}};
  static constexpr int kTileEdges[] = {16, 32, 64};
  static constexpr Chapter kChapter{.id = "07_write_it",
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
       Slip::kTileByFirstRow, Slip::kOneKeyMore, Slip::kOneKeyLess, Slip::kEmptyRowDivided,
       Slip::kMaxOfHidden, Slip::kReferenceForgotten, Slip::kEmptyRowUpdated,
       Slip::kEmptyRowNotAsked, Slip::kEmptyBySum, Slip::kLseWithoutMax, Slip::kLseWithoutLog},
      later);
  return verdict.passed ? exercise::check_battery(record()) : verdict;
}

constexpr exercise::Stage kStages[] = {
    {"S of a tile",
     {"show_rows"},
     "  As in chapter 05, with one loop: the block has its tile of Q to itself. A warp\n"
     "  computes the scores of its own rows, the only ones it will read: n = lane, lane +\n"
     "  32, ... < kRows * kBc is row n / kBc * kWarps + warp, key n % kBc. The block waits\n"
     "  twice per tile: until the tiles are complete, and until everyone is done with sK and\n"
     "  sV.",
     check_scores},
    {"m and l in registers",
     {},
     "  m_new = max(m_old, the tile's maximum), P = exp(S - m_new), l_new = l_old *\n"
     "  exp(m_old - m_new) + the sum of P. Nothing goes to HBM: row_max[n] and row_sum[n]\n"
     "  are the same in all lanes, since warp_max and warp_sum are.",
     check_statistics},
    {"O in registers",
     {"o", "sV"},
     "  When m grows, acc_o gets the factor exp(m_old - m_new), as l does; then P V is\n"
     "  added. P is read by all lanes of the warp: a __syncwarp first. Divide behind the\n"
     "  loop, once.",
     check_output},
    {"edges, masks, LSE, all cases",
     {"lse"},
     "  Row i0 + r exists if it is below Nq, and sees visible_keys(i0 + r, diagonal, Nk) -\n"
     "  j0 keys of the tile, at least 0 and at most kBc. The loop over j0 may end with what\n"
     "  the last row that exists sees: the silver medal counts that. Gold: two __syncthreads\n"
     "  per tile; each element of sV fetched once for all rows of a warp, up to the largest\n"
     "  number of keys that one of them sees (0 for rows from Nq on); and where d > 64 a tile\n"
     "  has 16 keys: all 32 lanes work only if a warp computes two rows' scores at once, as in\n"
     "  the hint for stage 1. Whether a row is empty is a question of its keys, not of l: with\n"
     "  keys whose logits are all -infinity O is NaN.",
     check_edges},
};

}  // namespace
}  // namespace attn::v2_loop_order

int main(int argc, char** argv) {
  return attn::exercise::run({.program = "ch07_write",
                              .title = "FlashAttention-2, from an empty kernel",
                              .stages = attn::v2_loop_order::kStages},
                             argc, argv);
}
