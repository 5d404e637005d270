// SPDX-License-Identifier: MIT
//
// Checks chapter 17's exercise on batches from small to large: first that the plan is one, then O,
// each sequence computed by step 4 in as many runs as planned and compared with the oracle. The
// goal: a longest run as short as it can be; and for gold no more runs than that takes, since each
// leaves something to be merged. Exit status: 0 right and goal met, 1 not, 2 what was thrown.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string>
#include <vector>

#include "chapters/17_decode/decode.hpp"
#include "chapters/17_decode/exercises/run_plan.hpp"
#include "chapters/chapters.hpp"
#include "common/device/splits.hpp"
#include "common/run/run.hpp"
#include "common/verify/goals.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"

namespace attn::decoding {
namespace {

struct Batch {
  std::vector<std::int64_t> keys;  // of each sequence
  std::int64_t blocks;

  std::vector<std::int64_t> tiles() const {
    std::vector<std::int64_t> result;
    for (const std::int64_t count : keys) result.push_back(tiles_of(count, kBc));
    return result;
  }
};
const Batch kBatches[] = {{{100}, 4},         {{64, 64, 64}, 6},        {{600, 33, 40}, 8},
                          {{500, 0, 33}, 5},  {{2000, 50, 50, 50}, 40}, {{900, 700, 400, 1}, 12},
                          {{1000, 1000}, 100}};

std::string to_string(const Batch& batch) {
  return fmt::format("{} keys, {} blocks", fmt::join(batch.keys, ", "), batch.blocks);
}

/// What is wrong with the plan; empty if nothing.
std::string check_plan(const Batch& batch, const std::vector<int>& runs) {
  const std::vector<std::int64_t> tiles = batch.tiles();
  if (runs.size() != tiles.size()) {
    return fmt::format("the plan has {} numbers, not {}", runs.size(), tiles.size());
  }
  std::int64_t all = 0;
  for (std::size_t b = 0; b < runs.size(); ++b) {
    const std::int64_t most =
        std::max<std::int64_t>(1, std::min<std::int64_t>(tiles[b], kMaxSplits));
    if (runs[b] < 1 || runs[b] > most) {
      return fmt::format("sequence {} with {} tiles is planned in {} runs: allowed: 1 to {}", b,
                         tiles[b], runs[b], most);
    }
    all += runs[b];
  }
  if (all <= batch.blocks) return {};
  return fmt::format("the plan has {} runs: allowed: {} blocks", all, batch.blocks);
}

/// Tiles of the longest of so many runs.
std::int64_t longest(std::int64_t tiles, std::int64_t runs) { return (tiles + runs - 1) / runs; }

/// The longest run of the best plan, by trying out every length.
std::int64_t shortest_longest(const Batch& batch) {
  for (std::int64_t length = 1;; ++length) {
    std::int64_t all = 0, most = 0;
    for (const std::int64_t tiles : batch.tiles()) {
      const std::int64_t runs = std::max<std::int64_t>(1, longest(tiles, length));
      all += runs;
      most = std::max(most, runs);
    }
    if (all <= batch.blocks && most <= kMaxSplits) return length;
  }
}

int runs_of_call = 1;  // what kPlanned takes
constexpr Step kPlanned{
    .id = "planned",
    .idea = "",
    .forward = [](const ForwardArgs& args) { forward_with_splits(args, runs_of_call); },
    .forward_workspace_bytes =
        [](const Shape& shape) { return partial_bytes(shape, runs_of_call); }};

/// What is wrong with one batch; empty if nothing.
std::string check(const Batch& batch) {
  const std::vector<int> runs = plan_runs(batch.tiles(), batch.blocks);
  const std::string wrong = check_plan(batch, runs);
  if (!wrong.empty()) return "  " + wrong + "\n";
  std::int64_t yours = 0, all = 0, needed = 0;
  const std::int64_t best = shortest_longest(batch);
  for (std::size_t b = 0; b < runs.size(); ++b) {
    const Problem problem = verify::make_problem({.shape = make_shape(1, 2, 1, batch.keys[b], 32),
                                                  .scale = default_scale(32),
                                                  .seed = 17 + b},
                                                 Pass::kForward);
    runs_of_call = runs[b];
    const verify::Verdict verdict =
        verify::judge(verify::truth_of(problem, Pass::kForward),
                      run_forward(chapters::ch17_decode(), kPlanned, problem));
    if (!verdict.passed) return verdict.text;
    const std::int64_t tiles = batch.tiles()[b];
    yours = std::max(yours, longest(tiles, runs[b]));
    all += runs[b];
    needed += std::max<std::int64_t>(1, longest(tiles, best));
  }
  verify::hold_to(verify::Medal::kSilver, "tiles of the longest run", yours, best);
  verify::hold_to(verify::Medal::kGold, "runs", all, needed);
  return {};
}

int check_all() {
  std::vector<verify::Goal> goals;
  for (const Batch& batch : kBatches) {
    const std::string wrong = check(batch);
    if (!wrong.empty()) {
      fmt::print("17_exercise run_plan: WRONG\n\n  {}\n{}", to_string(batch), wrong);
      return 1;
    }
    verify::add(goals, verify::take_uses(), to_string(batch));
  }
  fmt::print("17_exercise run_plan: right in all {} batches{}\n{}", std::size(kBatches),
             verify::reached(goals) ? "" : ", but the goal is not met;", verify::describe(goals));
  return verify::reached(goals) ? 0 : 1;
}

}  // namespace
}  // namespace attn::decoding

int main() {
  try {
    return attn::decoding::check_all();
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
