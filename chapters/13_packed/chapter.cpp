// SPDX-License-Identifier: MIT
#include "chapters/13_packed/packed.hpp"
#include "chapters/chapters.hpp"

namespace attn::chapters {

const Chapter& ch13_packed() {
  using namespace packed;
  static constexpr Step kSteps[] = {
      {.id = "step1_ranges",
       .idea = "one or two ranges of keys per row, read from memory",
       .price = "07's tiles, not 08's",
       .forward = forward_ranges,
       .forward_workspace_bytes = no_workspace_bytes,
       .lacks = {Feature::kPacked}},
      {.id = "step2_packed",
       .idea = "packed sequences: a block finds its own",
       .price = "07's tiles, not 08's",
       .forward = forward_packed,
       .forward_workspace_bytes = no_workspace_bytes,
       .lacks = {Feature::kRanges}},
      {.id = "step3_both",
       .idea = "packed sequences or ranges; tiles between two ranges are not loaded",
       .price = "07's tiles, not 08's",
       .forward = forward_both,
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step4_backward",
       .idea = "backward: a tile of keys asks every tile of rows whether one sees it",
       .price = "S and dP computed twice, in 07's tiles",
       .backward = packed::backward,
       .backward_workspace_bytes = backward_workspace_bytes},
  };
  static constexpr Step kTwin{.id = "cpu",
                              .idea = "the same sequences and ranges as plain C++ loops",
                              .forward = forward_cpu,
                              .forward_workspace_bytes = no_workspace_bytes,
                              .backward = backward_cpu,
                              .backward_workspace_bytes = backward_workspace_bytes};
  static constexpr int kTileEdges[] = {32, 64};
  static constexpr Chapter kChapter{
      .id = "13_packed",
      .title = "Packed",
      .idea = "many sequences in one launch; a tile finds its sequence, and each row its keys",
      .memory = device_memory,
      .steps = kSteps,
      .twin = &kTwin,
      .tile_edges = kTileEdges,
      .support = {.features = {Feature::kWindows, Feature::kPacked, Feature::kRanges}},
  };
  return kChapter;
}

}  // namespace attn::chapters
