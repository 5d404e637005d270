// SPDX-License-Identifier: MIT
//
// What the checker of chapter 07's exercise runs, and the goal it holds the exercise to: half as
// many blocks as tiles of Q, shares as equal as they can be under a causal mask, and not a byte
// more than step 2 asks for.
#include <algorithm>

#include "chapters/07_v2_loop_order/v2_loop_order.hpp"
#include "common/device/cuda.cuh"
#include "common/simt/machine/options.hpp"
#include "common/simt/watch/counters.hpp"
#include "common/verify/goals.hpp"

namespace attn::v2_loop_order {

// fair_shares.cu
void fair_forward(const ForwardArgs& args);
std::int64_t blocks_per_head(std::int64_t Tr);
std::int64_t partner(std::int64_t p, std::int64_t Tr);

/// Traced, the case of 70,000 heads would take most of the time, and each head loads the same.
constexpr std::int64_t kCountedHeads = 100;

/// Bronze asks for an even Tr only, silver for every one.
static void hold_to(std::int64_t Tr, const char* what, std::int64_t used, std::int64_t allowed) {
  if (Tr % 2 == 0) verify::hold_to(verify::Medal::kBronze, what, used, allowed);
  verify::hold_to(verify::Medal::kSilver, what, used, allowed);
}

/// Tile i of a head costs i + 1 under a causal mask (Nq = Nk, Br = Bc).
static void check_shares(std::int64_t Tr) {
  const std::int64_t blocks = blocks_per_head(Tr);
  hold_to(Tr, "blocks per head", blocks, (Tr + 1) / 2);
  std::int64_t most = 0;
  for (std::int64_t p = 0; p < blocks; ++p) {
    most = std::max(most, p + 1 + partner(p, Tr) + 1);  // no partner: -1, which costs nothing
  }
  hold_to(Tr, "units of work in one block", most, Tr + 1);
}

/// Bytes that step 2 loads.
static std::int64_t allowed_loads(const ForwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const Tiles tiles = tiles_for(d);
  std::int64_t loads = Nq * d;
  for (std::int64_t i0 = 0; i0 < Nq; i0 += tiles.Br) {
    const std::int64_t last = std::min(i0 + tiles.Br, Nq) - 1;
    const std::int64_t most = visible_keys(last, diagonal(args.mask, Nq, Nk), Nk);
    loads += 2 * std::min<std::int64_t>(Nk, ceil_div(most, tiles.Bc) * tiles.Bc) * d;
  }
  return static_cast<std::int64_t>(sizeof(float)) * B * H * loads;
}

static void counted_forward(const ForwardArgs& args) {
  const std::int64_t Tr = ceil_div(args.shape.Nq, tiles_for(args.shape.d).Br);
  check_shares(Tr);
  if (args.shape.heads() > kCountedHeads) return fair_forward(args);
  simt::options().tracer = true;
  fair_forward(args);
  simt::options().tracer = false;
  for (const simt::LaunchRecord& launch : simt::take_launches()) {
    const std::int64_t blocks = args.shape.heads() * ((Tr + 1) / 2);
    hold_to(Tr, "blocks in the grid", launch.grid.x, blocks);
    hold_to(Tr, "bytes loaded", static_cast<std::int64_t>(launch.traffic.global_load_bytes),
            allowed_loads(args));
  }
}

}  // namespace attn::v2_loop_order

namespace attn::chapters {

const Chapter& ch07_exercise() {
  static constexpr Step kSteps[] = {{
      .id = "fair_shares",
      .idea = "a block has a light tile of Q and a heavy one",
      .forward = v2_loop_order::counted_forward,
      .forward_workspace_bytes = [](const Shape&) { return std::size_t{0}; },
  }};
  static constexpr int kTileEdges[] = {64};
  static constexpr Chapter kChapter{
      .id = "07_exercise",
      .title = "Fair shares",
      .idea = "a block has a light tile of Q and a heavy one",
      .memory = device_memory,
      .steps = kSteps,
      .tile_edges = kTileEdges,
  };
  return kChapter;
}

}  // namespace attn::chapters
