// SPDX-License-Identifier: MIT
#include "chapters/12_windows/windows.hpp"
#include "chapters/chapters.hpp"

namespace attn::chapters {

const Chapter& ch12_windows() {
  using namespace windows;
  static constexpr Step kSteps[] = {
      {.id = "step1_range",
       .idea = "a row sees a range of keys; all tiles are loaded",
       .price = "07's tiles, not 08's",
       .forward = forward_range,
       .forward_workspace_bytes = no_workspace_bytes,
       .lacks = {Feature::kKeyCounts, Feature::kSinkKeys}},
      {.id = "step2_skip",
       .idea = "tiles that no row sees are not loaded",
       .price = "07's tiles, not 08's",
       .forward = forward_skip,
       .forward_workspace_bytes = no_workspace_bytes,
       .lacks = {Feature::kKeyCounts, Feature::kSinkKeys}},
      {.id = "step3_lengths",
       .idea = "as many keys as each batch has: padding is not read",
       .price = "07's tiles, not 08's",
       .forward = forward_lengths,
       .forward_workspace_bytes = no_workspace_bytes,
       .lacks = {Feature::kSinkKeys}},
      {.id = "step4_sinks",
       .idea = "a second range: the first keys stay visible",
       .price = "07's tiles, not 08's",
       .forward = forward_sinks,
       .forward_workspace_bytes = no_workspace_bytes},
      {.id = "step5_backward",
       .idea = "backward: the same ranges, asked from either side",
       .price = "S and dP computed twice, in 07's tiles",
       .backward = windows::backward,
       .backward_workspace_bytes = backward_workspace_bytes},
  };
  static constexpr Step kTwin{.id = "cpu",
                              .idea = "the same ranges as plain C++ loops",
                              .forward = forward_cpu,
                              .forward_workspace_bytes = no_workspace_bytes,
                              .backward = backward_cpu,
                              .backward_workspace_bytes = backward_workspace_bytes};
  static constexpr int kTileEdges[] = {32, 64};
  static constexpr Chapter kChapter{
      .id = "12_windows",
      .title = "Windows",
      .idea = "a range of keys per row: windows, padding, sink keys; tiles outside are not loaded",
      .memory = device_memory,
      .steps = kSteps,
      .twin = &kTwin,
      .tile_edges = kTileEdges,
      .support = {.features = {Feature::kWindows, Feature::kKeyCounts, Feature::kSinkKeys}},
  };
  return kChapter;
}

}  // namespace attn::chapters
