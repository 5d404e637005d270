// SPDX-License-Identifier: MIT
//
// What the checker of chapter 08's exercise runs, and the goal it holds the exercise to: how many
// loads from shared memory scores_kernel may execute, and how many turns (wavefronts) they may
// take, for the multiply-adds of its tiles.
#include <string>

#include "chapters/08_register_tiles/register_tiles.hpp"
#include "common/device/cuda.cuh"
#include "common/simt/machine/options.hpp"
#include "common/simt/watch/counters.hpp"
#include "common/verify/goals.hpp"

namespace attn::register_tiles {

void wide_factors_forward(const ForwardArgs& args);  // wide_factors.cu

/// Traced, the case of 70,000 heads would take most of the time, and each head loads the same.
constexpr std::int64_t kCountedHeads = 100;

/// Multiply-adds that the warps execute: whole tiles of 128 queries and 64 keys, d rounded up.
static std::int64_t multiply_adds(const ForwardArgs& args) {
  constexpr std::int64_t kBr = 128;
  constexpr std::int64_t kBc = 64;
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t columns = d <= 32 ? 32 : d <= 64 ? 64 : 128;
  std::int64_t tiles = 0;
  for (std::int64_t i0 = 0; i0 < Nq; i0 += kBr) {
    const std::int64_t last = (i0 + kBr < Nq ? i0 + kBr : Nq) - 1;
    tiles += ceil_div(visible_keys(last, diagonal(args.mask, Nq, Nk), Nk), kBc);
  }
  return B * H * tiles * kBr * kBc * columns / 32;
}

static void counted_forward(const ForwardArgs& args) {
  if (args.shape.heads() > kCountedHeads) return wide_factors_forward(args);
  simt::options().tracer = true;
  wide_factors_forward(args);
  simt::options().tracer = false;
  for (const simt::LaunchRecord& launch : simt::take_launches()) {
    if (launch.kernel.find("scores_kernel") == std::string::npos) continue;
    std::int64_t loads = 0;
    for (const simt::SiteTraffic& site : launch.sites) {
      if (site.access == "shared load") loads += static_cast<std::int64_t>(site.requests);
    }
    const auto turns = static_cast<std::int64_t>(launch.traffic.shared_load_wavefronts);
    // A lane's 64 multiply-adds take 16 factors. 16 bytes bring four, in two turns at best.
    const std::int64_t all = multiply_adds(args);
    using verify::Medal;
    verify::hold_to(Medal::kBronze, "loads from shared memory", loads, all / 16);
    verify::hold_to(Medal::kSilver, "turns of shared memory", turns, all * 3 / 16);
    verify::hold_to(Medal::kGold, "turns of shared memory", turns, all / 8);
  }
}

}  // namespace attn::register_tiles

namespace attn::chapters {

const Chapter& ch08_exercise() {
  static constexpr Step kSteps[] = {{
      .id = "wide_factors",
      .idea = "the factors of Q K^T in loads of 16 bytes that take two turns each",
      .forward = register_tiles::counted_forward,
      .forward_workspace_bytes =
          [](const Shape& shape) {
            return static_cast<std::size_t>(shape.rows() * shape.Nk) * sizeof(float);
          },
  }};
  static constexpr int kTileEdges[] = {128};
  static constexpr Chapter kChapter{
      .id = "08_exercise",
      .title = "Wide factors",
      .idea = "the factors of Q K^T in loads of 16 bytes that take two turns each",
      .memory = device_memory,
      .steps = kSteps,
      .tile_edges = kTileEdges,
  };
  return kChapter;
}

}  // namespace attn::chapters
