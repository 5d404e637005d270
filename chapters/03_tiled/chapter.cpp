// SPDX-License-Identifier: MIT
#include "chapters/03_tiled/tiled.hpp"
#include "chapters/chapters.hpp"

namespace attn::chapters {

const Chapter& ch03_tiled() {
  using namespace tiled;
  static constexpr Step kSteps[] = {
      {.id = "step1_coalesced",
       .idea = "K transposed: neighbouring threads read neighbouring addresses",
       .price = "copies K, to transpose it",
       .forward = forward_coalesced,
       .forward_workspace_bytes = coalesced_workspace_bytes},
      {.id = "step2_tiled",
       .idea = "tiles in shared memory: each loaded element is used 32 times",
       .forward = forward_tiled,
       .forward_workspace_bytes = workspace_bytes},
      {.id = "step3_padded",
       .idea = "one float of padding: no bank conflicts",
       .forward = forward_padded,
       .forward_workspace_bytes = workspace_bytes},
      {.id = "step4_warp_softmax",
       .idea = "one warp per row of softmax, shuffles",
       .forward = forward_warp_softmax,
       .forward_workspace_bytes = workspace_bytes},
  };
  static constexpr Step kTwin{.id = "cpu",
                              .idea = "the same tiles as plain C++ loops",
                              .forward = forward_cpu,
                              .forward_workspace_bytes = workspace_bytes};
  static constexpr int kTileEdges[] = {kTile};
  static constexpr Chapter kChapter{
      .id = "03_tiled",
      .title = "Tiled",
      .idea = "tiles in shared memory; still unfused",
      .memory = device_memory,
      .steps = kSteps,
      .twin = &kTwin,
      .tile_edges = kTileEdges,
      .support = {.max_n = std::int64_t{65535} * 8},
  };
  return kChapter;
}

}  // namespace attn::chapters
