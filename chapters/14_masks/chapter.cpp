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
      {.id = "step2_bits",
       .idea = "a bit for each pair, packed once for all heads that share a mask",
       .price = "07's tiles, not 08's",
       .forward = forward_bits,
       .forward_workspace_bytes = bits_workspace_bytes},
      {.id = "step3_tiles",
       .idea = "lists of tiles: those without a pair are not loaded",
       .price = "07's tiles, not 08's",
       .forward = forward_tiles,
       .forward_workspace_bytes = tiles_workspace_bytes},
      {.id = "step4_backward",
       .idea = "backward: the same words, and lists for either side",
       .price = "S and dP computed twice, in 07's tiles",
       .backward = masks::backward,
       .backward_workspace_bytes = backward_workspace_bytes},
  };
  static constexpr Step kTwin{.id = "cpu",
                              .idea = "the same bits as plain C++ loops",
                              .forward = forward_cpu,
                              .forward_workspace_bytes = no_workspace_bytes,
                              .backward = backward_cpu,
                              .backward_workspace_bytes = backward_cpu_workspace_bytes};
  static constexpr int kTileEdges[] = {32, 64};
  static constexpr Chapter kChapter{
      .id = "14_masks",
      .title = "Masks",
      .idea = "any set of pairs: bytes, bits, and lists of the tiles that hold some",
      .memory = device_memory,
      .steps = kSteps,
      .twin = &kTwin,
      .tile_edges = kTileEdges,
      // All tiles of a head are in one grid.
      .support = {.max_n = std::int64_t{1} << 19,
                  .features = {Feature::kWindows, Feature::kMaskArray}},
  };
  return kChapter;
}

}  // namespace attn::chapters
