// SPDX-License-Identifier: MIT
#include "chapters/05_fused_forward/fused_forward.hpp"
#include "chapters/chapters.hpp"

namespace attn::chapters {

const Chapter& ch05_fused_forward() {
  using namespace fused_forward;
  static constexpr Step kSteps[] = {{.id = "forward",
                                     .idea = "K/V tiles outside, Q tiles inside, O in HBM",
                                     .price = "O, m, l out and back per K/V tile",
                                     .forward = forward,
                                     .forward_workspace_bytes = workspace_bytes}};
  static constexpr Step kTwin{.id = "cpu",
                              .idea = "the same loop order as plain C++ loops",
                              .forward = forward_cpu,
                              .forward_workspace_bytes = workspace_bytes};
  static constexpr int kTileEdges[] = {16, 32, 64};
  static constexpr Chapter kChapter{
      .id = "05_fused_forward",
      .title = "Fused forward",
      .idea = "FlashAttention-1: one kernel, S only ever a tile",
      .memory = device_memory,
      .steps = kSteps,
      .twin = &kTwin,
      .tile_edges = kTileEdges,
  };
  return kChapter;
}

}  // namespace attn::chapters
