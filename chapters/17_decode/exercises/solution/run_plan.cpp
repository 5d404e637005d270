// SPDX-License-Identifier: MIT
//
// A solution of chapter 17's exercise. If no run may be longer than L tiles, a sequence of T needs
// ceil(T / L) runs: the shorter, the more. The shortest L for which there are blocks enough is
// found by halving; to give a sequence more runs than it needs then would shorten no longest run.
#include "chapters/17_decode/exercises/run_plan.hpp"

#include <algorithm>

#include "common/device/splits.hpp"

namespace attn::decoding {
namespace {

/// The fewest runs of at most `longest` tiles.
std::int64_t runs_needed(std::int64_t tiles, std::int64_t longest) {
  return std::max<std::int64_t>(1, (tiles + longest - 1) / longest);
}

}  // namespace

std::vector<int> plan_runs(const std::vector<std::int64_t>& tiles, std::int64_t blocks) {
  const auto fits = [&](std::int64_t longest) {
    std::int64_t all = 0;
    for (const std::int64_t count : tiles) {
      const std::int64_t runs = runs_needed(count, longest);
      if (runs > kMaxSplits) return false;
      all += runs;
    }
    return all <= blocks;
  };
  std::int64_t low = 1;  // the answer, or less
  std::int64_t high = std::max<std::int64_t>(1, *std::max_element(tiles.begin(), tiles.end()));
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (fits(middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  std::vector<int> runs;
  for (const std::int64_t count : tiles) runs.push_back(static_cast<int>(runs_needed(count, low)));
  return runs;
}

}  // namespace attn::decoding
