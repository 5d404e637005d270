// SPDX-License-Identifier: MIT
#include "chapters/17_decode/decode.hpp"
#include "chapters/chapters.hpp"
#include "common/device/decode_tile.hpp"

namespace attn::chapters {

const Chapter& ch17_decode() {
  using namespace decoding;
  static constexpr Step kSteps[] = {
      {.id = "step1_one_query",
       .idea = "07's loop for a few rows: a block per query head walks the cache alone",
       .price = "one new token has H blocks",
       .forward = forward_one_query,
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step2_split",
       .idea = "the cache in runs, a block each, and a merge of what they leave",
       .price = "d + 2 floats per row and run",
       .forward = forward_split,
       .forward_workspace_bytes = split_workspace_bytes},
      {.id = "step3_group",
       .idea = "the group's queries are the rows of one tile: the cache is read once",
       .price = "d + 2 floats per row and run",
       .forward = forward_group,
       .forward_workspace_bytes = group_workspace_bytes},
      {.id = "step4_cache",
       .idea = "runs of the tiles that are seen: windows, padding, sink keys",
       .price = "d + 2 floats per row and run",
       .forward = forward_cache,
       .forward_workspace_bytes = group_workspace_bytes},
  };
  static constexpr Step kTwin{.id = "cpu",
                              .idea = "the same runs as plain C++ loops",
                              .forward = forward_cpu,
                              .forward_workspace_bytes = group_workspace_bytes};
  static constexpr int kTileEdges[] = {kBr, kBc};
  static constexpr Chapter kChapter{
      .id = "17_decode",
      .title = "Decode",
      .idea = "one new token, a long cache: runs of keys in parallel, merged at the end",
      .memory = device_memory,
      .steps = kSteps,
      .twin = &kTwin,
      .tile_edges = kTileEdges,
      .support = {.features = {Feature::kGroupedHeads, Feature::kWindows, Feature::kSinkKeys,
                               Feature::kKeyCounts}},
      .append = append_rows,
  };
  return kChapter;
}

}  // namespace attn::chapters
