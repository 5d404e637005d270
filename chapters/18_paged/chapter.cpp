// SPDX-License-Identifier: MIT
#include "chapters/18_paged/paged.hpp"
#include "chapters/chapters.hpp"
#include "common/device/decode_tile.hpp"

namespace attn::chapters {

const Chapter& ch18_paged() {
  using namespace decoding::paged;
  static constexpr Step kSteps[] = {
      {.id = "step1_lookup",
       .idea = "17's last step, where every row of a tile looks up its page",
       .price = "a look-up for each row, lane, K and V",
       .forward = forward_lookup,
       .forward_workspace_bytes = workspace_bytes},
      {.id = "step2_pages",
       .idea = "a lane looks up a key's place once, and hands it round",
       .price = "a look-up for each key and warp",
       .forward = forward_pages,
       .forward_workspace_bytes = workspace_bytes},
  };
  static constexpr Step kTwin{.id = "cpu",
                              .idea = "the same runs as plain C++ loops",
                              .forward = forward_cpu,
                              .forward_workspace_bytes = workspace_bytes};
  static constexpr int kTileEdges[] = {decoding::kBr, decoding::kBc};
  static constexpr Chapter kChapter{
      .id = "18_paged",
      .title = "Paged",
      .idea = "the cache in pages handed out when needed: a table says where a key lies",
      .memory = device_memory,
      .steps = kSteps,
      .twin = &kTwin,
      .tile_edges = kTileEdges,
      .support = {.features = {Feature::kGroupedHeads, Feature::kWindows, Feature::kSinkKeys,
                               Feature::kKeyCounts, Feature::kPages}},
      .append = append_rows,
  };
  return kChapter;
}

}  // namespace attn::chapters
