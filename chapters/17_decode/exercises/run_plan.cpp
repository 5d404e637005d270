// SPDX-License-Identifier: MIT
//
// Exercise: sequences of different lengths, decoded together. See "Exercises" in the lesson. Step 4
// divides every cache into as many runs, and so the launch waits for the runs of the longest. The
// check computes each sequence in as many runs as you say. As it stands every result is right, but
// the longest run is longer than it must be:
//   cmake --build build --target ch17_exercise && ./build/ch17_exercise
#include "chapters/17_decode/exercises/run_plan.hpp"

#include <algorithm>

#include "common/device/splits.hpp"

namespace attn::decoding {

std::vector<int> plan_runs(const std::vector<std::int64_t>& tiles, std::int64_t blocks) {
  // Yours. So far the blocks are shared out equally, as in step 4.
  std::vector<int> runs;
  const std::int64_t each = blocks / static_cast<std::int64_t>(tiles.size());
  for (const std::int64_t count : tiles) {
    const std::int64_t most = std::min<std::int64_t>({each, count, kMaxSplits});
    runs.push_back(static_cast<int>(std::max<std::int64_t>(most, 1)));
  }
  return runs;
}

}  // namespace attn::decoding
