// SPDX-License-Identifier: MIT
//
// The record of the reader's own attention. Chapters are listed in chapters.cpp; this one is found
// by its name, `mine`, and stands in no table that did not ask for it.
#include "chapters/00_playground/my_attention.hpp"
#include "chapters/chapters.hpp"

namespace attn::chapters {

const Chapter& ch00_playground() {
  static constexpr Step kSteps[] = {{
      .id = "my_attention",
      .idea = "your own forward pass",
      .forward = playground::forward,
      .forward_workspace_bytes = playground::forward_workspace_bytes,
  }};
  // Sizes at which your tiles end: the battery tries many problems around them.
  static constexpr int kTileEdges[] = {32};
  static constexpr Chapter kChapter{
      .id = "mine",
      .title = "Mine",
      .idea = "your own forward pass",
      .memory = device_memory,
      .steps = kSteps,
      .tile_edges = kTileEdges,
  };
  return kChapter;
}

}  // namespace attn::chapters
