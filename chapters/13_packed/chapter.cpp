// SPDX-License-Identifier: MIT
#include "chapters/13_packed/packed.hpp"
#include "chapters/chapters.hpp"

namespace attn::chapters {

const Chapter& ch13_packed() {
  using namespace packed;
  static constexpr Step kSteps[] = {
      {.id = "step1_ranges",
       .idea = "one or two ranges of keys per row, read from memory",
       .forward = forward_ranges,
       .forward_workspace_bytes = no_workspace_bytes,
       .lacks = {Feature::kPacked}},
      {.id = "step2_packed",
       .idea = "packed sequences: a block finds its own",
       .forward = forward_packed,
       .forward_workspace_bytes = no_workspace_bytes,
       .lacks = {Feature::kRanges}},
      {.id = "step3_both",
       .idea = "either of them; tiles between two ranges are not loaded",
       .forward = forward_both,
       .forward_workspace_bytes = no_workspace_bytes},
  };
  static constexpr int kTileEdges[] = {32, 64};
  static constexpr Chapter kChapter{
      .id = "13_packed",
      .title = "Packed",
      .idea = "many sequences in one launch; a tile finds its sequence, and each row its keys",
      .memory = device_memory,
      .steps = kSteps,
      .tile_edges = kTileEdges,
      .support = {.features = {Feature::kWindows, Feature::kPacked, Feature::kRanges}},
  };
  return kChapter;
}

}  // namespace attn::chapters
