// SPDX-License-Identifier: MIT
#include "chapters/14_masks/masks.hpp"
#include "chapters/chapters.hpp"

namespace attn::chapters {

const Chapter& ch14_masks() {
  using namespace masks;
  static constexpr Step kSteps[] = {
      {.id = "step1_bytes",
       .idea = "any set of pairs: a byte for each, read by every head",
       .price = "07's tiles, not 08's",
       .forward = forward_bytes,
       .forward_workspace_bytes = no_workspace_bytes},
  };
  static constexpr int kTileEdges[] = {32, 64};
  static constexpr Chapter kChapter{
      .id = "14_masks",
      .title = "Masks",
      .idea = "any set of pairs: bytes, bits, and lists of the tiles that hold some",
      .memory = device_memory,
      .steps = kSteps,
      .tile_edges = kTileEdges,
      .support = {.features = {Feature::kWindows, Feature::kMaskArray}},
  };
  return kChapter;
}

}  // namespace attn::chapters
