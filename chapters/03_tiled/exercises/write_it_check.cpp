// SPDX-License-Identifier: MIT
//
// The stages of chapter 03's "write it" exercise.
#include <utility>
#include <vector>

#include "chapters/03_tiled/exercises/write_it.hpp"
#include "chapters/03_tiled/tiled.hpp"
#include "common/exercise/compare.hpp"
#include "common/exercise/trial.hpp"

namespace attn::tiled {
namespace {

using exercise::Array;
using exercise::Case;
using exercise::Later;
using exercise::Loop;
using exercise::random_problem;
using exercise::Slip;
using exercise::small_problem;
using exercise::Verdict;

constexpr Loop kSmall{.Br = 2, .Bc = 2, .columns = 2};
constexpr Loop kLarge{.Br = kTile, .Bc = kTile, .columns = kTile};

/// Whether a kernel may have stored what it likes there, or nothing.
bool is_hidden(const Problem& problem, std::int64_t element) {
  const std::int64_t Nq = problem.shape.Nq, Nk = problem.shape.Nk;
  return element % Nk >= visible_keys(element / Nk % Nq, diagonal(problem.mask, Nq, Nk), Nk);
}

void forget_hidden(std::vector<float>& s, const Problem& problem) {
  for (std::size_t n = 0; n < s.size(); ++n) {
    if (is_hidden(problem, static_cast<std::int64_t>(n))) s[n] = exercise::unwritten();
  }
}

exercise::Ran run_once(const Problem& problem, const Loop& loop) {
  exercise::Trial trial;
  const Shape& shape = problem.shape;
  trial.name_shared({{.name = "sQ", .rows = loop.Br, .stride = loop.Br + 1, .tile = true},
                     {.name = "sK", .rows = loop.Bc, .stride = loop.Bc + 1, .tile = true}});
  ForwardArgs args;
  args.shape = shape;
  args.mask = problem.mask;
  args.scale = problem.scale;
  args.q = trial.input("q", problem.q);
  args.k = trial.input("k", problem.k);
  float* s = trial.output("S", shape.rows() * shape.Nk);
  float* seen_q = trial.output("show_tile of sQ", shape.q_elements());
  float* seen_k = trial.output("show_tile of sK", shape.kv_elements());
  exercise::Ran ran;
  ran.troubles = trial.run([&] { write_scores(args, s, loop.Br == kSmall.Br, seen_q, seen_k); });
  ran.seen.s = trial.read(s);
  forget_hidden(ran.seen.s, problem);
  ran.seen.q_tiles = trial.read(seen_q);
  ran.seen.k_tiles = trial.read(seen_k);
  return ran;
}

/// The rows of Q or K as tiles of them would hold them, with a slip in the load.
std::vector<float> loaded(const std::vector<float>& rows, const std::vector<float>& others,
                          const Shape& shape, int tile, Slip slip) {
  if (slip == Slip::kKeysFromQueries) {
    std::vector<float> result = others;
    result.resize(rows.size());
    return result;
  }
  const std::int64_t d = shape.d;
  std::vector<float> result(rows.size());
  for (std::size_t n = 0; n < rows.size(); ++n) {
    const std::int64_t row = static_cast<std::int64_t>(n) / d, c = static_cast<std::int64_t>(n) % d;
    const std::int64_t r = row % tile, first = row - r;
    std::int64_t from = row * d + c;
    if (slip == Slip::kTileTransposed) from = (first + c % tile) * d + c - c % tile + r;
    if (slip == Slip::kRowStride) from = first * d + r * tile + c;
    if (slip == Slip::kFirstQueriesAgain || slip == Slip::kFirstKeysAgain) from = r * d + c;
    const auto element = static_cast<std::size_t>(from);
    result[n] = element < rows.size() ? rows[element] : 0.0f;
  }
  return result;
}

exercise::Seen model(const Problem& problem, const Loop& loop, Slip slip) {
  Problem changed = problem;
  const Shape& shape = problem.shape;
  const bool of_both = slip == Slip::kTileTransposed || slip == Slip::kRowStride;
  if (of_both || slip == Slip::kFirstQueriesAgain) {
    changed.q = loaded(problem.q, problem.k, shape, loop.Br, slip);
  }
  if (of_both || slip == Slip::kFirstKeysAgain || slip == Slip::kKeysFromQueries) {
    changed.k = loaded(problem.k, problem.q, shape, loop.Br, slip);
  }
  exercise::Seen seen = exercise::walk(changed, loop, slip);
  forget_hidden(seen.s, problem);
  if (slip == Slip::kTileByFirstRow) {
    for (std::size_t n = 0; n < seen.s.size(); ++n) {
      const std::int64_t i = static_cast<std::int64_t>(n) / shape.Nk % shape.Nq;
      const std::int64_t j0 = static_cast<std::int64_t>(n) % shape.Nk / loop.Bc * loop.Bc;
      const std::int64_t first = i / loop.Br * loop.Br;
      const std::int64_t sees =
          visible_keys(first, diagonal(problem.mask, shape.Nq, shape.Nk), shape.Nk);
      if (j0 >= sees) seen.s[n] = exercise::unwritten();
    }
  }
  seen.q_tiles = changed.q;
  seen.k_tiles = changed.k;
  return seen;
}

/// Whole tiles, d = the edge of a tile.
std::vector<Case> whole_tiles() {
  std::vector<Case> cases;
  constexpr std::pair<int, int> kSizes[] = {{2, 2}, {2, 4}, {4, 4}};
  for (const auto& [Nq, Nk] : kSizes) {
    cases.push_back({small_problem(Nq, Nk, 0.5f), kSmall});
  }
  cases.push_back({random_problem(make_shape(1, 2, 64, 96, 32)), kLarge});
  return cases;
}

Verdict check_tiles(Later later) {
  return exercise::check_stage(run_once, whole_tiles(), {Array::kQTiles, Array::kKTiles},
                               {Slip::kTileTransposed, Slip::kFirstQueriesAgain,
                                Slip::kFirstKeysAgain, Slip::kKeysFromQueries},
                               later, model);
}

Verdict check_product(Later later) {
  return exercise::check_stage(run_once, whole_tiles(), {Array::kS},
                               {Slip::kScaleForgotten, Slip::kScaleTwice, Slip::kProductsNotAdded,
                                Slip::kLastColumnMissing, Slip::kTransposed},
                               later, model);
}

Verdict check_columns(Later later) {
  Problem wide = small_problem(2, 2, 0.5f);
  wide.shape.d = 4;
  wide.q = {1, 0, 2, 1, 0, 1, 1, 3};
  wide.k = {2, 0, 1, 1, 1, 1, 0, 2};
  wide.v.assign(8, 0.0f);
  const std::vector<Case> cases{{wide, kSmall},
                                {random_problem(make_shape(1, 1, 32, 32, 64)), kLarge},
                                {random_problem(make_shape(2, 1, 64, 32, 96)), kLarge}};
  return exercise::check_stage(
      run_once, cases, {Array::kS},
      {Slip::kFirstColumnsOnly, Slip::kFirstColumnsAgain, Slip::kLastColumnsOnly, Slip::kRowStride},
      later, model);
}

const Chapter& record() {
  static constexpr Step kSteps[] = {{.id = "write_it",
                                     .idea = "written from an empty kernel",
                                     .forward =
                                         [](const ForwardArgs& args) {
                                           exercise::run_counted(args, write_forward,
                                                                 forward_warp_softmax);
                                         },
                                     .forward_workspace_bytes = workspace_bytes}};
  static constexpr int kTileEdges[] = {kTile};
  static constexpr Chapter kChapter{.id = "03_write_it",
                                    .title = "Write it",
                                    .idea = "written from an empty kernel",
                                    .memory = device_memory,
                                    .steps = kSteps,
                                    .tile_edges = kTileEdges,
                                    .support = {.max_n = std::int64_t{kTile} * 65535}};
  return kChapter;
}

Verdict check_edges(Later later) {
  std::vector<Case> cases;
  constexpr std::pair<int, int> kSizes[] = {{1, 2}, {2, 1}, {2, 3}, {3, 3}};
  for (const auto& [Nq, Nk] : kSizes) {
    cases.push_back({small_problem(Nq, Nk, 0.5f), kSmall});
  }
  Problem narrow = small_problem(2, 2, 0.5f);
  narrow.shape.d = 1;
  narrow.q = {1, 2};
  narrow.k = {3, 4};
  cases.push_back({narrow, kSmall});
  for (const auto& [Nq, Nk] : kSizes) {
    cases.push_back({small_problem(Nq, Nk, 0.5f, Mask::kCausal), kSmall});
  }
  cases.push_back({random_problem(make_shape(1, 2, 70, 45, 40)), kLarge});
  const Verdict verdict = exercise::check_stage(
      run_once, cases, {Array::kS},
      {Slip::kFirstColumnsOnly, Slip::kRowStride, Slip::kTileByFirstRow}, later, model);
  return verdict.passed ? exercise::check_battery(record()) : verdict;
}

constexpr exercise::Stage kStages[] = {
    {"tiles of Q and K",
     {},
     "  Element n of a tile is row n / kT, column n % kT, and thread t takes the elements t,\n"
     "  t + kThreads, ... Row r of the tile of Q is row i0 + r of Q, which starts at gQ[(i0\n"
     "  + r) * d]; of K's tile it is row j0 + r. One barrier behind both.",
     check_tiles},
    {"a tile of S",
     {"S"},
     "  A thread has kPerThread scores, n = threadIdx.x + m * kThreads for m = 0, 1, ...:\n"
     "  query i0 + n / kT, key j0 + n % kT. Its dot product is row n / kT of sQ with row n %\n"
     "  kT of sK. In the small tiles there are more threads than scores: n < kT * kT.",
     check_product},
    {"along the columns of d",
     {},
     "  Everything from the load to the products goes into a loop over c0 = 0, kT, 2 kT, ...\n"
     "  < d. The kPerThread sums are set to 0 in front of it, scaled and stored behind it.\n"
     "  Before the next tile is loaded over this one, everybody must have read it: a second\n"
     "  barrier.",
     check_columns},
    {"edges, masks, all cases",
     {},
     "  Beyond Nq, Nk or d nothing may be loaded, only scores of the matrix may be stored, and\n"
     "  the sum over columns ends at d. Row i sees the keys up to\n"
     "  visible_keys(i, diagonal, Nk), and nobody asks for the others: where the last row of\n"
     "  the tile (below Nq) sees none of its keys, the block may leave at once, all threads\n"
     "  together. That is what the silver medal counts. Gold: what lies outside is not stored\n"
     "  in the tiles and not computed either, not even as zeros.",
     check_edges},
};

}  // namespace
}  // namespace attn::tiled

int main(int argc, char** argv) {
  return attn::exercise::run({.program = "ch03_write",
                              .title = "a tiled product, from an empty kernel",
                              .stages = attn::tiled::kStages},
                             argc, argv);
}
