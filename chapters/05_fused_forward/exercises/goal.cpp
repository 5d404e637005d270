// SPDX-License-Identifier: MIT
//
// What the checker of chapter 05's exercise runs, and the goal it holds the exercise to: in every
// case, no more loads from global memory than a kernel needs that brings only those tiles of Q
// which see a key of the tile at hand.
#include <algorithm>

#include "chapters/05_fused_forward/fused_forward.hpp"
#include "common/simt/machine/options.hpp"
#include "common/simt/watch/counters.hpp"
#include "common/verify/goals.hpp"

namespace attn::fused_forward {

void skipping_forward(const ForwardArgs& args);  // skip_blind_tiles.cu

/// Floats that one head may load, if Q comes in tiles that start at multiples of Br, or at the very
/// row that sees the first key.
static std::int64_t allowed_loads(const Shape& shape, Mask mask, bool whole_tiles) {
  const Tiles tiles = tiles_for(shape.d);
  const std::int64_t offset = diagonal(mask, shape.Nq, shape.Nk);
  std::int64_t loads = 2 * shape.Nk * shape.d + 2 * shape.Nq;  // K and V; m and l for LSE
  for (std::int64_t j0 = 0; j0 < shape.Nk || j0 == 0; j0 += tiles.Bc) {
    // Row i sees key j0 if j0 <= i + offset. The first tile of keys is shown to every row.
    const std::int64_t first = j0 == 0 ? 0 : std::clamp<std::int64_t>(j0 - offset, 0, shape.Nq);
    const std::int64_t from = whole_tiles ? first / tiles.Br * tiles.Br : first;
    loads += (shape.Nq - from) * shape.d;                     // Q
    if (j0 > 0) loads += (shape.Nq - first) * (shape.d + 2);  // O, m, l
  }
  return loads;
}

/// Counts what the exercise loads.
static void counted_forward(const ForwardArgs& args) {
  // 70,000 heads: each moves the same bytes, and counting them all takes a minute.
  if (args.shape.heads() > 1000) return skipping_forward(args);
  simt::options().tracer = true;
  skipping_forward(args);
  simt::options().tracer = false;
  std::uint64_t loaded = 0;
  for (const simt::LaunchRecord& launch : simt::take_launches()) {
    loaded += launch.traffic.global_load_bytes;
  }
  constexpr const char* kWhat = "bytes loaded";
  const auto used = static_cast<std::int64_t>(loaded);
  const auto goal = [&args](bool whole_tiles) {
    return 4 * args.shape.heads() * allowed_loads(args.shape, args.mask, whole_tiles);
  };
  verify::hold_to(verify::Medal::kSilver, kWhat, used, goal(true));
  verify::hold_to(verify::Medal::kGold, kWhat, used, goal(false));
}

}  // namespace attn::fused_forward

namespace attn::chapters {

const Chapter& ch05_exercise() {
  static constexpr Step kSteps[] = {{
      .id = "skip_blind_tiles",
      .idea = "tiles of Q that see nothing of K_j stay where they are",
      .forward = fused_forward::counted_forward,
      .forward_workspace_bytes =
          [](const Shape& shape) {
            return 2 * static_cast<std::size_t>(shape.rows()) * sizeof(float);
          },
  }};
  static constexpr int kTileEdges[] = {64};
  static constexpr Chapter kChapter{
      .id = "05_exercise",
      .title = "Skip blind tiles",
      .idea = "tiles of Q that see nothing of K_j stay where they are",
      .memory = device_memory,
      .steps = kSteps,
      .tile_edges = kTileEdges,
  };
  return kChapter;
}

}  // namespace attn::chapters
