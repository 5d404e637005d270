// SPDX-License-Identifier: MIT
//
// The stages of chapter 06's "write it" exercise.
#include <utility>
#include <vector>

#include "chapters/06_recompute_backward/exercises/write_it.hpp"
#include "chapters/06_recompute_backward/recompute_backward.hpp"
#include "common/exercise/backward.hpp"
#include "common/exercise/trial.hpp"
#include "common/verify/inputs.hpp"

namespace attn::recompute_backward {
namespace {

using exercise::Array;
using exercise::Case;
using exercise::Later;
using exercise::Loop;
using exercise::Slip;
using exercise::Verdict;

constexpr Loop kSmall{.Br = 2, .Bc = 2};

exercise::Ran run_once(const Problem& problem, const Loop& loop) {
  exercise::Trial trial;
  const Shape& shape = problem.shape;
  const std::int64_t columns = loop.Br == kSmall.Br ? 32 : tiles_for(shape.d).D;
  trial.name_shared({{.name = "sQ", .rows = loop.Br, .stride = columns + 1, .tile = true},
                     {.name = "sDO", .rows = loop.Br, .stride = columns + 1, .tile = true},
                     {.name = "sK", .rows = loop.Bc, .stride = columns + 1, .tile = true},
                     {.name = "sV", .rows = loop.Bc, .stride = columns + 1, .tile = true},
                     {.name = "sP", .rows = loop.Br, .stride = loop.Bc + 1},
                     {.name = "sDS", .rows = loop.Br, .stride = loop.Bc + 1},
                     {.name = "sLSE", .rows = loop.Br},
                     {.name = "sDelta", .rows = loop.Br}});
  const exercise::GivenRows rows = exercise::given_rows(problem);
  BackwardArgs args;
  args.shape = shape;
  args.scale = problem.scale;
  args.q = trial.input("q", problem.q);
  args.k = trial.input("k", problem.k);
  args.v = trial.input("v", problem.v);
  args.grad_o = trial.input("dO", problem.grad_o);
  args.lse = trial.input("lse", rows.lse);
  args.grad_q = trial.output("dq", shape.q_elements());
  args.grad_k = trial.output("dk", shape.kv_elements());
  args.grad_v = trial.output("dv", shape.kv_elements());
  const float* delta = trial.input("delta", rows.delta);
  float* p = trial.output("show_tile of P", shape.rows() * shape.Nk);
  float* ds = trial.output("show_tile of dS", shape.rows() * shape.Nk);
  exercise::Ran ran;
  ran.troubles = trial.run([&] { write_gradients(args, delta, loop.Br == kSmall.Br, p, ds); });
  ran.seen.p = trial.read(p);
  ran.seen.ds = trial.read(ds);
  ran.seen.dv = trial.read(args.grad_v);
  ran.seen.dk = trial.read(args.grad_k);
  return ran;
}

Problem small_problem(std::int64_t Nq, std::int64_t Nk) {
  Problem problem = exercise::small_problem(Nq, Nk, 0.5f);
  const std::vector<float> grad_o{1, 0, 0, 2, 1, 1, 2, 0};
  problem.grad_o.assign(grad_o.begin(), grad_o.begin() + static_cast<std::ptrdiff_t>(2 * Nq));
  return problem;
}

Case large_case(const Shape& shape) {
  const Tiles tiles = tiles_for(shape.d);
  return {verify::make_problem({.shape = shape, .scale = default_scale(shape.d), .seed = 20260101},
                               Pass::kBackward),
          {.Br = tiles.Br, .Bc = tiles.Bc}};
}

Verdict check_all(Later later, std::initializer_list<Array> arrays,
                  std::initializer_list<Slip> slips) {
  std::vector<Case> cases;
  constexpr std::pair<int, int> kSizes[] = {{2, 2}, {2, 4}, {4, 4}};
  for (const auto& [Nq, Nk] : kSizes) {
    cases.push_back({small_problem(Nq, Nk), kSmall});
  }
  cases.push_back(large_case(make_shape(1, 2, 64, 64, 40)));
  cases.push_back(large_case(make_shape(1, 1, 32, 48, 128)));
  return exercise::check_stage(run_once, cases, arrays, slips, later, exercise::walk_backward);
}

Verdict check_probabilities(Later later) {
  return check_all(later, {Array::kP},
                   {Slip::kProbabilityWithoutScale, Slip::kLseForgotten, Slip::kExpForgotten});
}

Verdict check_dv(Later later) {
  return check_all(later, {Array::kP, Array::kDv},
                   {Slip::kNotTransposed, Slip::kLastQueriesOnly, Slip::kEarlierKeysToo});
}

Verdict check_ds(Later later) {
  return check_all(later, {Array::kP, Array::kDs},
                   {Slip::kDeltaForgotten, Slip::kWeightForgotten, Slip::kDeltaOutside});
}

Verdict check_dk(Later later) {
  return check_all(
      later, {Array::kDv, Array::kDs, Array::kDk},
      {Slip::kGradientWithoutScale, Slip::kGradientScaledTwice, Slip::kProbabilityForSlope,
       Slip::kKeysForQueries, Slip::kNotTransposed, Slip::kLastQueriesOnly, Slip::kEarlierKeysToo});
}

const Chapter& record() {
  static constexpr Step kSteps[] = {{.id = "write_it",
                                     .idea = "written tile by tile",
                                     .backward =
                                         [](const BackwardArgs& args) {
                                           exercise::run_counted(args, write_backward,
                                                                 backward_recompute);
                                         },
                                     .backward_workspace_bytes = recompute_workspace_bytes}};
  static constexpr int kTileEdges[] = {16, 32, 64};
  static constexpr Chapter kChapter{.id = "06_write_it",
                                    .title = "Write it",
                                    .idea = "written tile by tile",
                                    .memory = device_memory,
                                    .steps = kSteps,
                                    .tile_edges = kTileEdges};
  return kChapter;
}

Verdict check_everything(Later) { return exercise::check_battery(record()); }

constexpr exercise::Stage kStages[] = {
    {"P, recomputed",
     {"show_tile of P"},
     "  One thread takes the elements n = threadIdx.x, n + kThreads, ... of the kBr * kBc:\n"
     "  row n / kBc, key n % kBc. No maximum and no sum is needed: LSE has both.",
     check_probabilities},
    {"dV of a tile of keys",
     {"dv"},
     "  dV = P^T dO: for key j, column c the sum over the rows r of the tile. The sum goes on\n"
     "  from one tile of queries to the next; it is stored behind that loop. P must be\n"
     "  complete before anybody sums over it.",
     check_dv},
    {"dP and dS",
     {"show_tile of dS"},
     "  dP is a dot product of rows, like the score: dO in place of Q, V in place of K. Then\n"
     "  dS = P * (dP - delta).",
     check_ds},
    {"dK of a tile of keys",
     {"dk"},
     "  dK = scale * dS^T Q: the same loop as for dV, with dS in place of P and Q in place of\n"
     "  dO. Multiply by scale once, where you store.",
     check_dk},
    {"dQ, edges, masks, all cases",
     {"dq"},
     "  dQ needs dS behind a barrier, and dS must not be overwritten before everybody is\n"
     "  done. Pairs outside of the matrix, or hidden by the mask, have no P: leave them out of\n"
     "  the loop over pairs and of the sums (at.keys_of, at.first_row_of, at.rows). Keys from\n"
     "  Nk on are not stored.",
     check_everything},
};

}  // namespace
}  // namespace attn::recompute_backward

int main(int argc, char** argv) {
  return attn::exercise::run({.program = "ch06_write",
                              .title = "dV and dK of a tile, from empty places",
                              .stages = attn::recompute_backward::kStages},
                             argc, argv);
}
