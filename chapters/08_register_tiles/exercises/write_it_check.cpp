// SPDX-License-Identifier: MIT
//
// The stages of chapter 08's "write it" exercise.
#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "chapters/08_register_tiles/exercises/write_it.hpp"
#include "chapters/08_register_tiles/exercises/write_it_guesses.hpp"
#include "chapters/08_register_tiles/register_tiles.hpp"
#include "common/exercise/by_hand.hpp"
#include "common/exercise/compare.hpp"
#include "common/exercise/trial.hpp"
#include "common/simt/machine/options.hpp"
#include "common/simt/watch/counters.hpp"

namespace attn::register_tiles {
namespace {

using exercise::Array;
using exercise::Case;
using exercise::Later;
using exercise::random_problem;
using exercise::Slip;
using exercise::small_problem;
using exercise::Verdict;

exercise::Ran run_once(const Problem& problem, const exercise::Loop& loop) {
  exercise::Trial trial;
  const Shape& shape = problem.shape;
  const Layout tile = layout_of(loop, shape.d);
  trial.name_shared({{.name = "sQ", .rows = tile.Br, .stride = tile.D + 4, .tile = true},
                     {.name = "sK", .rows = tile.Bc, .stride = tile.D + 4, .tile = true},
                     {.name = "sV", .rows = tile.Bc, .stride = tile.D, .tile = true},
                     {.name = "sP", .rows = tile.Br, .stride = tile.Bc + 8}});
  ForwardArgs args;
  args.shape = shape;
  args.mask = problem.mask;
  args.scale = problem.scale;
  args.q = trial.input("q", problem.q);
  args.k = trial.input("k", problem.k);
  args.v = trial.input("v", problem.v);
  args.o = trial.output("o", shape.q_elements());
  args.lse = trial.output("lse", shape.rows());
  float* seen = trial.output("show_scores", shape.rows() * shape.Nk);
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

struct Look {
  const char* name;
  std::vector<float> exercise::Seen::*array;
};

Look look_at(Array array) {
  return array == Array::kS   ? Look{"S", &exercise::Seen::s}
         : array == Array::kM ? Look{"m", &exercise::Seen::m}
         : array == Array::kL ? Look{"l", &exercise::Seen::l}
         : array == Array::kO ? Look{"O", &exercise::Seen::o}
                              : Look{"LSE", &exercise::Seen::lse};
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return std::ranges::equal(a, b, exercise::is_close);
}

/// Which slip gives these very numbers: one of register tiles, or one that every kernel can have.
std::string looks_as_if(const Case& one, const exercise::Seen& wanted, const exercise::Seen& yours,
                        const Guesses& guesses, std::initializer_list<Array> arrays, Array wrong,
                        std::initializer_list<Slip> slips) {
  const auto member = look_at(wrong).array;
  for (const Guess& guess : guesses.of(wrong)) {
    if (!same(yours.*member, guess.values) || same(wanted.*member, guess.values)) continue;
    return fmt::format("It looks as if {}.\n", guess.words);
  }
  for (const Slip slip : slips) {
    const exercise::Seen seen = walk(one.problem, one.loop, slip);
    const bool all = std::ranges::all_of(arrays, [&](Array array) {
      return same(seen.*look_at(array).array, yours.*look_at(array).array);
    });
    if (all) return fmt::format("It looks as if {}.\n", to_string(slip));
  }
  return "None of the usual slips gives these numbers.\n";
}

/// The first wrong number, the lane that has it, what may be the cause, and a case of small tiles
/// by hand. Empty if no number is wrong.
std::string explain(const Case& one, std::initializer_list<Array> arrays,
                    std::initializer_list<Slip> slips) {
  const exercise::Seen yours = run_once(one.problem, one.loop).seen;
  const exercise::Seen wanted = walk(one.problem, one.loop);
  const Guesses guesses(one, wanted);
  for (const Array array : arrays) {
    const auto [name, member] = look_at(array);
    const std::vector<float>& got = yours.*member;
    const auto [mine, right] = std::ranges::mismatch(got, wanted.*member, exercise::is_close);
    if (mine == got.end()) continue;
    const Place place(array, one.problem.shape, mine - got.begin());
    std::string text = array == *arrays.begin() ? fmt::format("{} is wrong", name)
                       : array == Array::kL     ? "m is right, l is not"
                                                : fmt::format("{} is not right", name);
    text += fmt::format(": {} {} should be {}. It is held by {}.\n", place.text(),
                        exercise::is_unwritten(*mine)
                            ? "has not been written, and"
                            : fmt::format("is {} and", exercise::short_text(*mine)),
                        exercise::short_text(*right), guesses.holder(place));
    if (!exercise::is_unwritten(*mine)) {
      text += looks_as_if(one, wanted, yours, guesses, arrays, array, slips);
    }
    text += fmt::format("\nThe smallest case that fails: {}\n", setting(one));
    if (one.loop.Br != kSmall.Br) {
      return text +
             "What only a large case has: several warps, lanes with 8 x 8 scores, several heads.\n";
    }
    if (array == Array::kS) {
      return text + scores_by_hand(one, wanted, yours, place.i, place.column);
    }
    return text + row_by_hand(one, run_once, place.i, array == Array::kO);
  }
  return {};
}

Verdict check_cases(const std::vector<Case>& cases, std::initializer_list<Array> arrays,
                    std::initializer_list<Slip> slips, Later later) {
  for (const Case& one : cases) {
    Verdict verdict = exercise::check_stage(run_once, {&one, 1}, arrays, slips, later);
    if (verdict.passed) continue;
    const bool detected = !verdict.hint.empty();
    const std::string text =
        detected || fits_on_paper(one) ? std::string() : explain(one, arrays, slips);
    if (!text.empty()) verdict.text = text;
    return verdict;
  }
  return {};
}

/// Loads from shared memory by line and bytes per lane: how many a warp executed.
using Loads = std::map<std::tuple<std::string, int, int>, std::int64_t>;

/// Those of one launch, or of its scores alone.
Loads count_loads(const Problem& problem, bool scores_alone) {
  exercise::Trial trial;
  const Shape& shape = problem.shape;
  ForwardArgs args;
  args.shape = shape;
  args.scale = problem.scale;
  args.q = trial.input("q", problem.q);
  args.k = trial.input("k", problem.k);
  args.v = trial.input("v", problem.v);
  args.o = trial.output("o", shape.q_elements());
  args.lse = trial.output("lse", shape.rows());
  float* seen = scores_alone ? trial.output("show_scores", shape.rows() * shape.Nk) : nullptr;
  const simt::Options before = simt::options();
  simt::options().tracer = true;
  simt::take_launches();
  trial.run([&] { write_forward(args, false, seen, nullptr, nullptr); });
  simt::options() = before;
  Loads loads;
  for (const simt::LaunchRecord& launch : simt::take_launches()) {
    for (const simt::SiteTraffic& site : launch.sites) {
      if (site.access != "shared load") continue;
      const std::string file = site.file.substr(site.file.find_last_of('/') + 1);
      loads[{file, site.line, site.lane_bytes}] += static_cast<std::int64_t>(site.requests);
    }
  }
  return loads;
}

enum class Product { kScores, kOutputs };

/// Whether a product fetches no more than the rectangle of 8 x 8 needs: 16 loads of 16 bytes for
/// 256 multiply-adds.
Verdict check_loads(Product product) {
  const Problem problem = random_problem(make_shape(1, 1, 128, 64, 64));  // one whole tile
  const std::int64_t multiply_adds = 128 * 64 * 64 / 32;                  // of a warp
  Loads loads = count_loads(problem, true);
  if (product == Product::kOutputs) {
    Loads all = count_loads(problem, false);
    for (const auto& [site, count] : loads) all[site] -= count;
    loads = std::move(all);
  }
  std::int64_t count = 0;
  std::string lines;
  bool narrow = false;
  for (const auto& [site, requests] : loads) {
    if (requests == 0) continue;
    const auto& [file, line, bytes] = site;
    count += requests;
    narrow = narrow || bytes < 16;
    lines +=
        fmt::format("  {}:{}  {} bytes for each lane  {} loads\n", file, line, bytes, requests);
  }
  if (count <= multiply_adds / 16) return {};
  return {
      .passed = false,
      .text = fmt::format(
          "{} is right, but fetches too often: for the {} multiply-adds that warps execute in a "
          "tile of 128 x 64, d = 64, they executed {} loads from shared memory. {} are enough, "
          "one for 16.\n{}\n{}",
          product == Product::kScores ? "S" : "O", multiply_adds, count, multiply_adds / 16,
          narrow ? "A load of 4 bytes brings one number; load4 brings four by one instruction."
                 : "The same numbers come several times: what one load4 has brought stays in "
                   "registers until it has met all its partners. Is a load inside the loop "
                   "over m that could stand in front of it?",
          lines)};
}

/// Queries, keys and values with d = 2 and small whole numbers, as many as asked for. A tile's
/// largest scores are those of its last key: no lane finds them by the wrong exchanges.
Problem short_numbers(std::int64_t Nq, std::int64_t Nk, float scale, Mask mask = Mask::kFull) {
  Problem problem;
  problem.shape = make_shape(1, 1, Nq, Nk, 2);
  problem.mask = mask;
  problem.scale = scale;
  for (std::int64_t i = 0; i < Nq; ++i) {
    for (const std::int64_t x : {(i + 1) % 2, (i + i / 2) % 2}) {
      problem.q.push_back(static_cast<float>(x));
    }
  }
  for (std::int64_t j = 0; j < Nk; ++j) {
    for (const std::int64_t x : {(3 * j + 2) % 8, (5 * j + 4) % 8 * 3 / 2}) {
      problem.k.push_back(static_cast<float>(x + j / 8));
    }
    for (const std::int64_t x : {j % 3, (j + 1) % 4}) problem.v.push_back(static_cast<float>(x));
  }
  return problem;
}

/// Whole tiles, no mask: one score for each lane, then the chapter's 8 x 8, also of two heads.
std::vector<Case> whole_tiles() {
  return {{short_numbers(4, 8, 0.5f), kSmall},
          {short_numbers(4, 16, 0.5f), kSmall},
          {short_numbers(8, 16, -0.5f), kSmall},
          {random_problem(make_shape(1, 1, 128, 64, 20)), kLarge},
          {random_problem(make_shape(1, 2, 128, 128, 64)), kLarge},
          {random_problem(make_shape(1, 1, 128, 64, 100)), kLarge}};
}

Verdict check_scores(Later later) {
  const Verdict verdict =
      check_cases(whole_tiles(), {Array::kS},
                  {Slip::kScaleForgotten, Slip::kScaleTwice, Slip::kLastColumnMissing}, later);
  return verdict.passed ? check_loads(Product::kScores) : verdict;
}

Verdict check_statistics(Later later) {
  return check_cases(
      whole_tiles(), {Array::kM, Array::kL},
      {Slip::kSumNotRescaled, Slip::kSumOfTile, Slip::kRescaleInverted, Slip::kMaxOfTile,
       Slip::kMaxFromZero, Slip::kExpOfTileMax, Slip::kExpWithoutMax},
      later);
}

Verdict check_output(Later later) {
  const Verdict verdict =
      check_cases(whole_tiles(), {Array::kM, Array::kL, Array::kO},
                  {Slip::kOldNotRescaled, Slip::kOldWithSum, Slip::kNotDivided, Slip::kDividedEarly,
                   Slip::kTileWeight, Slip::kScoresForWeights, Slip::kOutputOfTile},
                  later);
  return verdict.passed ? check_loads(Product::kOutputs) : verdict;
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
                 forward_paired);
           },
       .forward_workspace_bytes = no_workspace_bytes}};
  static constexpr int kTileEdges[] = {64, 128};
  static constexpr Chapter kChapter{.id = "08_write_it",
                                    .title = "Write it",
                                    .idea = "written from an empty kernel",
                                    .memory = device_memory,
                                    .steps = kSteps,
                                    .tile_edges = kTileEdges};
  return kChapter;
}

/// The last key is hidden from most rows, and one of its values is NaN.
Problem hidden_nan() {
  Problem problem = short_numbers(4, 8, 0.5f, Mask::kCausal);
  problem.v.back() = std::numeric_limits<float>::quiet_NaN();
  return problem;
}

/// The first tile of keys has logits of -infinity only.
Problem infinite_tile() {
  Problem problem = short_numbers(4, 10, 0.5f);
  for (std::size_t n = 0; n < problem.q.size(); n += 2) problem.q[n] = 1;
  for (std::size_t n = 0; n < 16; n += 2) {
    problem.k[n] = -std::numeric_limits<float>::infinity();
  }
  return problem;
}

Verdict check_edges(Later later) {
  std::vector<Case> cases;
  for (const Mask mask : {Mask::kFull, Mask::kCausal}) {
    constexpr std::pair<int, int> kSizes[] = {{1, 2}, {4, 1}, {3, 3}, {4, 6}};
    for (const auto& [Nq, Nk] : kSizes) {
      cases.push_back({small_problem(Nq, Nk, 0.5f, mask), kSmall});
    }
    for (const std::int64_t Nk : {9, 20}) {
      cases.push_back({short_numbers(6, Nk, 0.5f, mask), kSmall});
    }
    if (mask == Mask::kFull) cases.push_back({infinite_tile(), kSmall});
  }
  cases.push_back({small_problem(2, 0, 0.5f), kSmall});
  std::ranges::move(exercise::infinite_cases(kSmall), std::back_inserter(cases));
  cases.push_back({hidden_nan(), kSmall});
  cases.push_back({random_problem(make_shape(1, 2, 70, 90, 37), Mask::kCausal), kLarge});
  const Verdict verdict = check_cases(
      cases, {Array::kO, Array::kLse},
      {Slip::kPaddedKeysCounted, Slip::kNoMask, Slip::kLocalKey, Slip::kLocalRow, Slip::kOneKeyMore,
       Slip::kOneKeyLess, Slip::kEmptyRowDivided, Slip::kReferenceForgotten, Slip::kEmptyBySum,
       Slip::kLseWithoutMax, Slip::kLseWithoutLog},
      later);
  return verdict.passed ? exercise::check_battery(record()) : verdict;
}

constexpr exercise::Stage kStages[] = {
    {"a rectangle of S",
     {"show_scores"},
     "  For c = 0, 4, 8, ...: load4 brings four columns of the lane's TM rows of Q, into\n"
     "  float a[TM][4]: row m is q + 4 m * kStride + c. Then for each n it brings the same\n"
     "  four of one row of K, k + 8 n * kStride + c, and they meet all TM rows: 4 TM\n"
     "  multiply-adds. A load inside the loop over m would fetch the row of K TM times.",
     check_scores},
    {"m and l of its rows",
     {},
     "  For each m: the maximum over the lane's own TN scores; over the eight lanes of the\n"
     "  row, in three exchanges, each x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, bit));\n"
     "  then m_new = max(m_old, that), P = exp(S - m_new), and l = l * exp(m_old - m_new) +\n"
     "  the lane's own P. Behind the loop the same three exchanges, with +, make the row's l.",
     check_statistics},
    {"a piece of O",
     {"o", "sP"},
     "  As in stage 1, with P in the place of Q and V in that of K. For j = 0, 4, 8, ...: four\n"
     "  keys of P of each of the TM rows, p + 4 m * kPStride + j; then for each of the four\n"
     "  keys e and each h the float4 v + (j + e) * kD + 32 h, which meets all TM rows. P was\n"
     "  stored by other lanes of the warp: a __syncwarp first. When m grows, acc_o gets the\n"
     "  factor that l gets. Behind the loop: four columns to 4 * lane.column + 32 * h.",
     check_output},
    {"edges, masks, LSE, all cases",
     {"lse"},
     "  Row i = i0 + row + 4 m sees visible_keys(i, diagonal, Nk) - j0 keys of the tile, at\n"
     "  least 0 and at most kBc; the lane's n-th key is number lane.column + 8 n of it. A score\n"
     "  that is not seen becomes -infinity; in P V such a key is left out, by an if. All lanes\n"
     "  take part in every exchange: leave rows beyond Nq out behind them. Whether a row is\n"
     "  empty is a question of its keys, not of l. The loop over j0 may end with what the last\n"
     "  row of the tile sees: the silver medal counts that. Gold counts the turns of shared\n"
     "  memory: with Lanes = PairedLanes each load of 16 bytes takes two (step 3).",
     check_edges},
};

}  // namespace
}  // namespace attn::register_tiles

int main(int argc, char** argv) {
  return attn::exercise::run({.program = "ch08_write",
                              .title = "register tiles, from an empty kernel",
                              .stages = attn::register_tiles::kStages},
                             argc, argv);
}
